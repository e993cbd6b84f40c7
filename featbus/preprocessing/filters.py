"""Filters of radiomics: steps from an image to its response map."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Literal

import cv2
import numpy as np
import pywt

from featbus.base import ImageTransformer
from featbus.color import to_float, to_gray
from featbus.images import ResponseMap
from featbus.parameters import Interval, InvalidParameterError, StrOptions
from featbus.preprocessing._pixels import OddSize, extend

__all__ = [
    "GaborFilter",
    "LaplacianOfGaussian",
    "LawsFilter",
    "MeanFilter",
    "SimoncelliFilter",
    "WaveletFilter",
]

_Boundary = Literal["mirror", "nearest", "zero", "periodic"]
_MODES = {"mirror": "symmetric", "nearest": "edge", "zero": "constant", "periodic": "wrap"}
_LAWS = {
    "L3": np.array([1, 2, 1]) / np.sqrt(6),
    "E3": np.array([-1, 0, 1]) / np.sqrt(2),
    "S3": np.array([-1, 2, -1]) / np.sqrt(6),
    "L5": np.array([1, 4, 6, 4, 1]) / np.sqrt(70),
    "E5": np.array([-1, -2, 0, 2, 1]) / np.sqrt(10),
    "S5": np.array([-1, 0, 2, 0, -1]) / np.sqrt(6),
    "W5": np.array([-1, 2, 0, -2, 1]) / np.sqrt(10),
    "R5": np.array([1, -4, 6, -4, 1]) / np.sqrt(70),
}
_LAWS_NAMES = [along + down for along in _LAWS for down in _LAWS if along[1] == down[1]]
_TRUNCATE = 4  # standard deviations


def convolve(pixels, kernel, boundary):
    """Convolve an image with a kernel.

    Parameters
    ----------
    pixels : ndarray of float64 of shape (height, width)
        The image.
    kernel : ndarray of float64 of shape (n_rows, n_columns)
        Its origin is the entry ``n_rows // 2, n_columns // 2``.
    boundary : {"mirror", "nearest", "zero", "periodic"}
        How the image goes on beyond its border.

    Returns
    -------
    ndarray of float64 of shape (height, width)
        The response.
    """
    flipped = np.ascontiguousarray(kernel[::-1, ::-1])
    # The origin of the flipped kernel: as many entries lie before it as lay behind it.
    top, left = ((side - 1) // 2 for side in kernel.shape)
    bottom, right = (side // 2 for side in kernel.shape)
    padded = np.pad(pixels, ((top, bottom), (left, right)), mode=_MODES[boundary])
    response = cv2.filter2D(padded, cv2.CV_64F, flipped, anchor=(left, top))
    height, width = pixels.shape
    return response[top : top + height, left : left + width]


def log_kernel(sigma):
    """Return the kernel of the Laplacian of a Gaussian; `sigma` in pixels."""
    radius = int(np.floor(_TRUNCATE * sigma + 0.5))
    squares = np.arange(-radius, radius + 1.0) ** 2
    share = (squares[:, np.newaxis] + squares) / (2 * sigma**2)
    return -(1 - share) * np.exp(-share) / (np.pi * sigma**4)


def gabor_kernel(sigma, wavelength, gamma, theta):
    """Return the complex kernel of a Gabor filter; lengths in pixels, `theta` in radians."""
    radius = int(np.floor(_TRUNCATE * sigma * max(1, 1 / gamma) + 0.5))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    along = x * np.cos(theta) + y * np.sin(theta)
    across = y * np.cos(theta) - x * np.sin(theta)
    envelope = np.exp(-(along**2 + gamma**2 * across**2) / (2 * sigma**2))
    return envelope * np.exp(2j * np.pi * along / wavelength)


def wavelet_kernels(wavelet, level):
    """Return the low-pass and the high-pass kernel, with zeros in between from level 2 on."""
    kernels = []
    for taps in pywt.Wavelet(wavelet).filter_bank[:2]:
        spread = np.zeros(len(taps) * 2 ** (level - 1))
        spread[:: 2 ** (level - 1)] = taps
        kernels.append(spread)
    return kernels


def simoncelli_response(pixels, level):
    """Return the response to Simoncelli's band-pass filter of a level.

    Frequencies are those of the IBSI's reference: a grid from -1 to 1 with both ends.
    """
    down, across = (
        np.fft.ifftshift(np.linspace(-1, 1, side) if side > 1 else np.zeros(1))
        for side in pixels.shape
    )
    frequency = np.hypot(across, down[:, np.newaxis]) * 2 ** (level - 1)
    inside = (frequency > 0.25) & (frequency <= 1)
    transfer = np.zeros(pixels.shape)
    transfer[inside] = np.cos(np.pi / 2 * np.log2(2 * frequency[inside]))
    return np.fft.ifft2(np.fft.fft2(pixels) * transfer).real


def separable(pixels, along, down, n_turns, boundary):
    """Convolve with the outer product of two kernels, turned by some times 90 degrees."""
    turned = np.rot90(pixels, -n_turns)
    # One kernel after the other: along columns, then along rows.
    response = convolve(
        convolve(turned, down[:, np.newaxis], boundary), along[np.newaxis], boundary
    )
    return np.rot90(response, n_turns)


def mean_of(pixels, size, boundary):
    """Return the mean of the window of `size` pixels around each pixel."""
    return convolve(pixels, np.full((size, size), 1 / size**2), boundary)


_BOUNDARY = {"boundary": [StrOptions(set(_MODES))]}


class _Filter(ImageTransformer):
    """Base of the filters: a subclass writes `_respond(pixels)` and `_name()`."""

    _takes_responses = True

    def get_response_name(self) -> str:
        """Return the name of the response, such as ``log_sigma_2``.

        Returns
        -------
        str
            The beginning of the names of its features in `Radiomics`.
        """
        return self._name()

    def _transform_image(self, image):
        gray = to_gray(image)
        hidden = np.ma.getmask(gray)
        pixels = np.ma.getdata(gray)
        is_known = np.isfinite(pixels)
        if not is_known.all():
            pixels = np.where(is_known, pixels, extend(gray))
        if not isinstance(image, ResponseMap):
            pixels = to_float(pixels, np.float64)
        return ResponseMap(self._respond(pixels), hidden)


class MeanFilter(_Filter):
    """Mean of the window around each pixel.

    Read more in the :ref:`User Guide <filters>`.

    Parameters
    ----------
    size : int, default=5
        Height and width of the window in pixels, an odd number.
    boundary : {"mirror", "nearest", "zero", "periodic"}, default="mirror"
        How the image goes on beyond its border: mirrored (the pixel at the border twice), with the
        nearest pixel, with zeros, or with the opposite border.

    See Also
    --------
    Denoise : Smooths, and keeps dtype and range.

    Notes
    -----
    The mean filter of IBSI's reference manual ([1]_). See :ref:`filters` for what all filters have
    in common.

    References
    ----------
    .. [1] Depeursinge A et al. Standardised convolutional filtering for radiomics, reference
       manual of the Image Biomarker Standardisation Initiative, arXiv:2006.05470; Whybra P et al.
       Radiology 310 (2024) e231319, doi:10.1148/radiol.231319.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus.preprocessing.filters import MeanFilter
    >>> image = np.zeros((3, 3))
    >>> image[1, 1] = 0.9
    >>> (response,) = MeanFilter(size=3).transform([image])
    >>> response.round(2).tolist()
    [[0.1, 0.1, 0.1], [0.1, 0.1, 0.1], [0.1, 0.1, 0.1]]
    """

    _parameter_constraints = _BOUNDARY | {"size": [OddSize(1, 255)]}

    def __init__(self, *, size: int = 5, boundary: _Boundary = "mirror") -> None:
        self.size = size
        self.boundary = boundary

    def _name(self):
        return f"mean_{self.size}"

    def _respond(self, pixels):
        return mean_of(pixels, int(self.size), self.boundary)


class LaplacianOfGaussian(_Filter):
    """Laplacian of a Gaussian: dark spots of one size give large values, bright ones small ones.

    Read more in the :ref:`User Guide <filters>`.

    Parameters
    ----------
    sigma : float, default=2.0
        Standard deviation of the Gaussian, in millimeters with `spacing`, else in pixels. The
        response is strongest to discs with a radius of :math:`\\sqrt{2}` `sigma`.
    spacing : float or None, default=None
        Millimeters between the pixels of all images: that of `Resample` before this step.
    boundary : {"mirror", "nearest", "zero", "periodic"}, default="mirror"
        How the image goes on beyond its border, see `MeanFilter`.

    See Also
    --------
    MeanFilter : Smooths only.

    Notes
    -----
    The kernel ([1]_) ends at 4 `sigma`, rounded to whole pixels:

    .. math::

       g(k) = - \\frac{1}{\\pi \\sigma^4} \\left(1 - \\frac{\\|k\\|^2}{2 \\sigma^2}\\right)
       e^{-\\|k\\|^2 / (2 \\sigma^2)}

    with `sigma` in pixels. It is not scaled by :math:`\\sigma^2`: responses of a larger `sigma` are
    smaller. Samples of a kernel whose `sigma` is well below one pixel do not sum to 0, and even a
    constant image has a response.

    References
    ----------
    .. [1] Depeursinge A et al. Standardised convolutional filtering for radiomics, reference
       manual of the Image Biomarker Standardisation Initiative, arXiv:2006.05470; Whybra P et al.
       Radiology 310 (2024) e231319, doi:10.1148/radiol.231319.

    Examples
    --------
    >>> from featbus import LaplacianOfGaussian, make_breast_ultrasound
    >>> images = make_breast_ultrasound(2, random_state=0).images
    >>> log = LaplacianOfGaussian(sigma=3)
    >>> response, _ = log.transform(images)
    >>> response.shape, log.get_response_name()
    ((192, 256), 'log_sigma_3')
    """

    _parameter_constraints = _BOUNDARY | {
        "sigma": [Interval(Real, 0.1, 1000, closed="both")],
        "spacing": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self, *, sigma: float = 2.0, spacing: float | None = None, boundary: _Boundary = "mirror"
    ) -> None:
        self.sigma = sigma
        self.spacing = spacing
        self.boundary = boundary

    def _name(self):
        return f"log_sigma_{self.sigma:g}"

    def _respond(self, pixels):
        return convolve(pixels, log_kernel(self.sigma / (self.spacing or 1)), self.boundary)


class LawsFilter(_Filter):
    """Laws' texture kernels: level, edges, spots, waves and ripples along rows and columns.

    Read more in the :ref:`User Guide <filters>`.

    Parameters
    ----------
    kernels : str, default="L5E5"
        The kernel along each row and that along each column: of "L3", "E3", "S3", "L5", "E5", "S5",
        "W5" and "R5", two of one length.
    invariant : bool, default=True
        Whether to take the largest response to the kernel turned by 0, 90, 180 and 270 degrees.
    energy : int or None, default=7
        Distance in pixels that texture energy is computed up to: the mean of the absolute response
        in a window of ``2 energy + 1`` pixels. None for the response itself.
    boundary : {"mirror", "nearest", "zero", "periodic"}, default="mirror"
        How the image goes on beyond its border, see `MeanFilter`.

    See Also
    --------
    GaborFilter : Waves of any length and direction.

    Notes
    -----
    Kernels are those of Laws ([2]_), normalized to the norm 1 ([1]_). With `invariant`, responses
    are pooled before the energy is computed.

    References
    ----------
    .. [1] Depeursinge A et al. Standardised convolutional filtering for radiomics, reference
       manual of the Image Biomarker Standardisation Initiative, arXiv:2006.05470; Whybra P et al.
       Radiology 310 (2024) e231319, doi:10.1148/radiol.231319.
    .. [2] Laws KI. Rapid texture identification. Proceedings of SPIE 238 (1980) 376-380,
       doi:10.1117/12.959169.

    Examples
    --------
    >>> from featbus import LawsFilter
    >>> LawsFilter(kernels="S5E5").get_response_name()
    'laws_s5e5_energy_7_invariant'
    """

    _parameter_constraints = _BOUNDARY | {
        "kernels": [StrOptions(set(_LAWS_NAMES))],
        "invariant": ["boolean"],
        "energy": [Interval(Integral, 0, 1000, closed="both"), None],
    }

    def __init__(
        self,
        *,
        kernels: str = "L5E5",
        invariant: bool = True,
        energy: int | None = 7,
        boundary: _Boundary = "mirror",
    ) -> None:
        self.kernels = kernels
        self.invariant = invariant
        self.energy = energy
        self.boundary = boundary

    def _name(self):
        energy = "" if self.energy is None else f"_energy_{self.energy}"
        return f"laws_{self.kernels.lower()}{energy}{'_invariant' * self.invariant}"

    def _respond(self, pixels):
        along, down = _LAWS[self.kernels[:2]], _LAWS[self.kernels[2:]]
        kernel, n_turns = np.outer(down, along), 4 if self.invariant else 1
        kernels = (np.rot90(kernel, turns) for turns in range(n_turns))
        response = np.max([convolve(pixels, turn, self.boundary) for turn in kernels], axis=0)
        if self.energy is None:
            return response
        return mean_of(np.abs(response), 2 * int(self.energy) + 1, self.boundary)


class GaborFilter(_Filter):
    """Modulus of Gabor filters: waves of one length, in one direction or all.

    Read more in the :ref:`User Guide <filters>`.

    Parameters
    ----------
    sigma : float, default=4.0
        Standard deviation of the Gaussian envelope along the wave, in millimeters with `spacing`,
        else in pixels.
    wavelength : float, default=8.0
        Length of the wave, in the same unit.
    gamma : float, default=1.0
        The envelope along the wave divided by that across it.
    theta : float, default=pi / 4
        With `invariant`, the angle between adjacent directions, whose responses are averaged from 0
        to a full turn; else the direction of the wave. In radians, from the axis of columns to that
        of rows.
    invariant : bool, default=True
        Whether to average over the directions.
    spacing : float or None, default=None
        Millimeters between the pixels of all images: that of `Resample` before this step.
    boundary : {"mirror", "nearest", "zero", "periodic"}, default="mirror"
        How the image goes on beyond its border, see `MeanFilter`.

    See Also
    --------
    LawsFilter : Small kernels along rows and columns.

    Notes
    -----
    The kernel ([1]_) ends at 4 standard deviations of the wider side of its envelope:

    .. math::

       g(k) = e^{-(\\tilde k_1^2 + \\gamma^2 \\tilde k_2^2) / (2 \\sigma^2)
       + 2 \\pi i \\tilde k_1 / \\lambda}

    where :math:`\\tilde k_1` is the coordinate along the wave and :math:`\\tilde k_2` that across
    it. The response is the modulus.

    References
    ----------
    .. [1] Depeursinge A et al. Standardised convolutional filtering for radiomics, reference
       manual of the Image Biomarker Standardisation Initiative, arXiv:2006.05470; Whybra P et al.
       Radiology 310 (2024) e231319, doi:10.1148/radiol.231319.

    Examples
    --------
    >>> from featbus import GaborFilter
    >>> GaborFilter(wavelength=4).get_response_name()
    'gabor_sigma_4_lambda_4_gamma_1_theta_0.785_invariant'
    """

    _parameter_constraints = _BOUNDARY | {
        "sigma": [Interval(Real, 0.1, 1000, closed="both")],
        "wavelength": [Interval(Real, 0, None, closed="neither")],
        "gamma": [Interval(Real, 0.01, 100, closed="both")],
        "theta": [Interval(Real, None, None, closed="neither")],
        "invariant": ["boolean"],
        "spacing": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        *,
        sigma: float = 4.0,
        wavelength: float = 8.0,
        gamma: float = 1.0,
        theta: float = np.pi / 4,
        invariant: bool = True,
        spacing: float | None = None,
        boundary: _Boundary = "mirror",
    ) -> None:
        self.sigma = sigma
        self.wavelength = wavelength
        self.gamma = gamma
        self.theta = theta
        self.invariant = invariant
        self.spacing = spacing
        self.boundary = boundary

    def _check_parameters(self):
        super()._check_parameters()
        if self.invariant and not 0.01 <= self.theta <= np.pi:
            raise InvalidParameterError(
                f"theta is {self.theta!r}, expected an angle from 0.01 to pi with invariant=True."
            )

    def _name(self):
        shape = f"sigma_{self.sigma:g}_lambda_{self.wavelength:g}_gamma_{self.gamma:g}"
        return f"gabor_{shape}_theta_{self.theta:.3g}{'_invariant' * self.invariant}"

    def _respond(self, pixels):
        side = self.spacing or 1
        angles = np.arange(0, 2 * np.pi - 1e-6, self.theta) if self.invariant else [self.theta]
        if self.invariant and np.isclose(angles[len(angles) // 2], np.pi):
            # Half a turn mirrors the kernel, and keeps the modulus.
            angles = angles[: len(angles) // 2]
        response = np.zeros(pixels.shape)
        for angle in angles:
            kernel = gabor_kernel(self.sigma / side, self.wavelength / side, self.gamma, angle)
            parts = (convolve(pixels, part, self.boundary) for part in (kernel.real, kernel.imag))
            response += np.hypot(*parts)
        return response / len(angles)


class WaveletFilter(_Filter):
    """Undecimated separable wavelets: a band of frequencies along rows and columns.

    Read more in the :ref:`User Guide <filters>`.

    Parameters
    ----------
    wavelet : str, default="haar"
        Name of a discrete wavelet of PyWavelets, such as "haar", "db3" or "coif1".
    band : {"LL", "LH", "HL", "HH"}, default="HH"
        Low or high frequencies along each row, and along each column.
    level : int, default=1
        Level of the decomposition: each doubles the scale.
    invariant : bool, default=True
        Whether to average the responses to the kernel turned by 0, 90, 180 and 270 degrees.
    boundary : {"mirror", "nearest", "zero", "periodic"}, default="mirror"
        How the image goes on beyond its border, see `MeanFilter`.

    See Also
    --------
    SimoncelliFilter : The same in all directions.

    Notes
    -----
    The stationary wavelet transform ([1]_): at level :math:`j`, the "LL" band of level
    :math:`j - 1` is convolved with the decomposition filters, with :math:`2^{j-1} - 1` zeros
    between their entries. Coefficients are those of PyWavelets ([2]_).

    References
    ----------
    .. [1] Depeursinge A et al. Standardised convolutional filtering for radiomics, reference
       manual of the Image Biomarker Standardisation Initiative, arXiv:2006.05470; Whybra P et al.
       Radiology 310 (2024) e231319, doi:10.1148/radiol.231319.
    .. [2] Lee GR, Gommers R, Waselewski F, Wohlfahrt K, O'Leary A. PyWavelets: a Python package
       for wavelet analysis. Journal of Open Source Software 4 (2019) 1237,
       doi:10.21105/joss.01237.

    Examples
    --------
    >>> from featbus import WaveletFilter
    >>> WaveletFilter(wavelet="db3", band="LH").get_response_name()
    'wavelet_db3_lh_1_invariant'
    """

    _parameter_constraints = _BOUNDARY | {
        "wavelet": [StrOptions(set(pywt.wavelist(kind="discrete")))],
        "band": [StrOptions({"LL", "LH", "HL", "HH"})],
        "level": [Interval(Integral, 1, 8, closed="both")],
        "invariant": ["boolean"],
    }

    def __init__(
        self,
        *,
        wavelet: str = "haar",
        band: Literal["LL", "LH", "HL", "HH"] = "HH",
        level: int = 1,
        invariant: bool = True,
        boundary: _Boundary = "mirror",
    ) -> None:
        self.wavelet = wavelet
        self.band = band
        self.level = level
        self.invariant = invariant
        self.boundary = boundary

    def _name(self):
        name = f"wavelet_{self.wavelet}_{self.band.lower()}_{self.level}"
        return f"{name}{'_invariant' * self.invariant}"

    def _respond(self, pixels):
        responses = []
        for n_turns in range(4 if self.invariant else 1):
            response = pixels
            for level in range(1, self.level + 1):
                low, high = wavelet_kernels(self.wavelet, level)
                bands = self.band if level == self.level else "LL"
                along, down = (low if band == "L" else high for band in bands)
                response = separable(response, along, down, n_turns, self.boundary)
            responses.append(response)
        return np.mean(responses, axis=0)


class SimoncelliFilter(_Filter):
    """Simoncelli's wavelet: a band of frequencies, the same in all directions.

    Read more in the :ref:`User Guide <filters>`.

    Parameters
    ----------
    level : int, default=1
        Level of the decomposition: each doubles the scale.

    See Also
    --------
    WaveletFilter : Bands along rows and columns.

    Notes
    -----
    With the frequency :math:`\\nu`, 1 at the Nyquist frequency of the level, the spectrum of the
    image is multiplied by ([1]_, [2]_)

    .. math::

       b(\\nu) = \\cos\\left(\\frac{\\pi}{2} \\log_2 (2 \\nu)\\right)
       \\quad \\text{for} \\quad \\frac{1}{4} < \\nu \\le 1

    and by 0 elsewhere. By the Fourier transform, the image goes on periodically beyond its border,
    as in IBSI's reference.

    References
    ----------
    .. [1] Depeursinge A et al. Standardised convolutional filtering for radiomics, reference
       manual of the Image Biomarker Standardisation Initiative, arXiv:2006.05470; Whybra P et al.
       Radiology 310 (2024) e231319, doi:10.1148/radiol.231319.
    .. [2] Simoncelli EP, Freeman WT. The steerable pyramid: a flexible architecture for
       multi-scale derivative computation. ICIP 1995, 3, 444-447, doi:10.1109/ICIP.1995.537667.

    Examples
    --------
    >>> from featbus import SimoncelliFilter
    >>> SimoncelliFilter(level=2).get_response_name()
    'simoncelli_2'
    """

    _parameter_constraints = {"level": [Interval(Integral, 1, 8, closed="both")]}

    def __init__(self, *, level: int = 1) -> None:
        self.level = level

    def _name(self):
        return f"simoncelli_{self.level}"

    def _respond(self, pixels):
        return simoncelli_response(pixels, int(self.level))
