"""The pectoral muscle in a mammogram."""

from __future__ import annotations

from numbers import Real
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike

from featbus.base import ImageTransformer
from featbus.io import read_item
from featbus.masks import restrict
from featbus.parameters import Interval
from featbus.preprocessing._breast_region import ellipse, enlarge, find_breast
from featbus.typing import PathLike

# All lengths are in pixels of the coarse image.
_SAG = 0.03  # of a typical edge, as a share of its length
_OUTWARD = 1.0  # outward offset, at the top, of readers' outlines from the steepest edge
_SMALLEST = 24  # side of a breast
_STRIP = 5  # distance of the strips whose brightness is compared


class PectoralMuscle(NamedTuple):
    """What `PectoralMuscleRemover.detect` found.

    Attributes
    ----------
    boundary : ndarray of float of shape (n_points, 2)
        Row and column, in pixels, of points along the muscle's edge from the top to the chest wall;
        no points if no muscle was found.
    mask : ndarray of bool of shape (height, width)
        True in the muscle; nowhere if none was found.
    found : bool
        Whether a muscle was found.
    confidence : float
        From 0 to 1; a muscle is reported if it is at least `min_confidence`.
    reason : str
        Why no muscle was found; empty if one was.
    """

    boundary: np.ndarray
    mask: np.ndarray
    found: bool
    confidence: float
    reason: str


class _Edges(NamedTuple):
    """Parabolas from the top of the breast to its chest wall, and what supports them."""

    top: np.ndarray
    wall: np.ndarray
    sag: np.ndarray
    contrast: np.ndarray
    length: np.ndarray
    score: np.ndarray

    def best(self, n=1):
        """Return the edges of the highest scores, none within a tenth of a better one."""
        order = np.argsort(-self.score, kind="stable")
        kept = [order[0]]
        for index in order[1 : 400 if n > 1 else 1]:
            apart = sum(abs(ends[index] / ends[kept] - 1) for ends in (self.top, self.wall))
            if len(kept) < n and apart.min() > 0.2:
                kept.append(index)
        return _Edges(*(values[kept] for values in self))


def _field(pixels, inside, sigma):
    """Return a smoothed breast, its gradient down and to the right, and where both are reliable.

    Values and gradients are divided by their high percentiles.
    """
    values = cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    down, right = (
        cv2.Sobel(values, cv2.CV_32F, *order, ksize=3, borderType=cv2.BORDER_REPLICATE)
        for order in ((0, 1), (1, 0))
    )
    framed = cv2.copyMakeBorder(inside.astype(np.uint8), *[11] * 4, cv2.BORDER_REPLICATE)
    core = cv2.erode(framed, ellipse(11))[11:-11, 11:-11] > 0
    # How steeply brightness falls toward the nipple. A low cap would level muscle and gland.
    falls = -(right * np.cos(np.radians(35)) + down * np.sin(np.radians(35)))
    falls = falls[core & (falls > 0)]
    cap = np.percentile(falls, 98) if falls.size else 1
    bright = np.percentile(values[inside], 95)
    return values / bright, np.where(core, down / cap, 0), np.where(core, right / cap, 0), core


def _points(top, wall, sag, n_points):
    """Return x and y of points along parabolas, and the x and y of their outward normals."""
    share = (np.arange(n_points, dtype=np.float32) + 0.5) / n_points
    top, wall, sag = (np.asarray(part, np.float32)[:, np.newaxis] for part in (top, wall, sag))
    bow = 4 * sag * np.hypot(top, wall)
    slope = bow * (1 - 2 * share) - top
    norm = np.hypot(slope, wall)
    return (1 - share) * (top + bow * share), wall * share, wall / norm, -slope / norm


def _rate(field, top, wall, sag, *, n_points, reward):
    """Rate candidates: edge strength, contrast, typical curvature; long ones are preferred."""
    values, down, right, core = field
    height, width = values.shape
    x, y, normal_x, normal_y = _points(top, wall, sag, n_points)

    def sample(pixels, offset=0):
        column = np.rint(x + offset * normal_x).astype(np.int32).clip(0, width - 1)
        row = np.rint(y + offset * normal_y).astype(np.int32).clip(0, height - 1)
        return pixels.ravel()[row * width + column]

    in_frame = (y < height - 0.5) & (x < width - 0.5)
    count = np.maximum(in_frame.sum(axis=1), 1)

    def mean(samples):
        return (samples * in_frame).sum(axis=1) / count

    strength = mean((-sample(right) * normal_x - sample(down) * normal_y).clip(-0.5, 1))
    step = sample(values, -_STRIP) - sample(values, _STRIP)
    contrast = mean((10 * step).clip(-1, 1))
    length = np.hypot(top, wall) * count / n_points / np.hypot(height, width)
    score = strength - 0.2 + 0.4 * contrast - 1.5 * np.abs(sag - _SAG)
    score = score.clip(0) * length**reward * (mean(sample(core, _STRIP)) > 0.6)
    return _Edges(top, wall, sag, contrast, length, score)


