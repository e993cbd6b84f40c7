"""Segmentation without training."""

from __future__ import annotations

from numbers import Real
from typing import Literal

import cv2
import numpy as np
from skimage.filters import threshold_local, threshold_multiotsu, threshold_otsu

from featbus.color import to_float, to_gray
from featbus.images import map_at_index
from featbus.masks import inside_mask
from featbus.parameters import Interval, StrOptions
from featbus.segmentation._base import Segmenter

_LONGER_SIDE = 256  # pixels of the image that regions are found in
_WINDOW = 127  # of the local threshold, about half of it
_OFFSET = 0.03  # by which a pixel must exceed the local threshold
_N_ITERATIONS = 60
_REACH = 0.25  # standard deviation of the preference for the middle, as a share of each side
# Of the method "radial", chosen on two fifths of the lesions of BUSI.
_SURROUNDINGS = 0.12  # standard deviation of the mean around a pixel, as a share of the longer side
_CONTRASTS = np.linspace(0, 0.8, 16)
_SMALLEST = 100  # pixels of a part
_SMALLEST_RANGE = 1e-4  # of the brightness: an even image has rounding errors once it is resized
_MIDDLE = 0.45  # of the height: shadows lie below lesions


def _disc(radius):
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _weight(shape, middle=0.5, reach=_REACH):
    """Return a Gaussian around the middle of an image."""
    down, across = (np.linspace(0, 1, side) for side in shape)
    down, across = (down - middle) / reach, (across - 0.5) / reach
    return np.exp(-(down[:, np.newaxis] ** 2 + across**2) / 2)


def _most_central(candidates):
    """Return the largest component, pixels weighted by how central they are, without holes."""
    opened = cv2.morphologyEx(candidates.astype(np.uint8), cv2.MORPH_OPEN, _disc(3))
    count, labels = cv2.connectedComponents(opened)
    sums = np.bincount(labels.ravel(), _weight(candidates.shape).ravel(), count)
    sums[0] = 0
    part = (labels == sums.argmax()) & (sums.max() > 0)
    outlines, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(part.astype(np.uint8), outlines, -1, 1, cv2.FILLED) > 0


