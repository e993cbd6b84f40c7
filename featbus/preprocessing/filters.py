"""Filters of radiomics: steps from an image to its response map."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Literal

import cv2
import numpy as np
import pywt
from numpy.typing import ArrayLike

from featbus.base import ImageTransformer
from featbus.color import to_float, to_gray
from featbus.images import ResponseMap
from featbus.parameters import Interval, StrOptions
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
_LAWS_NAMES = [a + b for a in _LAWS for b in _LAWS]


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


def log_kernel(sigma, truncate):
    """Return the kernel of the Laplacian of a Gaussian; `sigma` in pixels."""
    radius = int(np.floor(truncate * sigma + 0.5))
    squares = np.arange(-radius, radius + 1.0) ** 2
    share = (squares[:, np.newaxis] + squares) / (2 * sigma**2)
    return -(1 - share) * np.exp(-share) / (np.pi * sigma**4)


def gabor_kernel(sigma, wavelength, gamma, theta, truncate):
    """Return the complex kernel of a Gabor filter; lengths in pixels, `theta` in radians."""
    radius = int(np.floor(truncate * sigma * max(1, 1 / gamma) + 0.5))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    along = x * np.cos(theta) + y * np.sin(theta)
    across = y * np.cos(theta) - x * np.sin(theta)
    envelope = np.exp(-(along**2 + gamma**2 * across**2) / (2 * sigma**2))
    return envelope * np.exp(2j * np.pi * along / wavelength)


def wavelet_kernels(wavelet, level):
    """Return the low-pass and the high-pass kernel, with zeros in between from level 2 on."""
    kernels = []
    for taps in pywt.Wavelet(wavelet).filter_bank[:2]:
        spread = np.zeros((len(taps) - 1) * 2 ** (level - 1) + 1)
        spread[:: 2 ** (level - 1)] = taps
        kernels.append(spread)
    return kernels


def simoncelli_response(pixels, level, boundary):
    """Return the response to Simoncelli's band-pass filter of a level."""
    margins = [(side, side) if boundary != "periodic" else (0, 0) for side in pixels.shape]
    padded = np.pad(pixels, margins, mode=_MODES[boundary])
    across, down = (np.fft.fftfreq(side) * 2 for side in padded.shape[::-1])
    # 1 is the Nyquist frequency of the level.
    frequency = np.hypot(across, down[:, np.newaxis]) * 2 ** (level - 1)
    inside = (frequency > 0.25) & (frequency <= 1)
    transfer = np.zeros(padded.shape)
    transfer[inside] = np.cos(np.pi / 2 * np.log2(2 * frequency[inside]))
    response = np.fft.ifft2(np.fft.fft2(padded) * transfer).real
    return response[tuple(slice(low, low + side) for (low, _), side in zip(margins, pixels.shape))]


def turned(kernel):
    """Return a kernel turned by 0, 90, 180 and 270 degrees."""
    return [np.rot90(kernel, n_turns) for n_turns in range(4)]


_POOLS = {"max": np.maximum.reduce, "mean": lambda responses: np.mean(responses, axis=0)}