def _grid(*axes):
    return [part.ravel() for part in np.meshgrid(*axes, indexing="ij")]


def _neighbors(edge):
    """Return parabolas near one edge."""
    top, wall, sag = _grid(np.arange(-3, 4) * 0.8, np.arange(-4.0, 5), np.arange(-3, 4) * 0.01)
    top, wall = np.maximum(edge.top + top, 3), np.maximum(edge.wall + wall, 5)
    return top, wall, np.clip(edge.sag + sag, 0, 0.08)


def _search(pixels, inside):
    """Return edges, best first: of all lines on a coarse grid, parabolas near the best five."""
    height, width = pixels.shape
    top, wall = _grid(np.arange(6.0, width, 2), np.arange(12, 1.3 * height, 4))
    angle = np.degrees(np.arctan2(top, wall))
    plausible = (angle > 6) & (angle < 68)
    top, wall = top[plausible], wall[plausible]
    rough = _field(pixels, inside, 1.7)
    lines = _rate(rough, top, wall, np.full(top.size, _SAG), n_points=24, reward=0.5).best(5)
    fine = _field(pixels, inside, 1.5)
    found = []
    for line in np.transpose(lines):
        edge = _Edges(*line)
        for _ in range(2):
            edge = _rate(fine, *_neighbors(edge), n_points=48, reward=0.3).best()
        found.append(edge)
    # Length counts little in refinement, so that edges do not creep down the wall, and more in the
    # final choice, so that an inner edge does not win.
    return sorted(found, key=lambda edge: -edge.score[0] * edge.length[0] ** 0.2)


def _window(inside):
    """Return the rows and columns of a breast, without the film's edge."""
    counts = inside.sum(axis=0)
    # The wall is where the film begins to show tissue over a good part of its height.
    left = np.argmax(counts >= 0.3 * counts.max())
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0] + 1, rows[-1] + 1), slice(left + 1, columns[-1] + 1)


def _doubts(edge, inside):
    """Return why an edge is implausible; an empty string if it is plausible."""
    height, width = inside.shape
    x, y, _, _ = _points(edge.top, edge.wall, edge.sag, 64)
    border = np.interp(np.arange(height), y[0], x[0], right=0)
    muscle = inside & (np.arange(width) < border[:, np.newaxis])
    checks = [
        (height > 1.05 * width, "the breast is not taller than wide"),
        (inside[:8, :8].mean() > 0.5, "the corner at the chest wall is dark"),
        (edge.contrast[0] > 0.65, "the corner is hardly brighter than the tissue beside it"),
        (muscle.sum() < 0.5 * inside.sum(), "it covers half the breast"),
        (edge.top[0] < 0.95 * width, "it reaches the skin at the top"),
        (edge.wall[0] < 0.9 * height, "it reaches the breast's lower end"),
        (np.degrees(np.arctan2(edge.top[0], edge.wall[0])) < 50, "its edge is too flat"),
    ]
    return next((reason for holds, reason in checks if not holds), "")


def _locate(breast):
    """Return the best edge in a coarse breast, the corner of its window, and why none was found."""
    if breast.side is None:
        return None, None, breast.reason or "found no chest wall: both sides are alike."
    rows, columns = _window(breast.inside)
    inside = np.ascontiguousarray(breast.inside[rows, columns])
    if min(inside.shape) < _SMALLEST:
        return None, None, "found too small a breast to look for the muscle."
    edges = _search(np.ascontiguousarray(breast.pixels[rows, columns]), inside)
    doubts = [_doubts(edge, inside) for edge in edges]
    if all(doubts):
        return None, None, f"found no plausible muscle: {doubts[0]}."
    return edges[doubts.index("")], (rows.start, columns.start), ""


def _trace(edge, start, breast, shape):
    """Return row and column, in the image, of points on an edge and slightly beyond its ends."""
    share = np.linspace(-0.05, 1.05, 111)
    top, wall, length = edge.top[0], edge.wall[0], np.hypot(edge.top[0], edge.wall[0])
    outward = _OUTWARD * (1 - share) / length
    row = wall * share + top * outward
    column = (1 - share) * (top + 4 * edge.sag[0] * length * share) + wall * outward
    coarse = np.stack([row, column], axis=1)
    scale = np.divide(shape[:2], breast.pixels.shape)
    return (coarse + start + 0.5) * scale - 0.5


