"""BI-RADS descriptors of a lesion in breast ultrasound."""

from __future__ import annotations

from numbers import Real
from typing import Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from scipy.ndimage import gaussian_filter1d, map_coordinates
from scipy.signal import find_peaks

from featbus.base import Column, FeatureExtractor
from featbus.color import to_float, to_gray
from featbus.feature_extraction._glcm import cooccurrence_features, cooccurrence_matrix
from featbus.feature_extraction._shape import missing_mask
from featbus.feature_extraction._texture import entropy, gray_levels, quotient
from featbus.images import check_image
from featbus.masks import inside_mask, with_mask
from featbus.parameters import Interval, StrOptions

# Points of the outline, and of the profiles across it at each side.
_N_POINTS, _N_STEPS = 256, 4
# In points: what is finer is the staircase of pixels.
_SMOOTHING = 2
_LEVELS = 16
_NAMES = {
    "orientation": ("depth_to_width", "angle"),
    "shape": (
        *("axis_ratio", "nrl_mean", "nrl_sd", "nrl_entropy", "nrl_zero_crossings"),
        *("nrl_area_ratio", "nrl_roughness", "convexity", "solidity", "circularity"),
        *("elliptic_normalized_circumference", "ellipse_deviation", "undulations"),
    ),
    "margin": (
        *("spicules", "angularity", "sharpness", "sharp_share", "abrupt_interface"),
        "radial_gradient",
    ),
    "echo": (
        *("mean", "contrast_surroundings", "contrast_beside", "contrast_above", "entropy"),
        *("heterogeneity", "bright_quarter"),
    ),
    "posterior": ("contrast", "minimum_side_difference", "contrast_lesion"),
    "texture": ("contrast", "homogeneity", "correlation", "entropy"),
}