def _radial(signal, inside):
    """Return the component with the best radial score, at any of several thresholds."""
    steepness = cv2.Sobel(signal, -1, 1, 0, scale=-1 / 8), cv2.Sobel(signal, -1, 0, 1, scale=-1 / 8)
    weight = _weight(signal.shape, _MIDDLE, 0.3)
    sigma = _SURROUNDINGS * max(signal.shape)
    mean = cv2.GaussianBlur(signal, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    contrast = (signal - mean) / (1.02 - mean)
    found, best = np.zeros(signal.shape, dtype=np.uint8), 0
    for level in _CONTRASTS:
        parts = ((contrast > level) & inside).astype(np.uint8)
        parts = cv2.morphologyEx(parts, cv2.MORPH_OPEN, _disc(3))
        outlines, _ = cv2.findContours(parts, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for outline in outlines:
            score = _radial_score(outline, steepness, weight)
            if score > best:
                best, found = score, np.zeros_like(found)
                cv2.drawContours(found, [outline], -1, 1, cv2.FILLED)
    return found > 0


def _radial_score(outline, steepness, weight):
    """Return the average radial derivative on an outline, weighted by its area and position."""
    moments = cv2.moments(outline)
    area = moments["m00"]
    if not _SMALLEST < area < weight.size / 2:
        return 0
    x, y = moments["m10"] / area, moments["m01"] / area
    columns, rows = outline[:, 0].T
    across, down = columns - x, rows - y
    slope = across * steepness[0][rows, columns] + down * steepness[1][rows, columns]
    derivative = np.mean(slope / np.maximum(np.hypot(across, down), 1e-6))
    return derivative * weight[round(y), round(x)] * area**0.25


def _otsu(signal, inside):
    return signal > threshold_otsu(signal[inside])


def _multiotsu(signal, inside):
    try:
        return signal > threshold_multiotsu(signal[inside], classes=3)[-1]
    except ValueError:  # there are only two levels
        return _otsu(signal, inside)


def _adaptive(signal, inside):
    return signal > threshold_local(signal, _WINDOW, mode="nearest") + _OFFSET


def _watershed(signal, inside):
    """Flood the steepness from the middle of Otsu's part and from far outside of it."""
    # Imported lazily: some releases import matplotlib with it.
    from skimage.segmentation import watershed

    part = _most_central(_otsu(signal, inside) & inside).astype(np.uint8)
    markers = cv2.erode(part, _disc(5)) + 2 * (cv2.dilate(part, _disc(10)) == 0)
    steepness = np.hypot(cv2.Sobel(signal, -1, 1, 0), cv2.Sobel(signal, -1, 0, 1))
    return watershed(steepness, markers) == 1


def _chan_vese(signal, inside):
    """Let the outline of Otsu's part move to where the two mean values separate best."""
    from skimage.segmentation import morphological_chan_vese

    start = _most_central(_otsu(signal, inside) & inside)
    return morphological_chan_vese(signal, _N_ITERATIONS, init_level_set=start, smoothing=2) > 0


_METHODS = {
    "radial": _radial,
    "otsu": _otsu,
    "multiotsu": _multiotsu,
    "adaptive": _adaptive,
    "watershed": _watershed,
    "chan_vese": _chan_vese,
}


class ThresholdSegmenter(Segmenter):
    """Find the dark, or the bright, region in the middle of an image, without training.

    Read more in the :ref:`User Guide <segmentation>`.

    Parameters
    ----------
    method : {"radial", "otsu", "multiotsu", "adaptive", "watershed", "chan_vese"}, \
            default="radial"
        "radial" applies several thresholds to the contrast with the surroundings, and takes the
        part with the largest average radial derivative on its outline [1]_. "otsu" separates two
        classes of gray levels [2]_, "multiotsu" takes the extreme one of three [3]_; "adaptive"
        compares a pixel with its surroundings; "watershed" and "chan_vese" [4]_ start from Otsu's
        region and move its outline to edges, or to where the mean values on both sides differ most.
    dark : bool, default=True
        Whether the region is darker than its surroundings, as most lesions in ultrasound are.
    smoothing : float, default=0.02
        Standard deviation of the Gaussian that smooths speckle first, as a share of the longer
        side.

    See Also
    --------
    UNetSegmenter : Learns what a lesion looks like.
    ROICropper : Crop images around the regions that a segmenter finds.

    Notes
    -----
    A baseline, and a fallback where there are no masks to train on. Parts near the middle of the
    image are preferred: "radial" multiplies the derivative by a Gaussian around a point slightly
    above the middle and by the fourth root of the area; the other methods take the part that is
    largest there. Holes are filled. Regions are found in an image reduced to 256 pixels. Only
    pixels inside the mask are used. An image of one gray level has no region. scikit-image computes
    the thresholds, the watershed and the active contours.

    References
    ----------
    .. [1] Horsch K, Giger ML, Venta LA, Vyborny CJ. Automatic segmentation of breast lesions on
       ultrasound. Medical Physics 28 (2001) 1652-1659, doi:10.1118/1.1386426.
    .. [2] Otsu N. A threshold selection method from gray-level histograms. IEEE Transactions on
       Systems, Man, and Cybernetics 9 (1979) 62-66, doi:10.1109/TSMC.1979.4310076.
    .. [3] Liao P-S, Chen T-S, Chung P-C. A fast algorithm for multilevel thresholding. Journal of
       Information Science and Engineering 17 (2001) 713-727.
    .. [4] Marquez-Neila P, Baumela L, Alvarez L. A morphological approach to curvature-based
       evolution of curves and surfaces. IEEE TPAMI 36 (2014) 2-17, doi:10.1109/TPAMI.2013.106.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import ThresholdSegmenter
    >>> y, x = np.mgrid[:100, :120]
    >>> image = np.where(np.hypot(y - 50, x - 60) < 20, 0.2, 0.7)
    >>> region = ThresholdSegmenter().predict([image])[0]
    >>> bool(region[50, 60]), bool(region[5, 5])
    (True, False)
    """

    # 2: images whose gray levels differ by rounding errors alone have no region.
    _algorithm_version = 2

    _parameter_constraints = {
        "method": [StrOptions(set(_METHODS))],
        "dark": ["boolean"],
        "smoothing": [Interval(Real, 0, 0.5, closed="both")],
    }

    def __init__(
        self,
        method: Literal[
            "radial", "otsu", "multiotsu", "adaptive", "watershed", "chan_vese"
        ] = "radial",
        *,
        dark: bool = True,
        smoothing: float = 0.02,
    ) -> None:
        self.method = method
        self.dark = dark
        self.smoothing = smoothing

    def _iter_regions(self, images):
        return map_at_index(self._region, images)

    def _region(self, image):
        height, width = image.shape[:2]
        scale = min(1, _LONGER_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        inside = inside_mask(image)
        inside = np.ones((height, width), dtype=bool) if inside is None else inside
        pixels = np.ma.getdata(to_float(to_gray(image)))
        pixels = np.where(inside, pixels, pixels[inside].mean())
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        inside = cv2.resize(inside.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        found = self._small_region(small, inside).astype(np.float32)
        return cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5

    def _small_region(self, pixels, inside):
        sigma = self.smoothing * max(pixels.shape)
        if sigma > 0:
            pixels = cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        if np.ptp(pixels[inside]) < _SMALLEST_RANGE:
            return np.zeros(pixels.shape, dtype=bool)
        signal = 1 - pixels if self.dark else pixels
        return _most_central(_METHODS[self.method](signal, inside) & inside)
