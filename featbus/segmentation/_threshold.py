"""Segmentation without training."""

from numbers import Real

import cv2
import numpy as np
from skimage.filters import threshold_local, threshold_multiotsu, threshold_otsu

from featbus.images import at_index, inside_mask, to_float, to_gray
from featbus.parameters import Interval, StrOptions
from featbus.segmentation._base import Segmenter

_LONGER_SIDE = 256  # pixels of the image that regions are found in
_WINDOW = 127  # of the local threshold, about half of it
_OFFSET = 0.03  # by which a pixel must exceed the local threshold
_N_ITERATIONS = 60
_REACH = 0.25  # standard deviation of the preference for the middle, as a share of each side


def _disc(radius):
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _most_central(candidates):
    """Return the part of a mask that is largest, pixels in the middle counting most."""
    opened = cv2.morphologyEx(candidates.astype(np.uint8), cv2.MORPH_OPEN, _disc(3))
    count, labels = cv2.connectedComponents(opened)
    down, across = (np.linspace(-0.5, 0.5, side) / _REACH for side in candidates.shape)
    weight = np.exp(-(down[:, np.newaxis] ** 2 + across**2) / 2)
    sums = np.bincount(labels.ravel(), weight.ravel(), count)
    sums[0] = 0
    part = (labels == sums.argmax()) & (sums.max() > 0)
    outlines, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(part.astype(np.uint8), outlines, -1, 1, cv2.FILLED) > 0


def _otsu(signal, inside):
    return signal > threshold_otsu(signal[inside])


def _multiotsu(signal, inside):
    return signal > threshold_multiotsu(signal[inside], classes=3)[-1]


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
    "otsu": _otsu,
    "multiotsu": _multiotsu,
    "adaptive": _adaptive,
    "watershed": _watershed,
    "chan_vese": _chan_vese,
}


class ThresholdSegmenter(Segmenter):
    """Find the dark, or the bright, region in the middle of an image, without training.

    Parameters
    ----------
    method : {"otsu", "multiotsu", "adaptive", "watershed", "chan_vese"}, default="otsu"
        "otsu" separates two classes of gray levels [1]_, "multiotsu" takes the extreme one of three
        [2]_; "adaptive" compares a pixel with its surroundings; "watershed" and "chan_vese" [3]_
        start from Otsu's region and move its outline to edges, or to where the mean values on both
        sides differ most.
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
    A baseline, and a fallback where there are no masks to train on. Of all connected parts, the one
    that is largest near the middle of the image is taken, and its holes are filled. Regions are
    found in an image reduced to 256 pixels. Only pixels inside a mask count. An image of one gray
    level has no region. scikit-image computes the thresholds, the watershed and the active
    contours.

    References
    ----------
    .. [1] Otsu N. A threshold selection method from gray-level histograms. IEEE Transactions on
       Systems, Man, and Cybernetics 9 (1979) 62-66, doi:10.1109/TSMC.1979.4310076.
    .. [2] Liao P-S, Chen T-S, Chung P-C. A fast algorithm for multilevel thresholding. Journal of
       Information Science and Engineering 17 (2001) 713-727.
    .. [3] Marquez-Neila P, Baumela L, Alvarez L. A morphological approach to curvature-based
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

    _parameter_constraints = {
        "method": [StrOptions(set(_METHODS))],
        "dark": ["boolean"],
        "smoothing": [Interval(Real, 0, 0.5, closed="both")],
    }

    def __init__(self, method="otsu", *, dark=True, smoothing=0.02):
        self.method = method
        self.dark = dark
        self.smoothing = smoothing

    def _iter_regions(self, images):
        for index, image in enumerate(images):
            with at_index(index):
                yield self._region(image)

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
        if len(np.unique(pixels[inside])) < 3:
            return np.zeros(pixels.shape, dtype=bool)
        signal = 1 - pixels if self.dark else pixels
        return _most_central(_METHODS[self.method](signal, inside) & inside)