def _main_part(inside):
    """Return the largest connected part of a region, its holes filled, and its outline."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8))
    part = (labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(part, contours, -1, 1, cv2.FILLED)
    return part.astype(bool), contours[0][:, 0].astype(np.float64)


def _band_width(lesion, share):
    """Return the width of the bands in pixels: a share of the radius of a disc of this area."""
    return max(1.0, share * np.sqrt(np.count_nonzero(lesion) / np.pi))


def _distances(inside):
    """Return the distance of each pixel inside from the nearest one outside."""
    return cv2.distanceTransform(inside.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _shift(region, columns):
    """Move a region to the right, or left; what leaves the image is lost."""
    moved, width = np.zeros_like(region), region.shape[1]
    columns = int(np.clip(columns, -width, width))
    moved[:, max(columns, 0) : width + columns] = region[:, max(-columns, 0) : width - columns]
    return moved


def _find_regions(lesion, width):
    """Return the regions of `birads_regions`, for bands of a width in pixels."""
    _, _, columns, rows = cv2.boundingRect(lesion.view(np.uint8))
    gap, step = int(np.ceil(width)), columns + int(np.ceil(width))
    row = np.arange(len(lesion))[:, np.newaxis]
    first = lesion.argmax(axis=0)
    last = len(lesion) - 1 - lesion[::-1].argmax(axis=0)
    below, above = row - last - gap, first - gap - row
    lesion_columns = lesion.any(axis=0)
    posterior = (below > 0) & (below <= rows) & lesion_columns
    sides = {"left": -step, "right": step}
    return {
        "lesion": lesion,
        "inner_band": lesion & (_distances(lesion) <= width),
        "outer_band": ~lesion & (_distances(~lesion) <= width),
        "above": (above > 0) & (above <= rows) & lesion_columns,
        "beside": _shift(lesion, -step) | _shift(lesion, step),
        "posterior": posterior,
        **{f"posterior_{side}": _shift(posterior, shift) for side, shift in sides.items()},
    }


def birads_regions(image: ArrayLike, *, band_width: float = 0.2) -> dict[str, np.ndarray]:
    """Return the regions in and around a lesion that `BIRADSFeatures` compares.

    Read more in the :ref:`User Guide <birads>`.

    Parameters
    ----------
    image : MaskedArray of shape (height, width) or (height, width, channels)
        An image, see :ref:`images`, whose mask is True outside the lesion.
    band_width : float, default=0.2
        See `BIRADSFeatures`.

    Returns
    -------
    dict of str to ndarray of bool of shape (height, width)
        "lesion", the largest part of the region without its holes; "inner_band" and "outer_band",
        at both sides of its outline; "above", "beside" and "posterior", the tissue above, at both
        sides of and below the lesion; "posterior_left" and "posterior_right", at the sides of
        "posterior". A region that would lie beyond the border of the image is cut off there, and
        can be False everywhere.

    Raises
    ------
    ImageError
        If the image is invalid or not masked.
    InvalidParameterError
        If `band_width` is invalid.

    See Also
    --------
    BIRADSFeatures : The features.

    Examples
    --------
    >>> from featbus import birads_regions, load_masked, make_breast_ultrasound
    >>> data = make_breast_ultrasound(2, weights=[1, 0, 0], random_state=0)
    >>> regions = birads_regions(load_masked(data)[0])
    >>> list(regions)[:4]
    ['lesion', 'inner_band', 'outer_band', 'above']
    """
    BIRADSFeatures(band_width=band_width)._check_parameters()
    inside = inside_mask(check_image(image))
    if inside is None:
        raise missing_mask()
    lesion, _ = _main_part(inside)
    return _find_regions(lesion, _band_width(lesion, band_width))


def _resample(outline):
    """Return points at equal distances along an outline, smoothed."""
    closed = np.vstack([outline, outline[:1]])
    position = np.r_[0, np.hypot(*np.diff(closed, axis=0).T).cumsum()]
    wanted = np.linspace(0, position[-1], _N_POINTS, endpoint=False)
    points = np.column_stack([np.interp(wanted, position, axis) for axis in closed.T])
    return gaussian_filter1d(points, _SMOOTHING, axis=0, mode="wrap")


def _unit(vectors):
    length = np.hypot(*vectors.T)[:, np.newaxis]
    return np.divide(vectors, length, where=length > 0, out=np.zeros_like(vectors))


def _normals(points):
    """Return the unit vectors that point out of an outline."""
    x, y = _unit(np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)).T
    area = cv2.contourArea(points.astype(np.float32), oriented=True)
    return np.column_stack([y, -x]) * (1 if area > 0 else -1)


def _count_runs(values):
    """Count the runs of True of a closed curve."""
    return np.count_nonzero(values & ~np.roll(values, 1)) or float(values.all())


def _shape(lesion, points):
    """Return orientation and shape, spicules and angularity, and the centroid."""
    left, top, width, height = cv2.boundingRect(lesion.view(np.uint8))
    pixels = np.argwhere(lesion)[:, ::-1]
    center = pixels.mean(axis=0)
    # A pixel is a square with a variance of its own: no covariance is singular.
    covariance = np.cov(pixels.T, bias=True).reshape(2, 2) + np.eye(2) / 12
    minor, major = 2 * np.sqrt(np.linalg.eigvalsh(covariance))
    (xx, xy), (_, yy) = covariance
    angle = abs(np.degrees(np.arctan2(2 * xy, xx - yy) / 2))

    outward = points - center
    radii = np.hypot(*outward.T)
    nrl = radii / radii.max() if radii.max() > 0 else np.ones(_N_POINTS)
    deviation = nrl - nrl.mean()
    counts = np.histogram(nrl, bins=20, range=(0, 1))[0] / _N_POINTS
    # Deviations below 2 % are those of pixels.
    signs = np.sign(deviation[np.abs(deviation) > 0.02])

    curve = points.astype(np.float32)
    hull = cv2.convexHull(curve)
    perimeter, area = cv2.arcLength(curve, closed=True), cv2.contourArea(curve)
    ellipse = np.pi * (3 * (major + minor) - np.sqrt((3 * major + minor) * (major + 3 * minor)))
    # The outline runs through the centers of pixels, half a pixel inside.
    ellipse -= np.pi
    relative = np.sqrt((outward @ np.linalg.inv(covariance) * outward).sum(axis=1)) / 2
    depth = _distances(np.pad(lesion[top : top + height, left : left + width], 1))
    deepest = np.argwhere(depth == depth.max())[:, ::-1].mean(axis=0)
    beyond = np.hypot(*(points - deepest - (left - 1, top - 1)).T) > 1.1 * depth.max()
    start = relative.argmin()
    peaks, _ = find_peaks(np.r_[np.roll(relative, -start), relative[start]], prominence=0.1)
    cosine = np.clip((_normals(points) * _unit(outward)).sum(axis=1), -1, 1)
    return center, {
        "orientation_depth_to_width": height / width,
        "orientation_angle": angle,
        "shape_axis_ratio": minor / major,
        "shape_nrl_mean": nrl.mean(),
        "shape_nrl_sd": nrl.std(),
        "shape_nrl_entropy": entropy(counts[np.newaxis])[0],
        "shape_nrl_zero_crossings": np.count_nonzero(signs != np.roll(signs, 1)),
        "shape_nrl_area_ratio": np.maximum(deviation, 0).mean() / nrl.mean(),
        "shape_nrl_roughness": np.abs(nrl - np.roll(nrl, 1)).mean(),
        "shape_convexity": min(1, quotient(cv2.arcLength(hull, closed=True), perimeter) or 1),
        "shape_solidity": min(1, quotient(area, cv2.contourArea(hull)) or 1),
        "shape_circularity": quotient(4 * np.pi * area, perimeter**2),
        "shape_elliptic_normalized_circumference": quotient(ellipse, perimeter),
        "shape_ellipse_deviation": relative.std(),
        "shape_undulations": _count_runs(beyond),
        "margin_spicules": len(peaks),
        "margin_angularity": np.degrees(np.arccos(cosine)).mean(),
    }


def _contrast(first, second):
    return quotient(first - second, first + second)


def _margin(pixels, points, center, width):
    """Return what the brightness across the outline says."""
    normals = _normals(points)
    steps = (np.arange(_N_STEPS) + 0.5) * (width / 2 / _N_STEPS)
    offsets = 0.5 + np.r_[-steps, steps]
    x, y = (points + offsets[:, np.newaxis, np.newaxis] * normals).transpose(2, 0, 1)
    seen = ((x >= 0) & (y >= 0) & (x < pixels.shape[1]) & (y < pixels.shape[0])).all(axis=0)
    # OpenCV 4 rounds coordinates to 1/32.
    profiles = map_coordinates(pixels, [y, x], order=1, mode="nearest")[:, seen]
    near, far = profiles.reshape(2, _N_STEPS, -1).astype(np.float64).mean(axis=1)
    total = near + far
    contrasts = np.divide(far - near, total, where=total > 0, out=np.zeros_like(total))
    column, row = np.rint(points[seen]).astype(int).T
    gradient = np.column_stack(
        [cv2.Sobel(pixels, cv2.CV_32F, *axes, ksize=5)[row, column] for axes in ((1, 0), (0, 1))]
    )
    outward = (gradient * _unit(points[seen] - center)).sum()
    return {
        "margin_sharpness": contrasts.mean() if seen.any() else 0,
        "margin_sharp_share": np.mean(contrasts > 0.1) if seen.any() else 0,
        "margin_radial_gradient": quotient(outward, np.hypot(*gradient.T).sum()),
    }


def _echo(values, mean):
    """Return what the brightness inside says."""
    counts = np.histogram(np.minimum(values / (mean["lesion"] or 1), 1.999), 32, (0, 2))[0]
    n_bright = -(-len(values) // 4)
    brightest = np.partition(values, len(values) - n_bright)[len(values) - n_bright :]
    return {
        "echo_mean": mean["lesion"],
        "echo_contrast_surroundings": mean.contrast("lesion", "outer_band"),
        "echo_contrast_beside": mean.contrast("lesion", "beside"),
        "echo_contrast_above": mean.contrast("lesion", "above"),
        "echo_entropy": entropy(counts[np.newaxis] / len(values))[0],
        "echo_heterogeneity": quotient(values.std(), mean["lesion"]),
        "echo_bright_quarter": _contrast(brightest.mean(), mean["lesion"]),
    }


class _Means(dict):
    """The mean brightness of each region that has pixels."""

    def contrast(self, first, second):
        """Return the contrast of two regions; 0 where one has no pixels."""
        return _contrast(self[first], self[second]) if {first, second} <= self.keys() else 0.0


def _posterior(mean):
    """Return the brightness below the lesion, relative to its sides and to the lesion."""
    names = ("posterior_left", "posterior_right")
    sides = [mean.contrast("posterior", name) for name in names if name in mean]
    return {
        "posterior_contrast": np.mean(sides) if sides else 0,
        "posterior_minimum_side_difference": min(sides, default=0),
        "posterior_contrast_lesion": mean.contrast("posterior", "lesion"),
    }


def _texture(gray, band, width):
    """Return features of the gray-level co-occurrence matrix of a band."""
    counts = np.zeros((1, 1))
    if band.any():
        levels = gray_levels(with_mask(gray, band), _LEVELS)
        distance = min(max(1, round(width / 2)), min(levels.shape))
        counts = cooccurrence_matrix(levels, distance, n_levels=_LEVELS).sum(axis=0)
    if not counts.any():
        return {f"texture_{name}": 0.0 for name in _NAMES["texture"]}
    found = cooccurrence_features(counts)
    wanted = ("contrast", "inverse_difference_moment", "correlation", "joint_entropy")
    return {f"texture_{name}": found[source] for name, source in zip(_NAMES["texture"], wanted)}


class BIRADSFeatures(FeatureExtractor):
    """Describe a lesion in breast ultrasound as the BI-RADS lexicon does.

    Orientation, shape, margin, echo pattern and posterior features, and the texture of the margin,
    of an image that is masked to the lesion.

    Read more in the :ref:`User Guide <birads>`.

    Parameters
    ----------
    band_width : float, default=0.2
        Width of the bands at both sides of the outline, as a share of the radius of the disc of the
        lesion's area; at least one pixel.
    on_missing : {"raise", "nan"}, default="raise"
        What to do with an image without a mask: raise an error, or return a row of NaN.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Data type of the rows.

    See Also
    --------
    birads_regions : The regions that are compared.
    ShapeStatistics : The shape alone, as scikit-image defines it.

    Notes
    -----
    Columns are named ``birads_shape_solidity``: ``birads_``, the group and the name. The user guide
    has the formula of each. All are ratios, angles in degrees, entropies in bits, counts or
    brightness from 0 to 1: none has a unit of length. A change of gain changes ``echo_mean`` alone.

    The depth is along the rows: the transducer is at the top of the image. The skin is horizontal.
    Pixels must be square.

    **The pixels around the lesion are used**, unlike by other extractors: those of the data of
    the masked array. They must be valid: a NaN is an error, masked or not. `Resize` before this
    step would replace them, and steps such as `CLAHE` would change those inside the mask only:
    apply such steps to the images before masking them.

    Of a mask in several parts the largest is used, its holes filled. The outline is resampled to
    256 points at equal distances and smoothed. A contrast of two regions is the difference of their
    mean brightness divided by the sum, from -1 to 1. Regions end at the border of the image; a
    contrast with a region that has no pixels, such as the tissue below a lesion that touches the
    bottom, is 0, as are ``sharpness`` and the texture where the outline has no surroundings.

    **A mask can reveal the diagnosis**: see `ShapeStatistics`.

    Sources: the normalized radial length (``nrl``) of an outline [1]_; depth-to-width ratio, radial
    gradient and minimum side difference [2]_; orientation, undulations, abrupt interface, echo
    pattern and posterior features as descriptors of BI-RADS [3]_, [5]_; elliptic-normalized
    circumference [4]_. Contrasts are differences in these papers; quotients do not depend on gain.

    References
    ----------
    .. [1] Chou YH et al. Stepwise logistic regression analysis of tumor contour features for breast
       ultrasound diagnosis. Ultrasound in Medicine and Biology 27 (2001) 1493-1498.
    .. [2] Horsch K et al. Computerized diagnosis of breast lesions on ultrasound. Medical Physics
       29 (2002) 157-164.
    .. [3] Shen WC et al. Breast ultrasound computer-aided diagnosis using BI-RADS features.
       Academic Radiology 14 (2007) 928-939, doi:10.1016/j.acra.2007.04.016.
    .. [4] Chen CM et al. Breast lesions on sonograms: computer-aided diagnosis with nearly
       setting-independent features and artificial neural networks. Radiology 226 (2003) 504-514,
       doi:10.1148/radiol.2262011843.
    .. [5] Moon WK et al. Quantitative ultrasound analysis for classification of BI-RADS category 3
       breast masses. Journal of Digital Imaging 26 (2013) 1091-1098.

    Examples
    --------
    >>> from featbus import BIRADSFeatures, load_masked, make_breast_ultrasound
    >>> data = make_breast_ultrasound(8, weights=[1, 1, 0], random_state=0)
    >>> rows = BIRADSFeatures().set_output(transform="pandas").fit_transform(load_masked(data))
    >>> rows.shape
    (8, 35)
    >>> benign, malignant = rows["birads_posterior_contrast"].groupby(data.target).mean()
    >>> bool(benign > 0 > malignant)  # enhancement, shadow
    True
    """

    _parameter_constraints = {
        "band_width": [Interval(Real, 0, None, closed="neither")],
        "on_missing": [StrOptions({"raise", "nan"})],
    }

    def __init__(
        self,
        *,
        band_width: float = 0.2,
        on_missing: Literal["raise", "nan"] = "raise",
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.band_width = band_width
        self.on_missing = on_missing
        self.dtype = dtype

    def _extract(self, image):
        inside = inside_mask(image)
        names = [column.name for column in self._columns()]
        if inside is None and self.on_missing == "nan":
            return np.full(len(names), np.nan)
        if inside is None:
            raise missing_mask()
        # Pixels outside of the mask have not been checked before.
        gray = to_gray(check_image(np.ma.getdata(image)))
        lesion, outline = _main_part(inside)
        width, points = _band_width(lesion, self.band_width), _resample(outline)
        regions = _find_regions(lesion, width)
        pixels = to_float(gray)
        values = {name: pixels[region] for name, region in regions.items() if region.any()}
        mean = _Means({name: part.mean(dtype=np.float64) for name, part in values.items()})
        center, features = _shape(lesion, points)
        features |= _margin(pixels, points, center, width)
        features["margin_abrupt_interface"] = mean.contrast("outer_band", "inner_band")
        features |= _echo(values["lesion"].astype(np.float64), mean) | _posterior(mean)
        features |= _texture(gray, regions["inner_band"] | regions["outer_band"], width)
        return np.array([features[name.removeprefix("birads_")] for name in names])

    def _columns(self):
        for group, names in _NAMES.items():
            for name in names:
                yield Column(f"birads_{group}_{name}", f"{group}: {name.replace('_', ' ')}")
