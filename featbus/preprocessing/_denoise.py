"""Filters against noise, and against speckle, which grows with the signal."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Literal, get_args

import cv2
import numpy as np
from scipy import ndimage
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

from featbus.parameters import Interval, StrOptions
from featbus.preprocessing._pixels import OddSize, PixelTransformer, as_float

_Filter = Literal["median", "gaussian", "bilateral", "nlmeans", "tv"]
# Largest window whose median OpenCV takes of 16-bit and float32 pixels.
_OPENCV_MEDIAN = 5
_BORDER = cv2.BORDER_REPLICATE
_TIME_STEP = 0.2
# Keeps quotients finite where a pixel is black.
_TINY = 1e-6


class Denoise(PixelTransformer):
    """Smooth noise away.

    Read more in the :ref:`User Guide <enhancement>`.

    Parameters
    ----------
    method : {"median", "gaussian", "bilateral", "nlmeans", "tv"}, default="median"
        "median" of a window; "gaussian", weighted mean of a window; "bilateral", the same over
        pixels of similar brightness [1]_; "nlmeans", mean of pixels with similar neighborhoods
        [2]_; "tv", minimization of the total variation [3]_.
    size : int, default=5
        Side of the window in pixels, an odd number; for "nlmeans", side of the neighborhoods that
        are compared. Not used by "tv".
    strength : float, default=0.1
        How much brightness may differ, as a share of the range: the standard deviation of
        "bilateral", the cut-off ``h`` of "nlmeans", the weight of "tv". Larger smooths more. Not
        used by "median" and "gaussian".

    See Also
    --------
    Despeckle : Filters for noise that grows with the signal, as speckle does.

    Notes
    -----
    Computed by OpenCV ("median", "gaussian", "bilateral") and scikit-image ("nlmeans" with patches
    up to 6 pixels away, "tv"). The standard deviation of the Gaussian is the one that OpenCV
    derives from `size`, ``0.3 (size / 2 - 1.5) + 0.8`` pixels; that of "bilateral" is a quarter of
    `size`.

    Dtype and range are kept. Beyond the border of the image, or of its mask, the nearest pixel
    inside is repeated; "nlmeans" reflects the image at its border, and "tv" filters the outside of
    a mask, filled in this way, together with the inside. The channels of a color image are smoothed
    one by one by "median" and "gaussian", and jointly by the others. Results of the same image in
    different dtypes are equal to within 2/255.

    References
    ----------
    .. [1] Tomasi C, Manduchi R. Bilateral filtering for gray and color images. ICCV 1998, 839-846.
    .. [2] Buades A, Coll B, Morel J-M. A non-local algorithm for image denoising. CVPR 2005, 60-65.
    .. [3] Chambolle A. An algorithm for total variation minimization and applications. Journal of
       Mathematical Imaging and Vision 20 (2004) 89-97.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import Denoise
    >>> image = np.full((5, 5), 100, np.uint8)
    >>> image[2, 2] = 255
    >>> int(Denoise("median", size=3).transform([image]).max())
    100
    """

    _parameter_constraints = {
        "method": [StrOptions(set(get_args(_Filter)))],
        "size": [OddSize(1, 255)],
        "strength": [Interval(Real, 1e-6, 1e3, closed="both")],
    }

    def __init__(self, method: _Filter = "median", *, size: int = 5, strength: float = 0.1) -> None:
        self.method = method
        self.size = size
        self.strength = strength

    def _change(self, pixels, inside):
        return getattr(self, f"_{self.method}")(pixels)

    def _median(self, pixels):
        if pixels.dtype == np.uint8 or (self.size <= _OPENCV_MEDIAN and pixels.dtype != np.float64):
            return cv2.medianBlur(pixels, self.size)
        return ndimage.median_filter(pixels, self.size, mode="nearest", axes=(0, 1))

    def _gaussian(self, pixels):
        deviation = 0.3 * ((self.size - 1) * 0.5 - 1) + 0.8  # as OpenCV derives it from the size
        return cv2.GaussianBlur(pixels, (self.size, self.size), deviation, borderType=_BORDER)

    def _bilateral(self, pixels):
        # At 8 bits OpenCV 5 rounds down. Of colors it adds up the differences of the channels.
        pixels = as_float(pixels).astype(np.float32, copy=False)
        strength = self.strength * (3 if pixels.ndim == 3 else 1)
        return cv2.bilateralFilter(pixels, self.size, strength, self.size / 4, borderType=_BORDER)

    def _nlmeans(self, pixels):
        smooth = denoise_nl_means(
            np.atleast_3d(as_float(pixels)),
            patch_size=self.size,
            patch_distance=6,
            h=self.strength,
            channel_axis=-1,
        )
        return smooth.reshape(pixels.shape)  # scikit-image drops axes of length 1

    def _tv(self, pixels):
        smooth = denoise_tv_chambolle(
            np.atleast_3d(as_float(pixels)), self.strength, channel_axis=-1
        )
        return smooth.reshape(pixels.shape)


def _mean_and_variance(pixels, size):
    """Return mean and variance of the window around each pixel."""
    mean = cv2.blur(pixels, (size, size), borderType=_BORDER)
    mean_square = cv2.blur(pixels * pixels, (size, size), borderType=_BORDER)
    return mean, np.maximum(mean_square - mean * mean, 0)


def _divide(dividend, divisor):
    """Return the quotient, 0 where both are 0."""
    return np.divide(dividend, divisor, out=np.zeros_like(dividend), where=divisor > 0)


def estimate_noise(pixels, size, inside=...):
    """Estimate how strong speckle is.

    Parameters
    ----------
    pixels : ndarray of float
        Amplitudes, not negative.
    size : int
        Side of the window in pixels.
    inside : ndarray of bool, default=...
        Pixels whose windows are used; by default, all.

    Returns
    -------
    float
        Median coefficient of variation (standard deviation divided by mean) of the windows that are
        not black.
    """
    mean, variance = (part[inside] for part in _mean_and_variance(pixels, size))
    variation = np.sqrt(variance[mean > 0]) / mean[mean > 0]
    return max(_TINY, float(np.median(variation))) if variation.size else _TINY


def lee(pixels, size, noise, linear=True):
    """Smooth speckle by the filter of Lee [1]_ or, without linearization, of Kuan et al. [2]_.

    Parameters
    ----------
    pixels : ndarray of float
        Amplitudes, not negative.
    size : int
        Side of the window in pixels.
    noise : float
        Coefficient of variation of the speckle, whose mean is 1.
    linear : bool, default=True
        True for Lee's filter, False for that of Kuan et al.

    Returns
    -------
    ndarray of float
        ``mean + k (pixel - mean)``, with ``k = Q / (noise ** 2 mean ** 2 + Q)`` or, for Kuan et
        al., ``k = Q / (noise ** 2 (mean ** 2 + Q) + Q)``; ``Q``, the variance without speckle, is
        ``(variance + mean ** 2) / (1 + noise ** 2) - mean ** 2``.

    References
    ----------
    .. [1] Lee J-S. Digital image enhancement and noise filtering by use of local statistics. IEEE
       Transactions on Pattern Analysis and Machine Intelligence 2 (1980) 165-168; the filter for
       multiplicative noise.
    .. [2] Kuan DT, Sawchuk AA, Strand TC, Chavel P. Adaptive noise smoothing filter for images with
       signal-dependent noise. IEEE Transactions on Pattern Analysis and Machine Intelligence 7
       (1985) 165-177; the filter for multiplicative noise.
    """
    mean, variance = _mean_and_variance(pixels, size)
    signal = np.maximum((variance - noise**2 * mean * mean) / (1 + noise**2), 0)
    speckle = noise**2 * mean * mean if linear else noise**2 * (mean * mean + signal)
    return mean + _divide(signal, signal + speckle) * (pixels - mean)


def frost(pixels, size):
    """Smooth speckle by the filter of Frost et al. [1]_.

    Parameters
    ----------
    pixels : ndarray of float
        Amplitudes, not negative.
    size : int
        Side of the window in pixels.

    Returns
    -------
    ndarray of float
        Mean of the window, a pixel at the distance ``d`` with the weight ``exp(-2 C ** 2 d)``;
        ``C`` is the coefficient of variation in the window.

    References
    ----------
    .. [1] Frost VS, Stiles JA, Shanmugan KS, Holtzman JC. A model for radar images and its
       application to adaptive digital filtering of multiplicative noise. IEEE Transactions on
       Pattern Analysis and Machine Intelligence 4 (1982) 157-166.
    """
    mean, variance = _mean_and_variance(pixels, size)
    decay = -2 * _divide(variance, mean * mean)
    steps = np.arange(size) - size // 2
    distance = np.hypot(steps[:, np.newaxis], steps)
    weighted, weights = np.zeros_like(pixels), np.zeros_like(pixels)
    # Pixels at one distance share their weight: one filter per distance.
    for radius in np.unique(distance):
        ring = (distance == radius).astype(pixels.dtype)
        weight = np.exp(decay * pixels.dtype.type(radius))
        weighted += weight * cv2.filter2D(pixels, -1, ring, borderType=_BORDER)
        weights += weight * ring.sum()
    return weighted / weights


def srad(pixels, noise, n_iterations):
    """Smooth speckle by the anisotropic diffusion of Yu and Acton [1]_.

    Parameters
    ----------
    pixels : ndarray of float
        Amplitudes, not negative.
    noise : float
        Coefficient of variation of the speckle, which decays as ``exp(-t / 6)``, equation 37.
    n_iterations : int
        Number of steps, each by 0.2 in time ``t``.

    Returns
    -------
    ndarray of float
        Result of equations 31, 33, 35, 52 to 54, 58 and 61.

    References
    ----------
    .. [1] Yu Y, Acton ST. Speckle reducing anisotropic diffusion. IEEE Transactions on Image
       Processing 11 (2002) 1260-1270.
    """
    pixels = np.maximum(pixels, _TINY)
    for step in range(n_iterations):
        scale = noise * np.exp(-1 / 6 * _TIME_STEP * step)
        pixels = _diffuse(pixels, max(scale, _TINY) ** 2)
    return pixels


def _diffuse(pixels, scale_squared):
    """Return the image after one step of diffusion."""
    around = cv2.copyMakeBorder(pixels, 1, 1, 1, 1, _BORDER)
    north, south = around[:-2, 1:-1] - pixels, around[2:, 1:-1] - pixels
    west, east = around[1:-1, :-2] - pixels, around[1:-1, 2:] - pixels
    laplacian = (north + south + west + east) / pixels
    gradient = (north * north + south * south + west * west + east * east) / (pixels * pixels)
    variation = (gradient / 2 - laplacian**2 / 16) / (1 + laplacian / 4) ** 2
    # Equation 33 as one quotient, which is finite where there is no speckle.
    conduction = scale_squared * (1 + scale_squared) / (variation + scale_squared**2)
    conduction = np.clip(conduction, 0, 1)
    south *= np.concatenate([conduction[1:], conduction[-1:]], axis=0)
    east *= np.concatenate([conduction[:, 1:], conduction[:, -1:]], axis=1)
    north *= conduction
    west *= conduction
    return pixels + _TIME_STEP / 4 * (north + south + west + east)


class Despeckle(PixelTransformer):
    """Smooth speckle, the noise of ultrasound, and keep edges sharp.

    Read more in the :ref:`User Guide <enhancement>`.

    Parameters
    ----------
    method : {"lee", "kuan", "frost", "srad"}, default="lee"
        "lee" [1]_ and "kuan" [2]_ pull each pixel toward the mean of its window, more strongly
        where the window varies less; "frost" [3]_ is a weighted mean, narrower where the window
        varies more; "srad" [4]_ is a diffusion that stops at edges.
    size : int, default=7
        Side of the window in pixels, an odd number. "srad" needs it only to estimate `noise`.
    noise : float or None, default=None
        Coefficient of variation of the speckle; larger smooths more. None takes the median of all
        windows. Not used by "frost".
    n_iterations : int, default=50
        Number of steps of "srad".
    dynamic_range : float or None, default=None
        Range in decibels from black to white of a log-compressed image, which most exported
        ultrasound images are. Pixels are expanded to amplitudes, filtered, and compressed again.
        None takes pixels as amplitudes.

    See Also
    --------
    Denoise : Filters for noise that does not depend on the signal.

    Notes
    -----
    Dtype and range are kept. Beyond the border of the image, or of its mask, the nearest pixel
    inside is repeated; "srad" smooths the outside of a mask, filled in this way, together with the
    inside. The noise is estimated from the windows of pixels inside the mask. The channels of a
    color image are smoothed one by one, with one value of `noise`. Results of the same image in
    different dtypes are equal to within 1/255.

    References
    ----------
    .. [1] Lee J-S. Digital image enhancement and noise filtering by use of local statistics. IEEE
       Transactions on Pattern Analysis and Machine Intelligence 2 (1980) 165-168.
    .. [2] Kuan DT, Sawchuk AA, Strand TC, Chavel P. Adaptive noise smoothing filter for images with
       signal-dependent noise. IEEE Transactions on Pattern Analysis and Machine Intelligence 7
       (1985) 165-177.
    .. [3] Frost VS, Stiles JA, Shanmugan KS, Holtzman JC. A model for radar images and its
       application to adaptive digital filtering of multiplicative noise. IEEE Transactions on
       Pattern Analysis and Machine Intelligence 4 (1982) 157-166.
    .. [4] Yu Y, Acton ST. Speckle reducing anisotropic diffusion. IEEE Transactions on Image
       Processing 11 (2002) 1260-1270.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import Despeckle
    >>> speckle = 0.2 * np.random.default_rng(0).rayleigh(size=(64, 64))
    >>> smooth = Despeckle().transform([speckle.clip(0, 1)])
    >>> bool(smooth.std() < speckle.std() / 2)
    True
    """

    _parameter_constraints = {
        "method": [StrOptions({"lee", "kuan", "frost", "srad"})],
        "size": [OddSize(3, 4095)],
        "noise": [Interval(Real, 0, 1e3, closed="right"), None],
        "n_iterations": [Interval(Integral, 1, None, closed="left")],
        "dynamic_range": [Interval(Real, 1, 1000, closed="both"), None],
    }

    def __init__(
        self,
        method: Literal["lee", "kuan", "frost", "srad"] = "lee",
        *,
        size: int = 7,
        noise: float | None = None,
        n_iterations: int = 50,
        dynamic_range: float | None = None,
    ) -> None:
        self.method = method
        self.size = size
        self.noise = noise
        self.n_iterations = n_iterations
        self.dynamic_range = dynamic_range

    def _change(self, pixels, inside):
        pixels = as_float(pixels)
        if self.dynamic_range is None:
            return self._smooth(pixels, inside)
        # An amplitude ten times as large is 20 dB more.
        decades = pixels.dtype.type(self.dynamic_range / 20)
        smooth = self._smooth(10 ** ((pixels - 1) * decades), inside)
        return 1 + np.log10(np.maximum(smooth, np.finfo(smooth.dtype).tiny)) / decades

    def _smooth(self, pixels, inside):
        if self.method == "frost":
            return frost(pixels, self.size)
        noise = estimate_noise(pixels, self.size, inside) if self.noise is None else self.noise
        if self.method == "srad":
            return srad(pixels, noise, self.n_iterations)
        return lee(pixels, self.size, noise, linear=self.method == "lee")