def _fill(trace, shape):
    """Return the pixels between the edge and the corner at the upper left."""
    far = -4 * np.max(shape)
    corner = [[trace[-1, 0], far], [far, far], [far, trace[0, 1]]]
    polygon = np.rint(16 * np.concatenate([trace, corner])[:, ::-1]).astype(np.int32)
    return cv2.fillPoly(np.zeros(shape[:2], np.uint8), [polygon], 1, shift=4).view(bool)


class PectoralMuscleRemover(ImageTransformer):
    """Mask the pectoral muscle of mediolateral-oblique mammograms.

    Read more in the :ref:`User Guide <mammograms>`.

    Parameters
    ----------
    min_confidence : float, default=0.3
        Smallest confidence, 0 to 1, at which a muscle is removed.

    See Also
    --------
    BreastRegion : Restrict mammograms to the breast.

    Notes
    -----
    The breast is found as by `BreastRegion`, in an image reduced to 256 pixels, with the chest wall
    to the left and upright. As in [1]_, all lines from its top to its chest wall are rated, here by
    the brightness gradient across them, capped at its 98th percentile, by the contrast of strips at
    both sides, and by length. The five best distinct lines are refined to parabolas that are
    straight or bow outward, as muscles do. A single curvature keeps the curve from following other
    tissue at the lower end, as free curves ([2]_, [3]_) do. The best one is moved outward at the
    top, where a muscle widens, by 1/256 of the image's longer side. `detect` returns the curve.

    No training data is needed. A muscle is removed only if it is plausible: brighter than the
    tissue beside it, in the upper corner of a breast that is taller than wide, less than half of
    it, its edge at most 50 degrees from the vertical. An image without one, such as an ultrasound
    image, is left as it is. The muscle is masked; pixels, dtype and size stay, and an existing mask
    is restricted. ``image.filled()`` fills it.

    References
    ----------
    .. [1] N. Karssemeijer, "Automated classification of parenchymal patterns in mammograms",
       Physics in Medicine and Biology 43 (1998) 365-378, doi:10.1088/0031-9155/43/2/011.
    .. [2] S. M. Kwok, R. Chandrasekhar, Y. Attikiouzel and M. T. Rickard, "Automatic pectoral
       muscle segmentation on mediolateral oblique view mammograms", IEEE Transactions on Medical
       Imaging 23 (2004) 1129-1140, doi:10.1109/TMI.2004.830529.
    .. [3] R. J. Ferrari, R. M. Rangayyan, J. E. L. Desautels, R. A. Borges and A. F. Frère,
       "Automatic identification of the pectoral muscle in mammograms", IEEE Transactions on
       Medical Imaging 23 (2004) 232-245, doi:10.1109/TMI.2003.823062.

    Examples
    --------
    >>> from featbus import PectoralMuscleRemover, make_mammograms
    >>> image = make_mammograms(1, random_state=0).images[0]
    >>> muscle = PectoralMuscleRemover().detect(image)
    >>> muscle.found
    True
    >>> without = PectoralMuscleRemover().fit_transform([image])[0]
    >>> print((without.mask == muscle.mask).all())
    True
    """

    _parameter_constraints = {"min_confidence": [Interval(Real, 0, 1, closed="both")]}

    def __init__(self, *, min_confidence: float = 0.3) -> None:
        self.min_confidence = min_confidence

    def detect(self, image: PathLike | ArrayLike) -> PectoralMuscle:
        """Look for the muscle in one image.

        Parameters
        ----------
        image : path, or array_like of shape (height, width) or (height, width, channels)
            See :ref:`images`. Masked pixels count as background.

        Returns
        -------
        PectoralMuscle
            The muscle, or why none was found.

        Raises
        ------
        ImageError
            If the image is invalid.
        """
        self._check_parameters()
        image = read_item(image, None)
        breast = find_breast(image)
        edge, start, reason = _locate(breast)
        confidence = 0.0 if reason else float(min(1, edge.score[0]))
        if not reason and confidence < self.min_confidence:
            reason = f"found confidence {confidence:.3g}, expected {self.min_confidence} or more."
        if reason:
            nowhere = np.zeros(image.shape[:2], dtype=bool)
            return PectoralMuscle(np.empty((0, 2)), nowhere, False, confidence, reason)
        trace = _trace(edge, start, breast, image.shape)
        mask = _fill(trace, image.shape)
        if breast.is_mirrored:
            mask = np.ascontiguousarray(mask[:, ::-1])
            trace[:, 1] = image.shape[1] - 1 - trace[:, 1]
        mask &= enlarge(breast, image.shape)
        in_frame = ((trace >= -0.5) & (trace <= np.subtract(image.shape[:2], 0.5))).all(axis=1)
        return PectoralMuscle(trace[in_frame], mask, True, confidence, "")

    def _transform_image(self, image):
        muscle = self.detect(image)
        return restrict(image, ~muscle.mask) if muscle.found else image
