"""Traces of JPEG compression, in the pixels and in the header of a file."""

import cv2
import numpy as np

_SIDE = 8
_MAX_BLOCKS = 2048
# Rows: the basis functions of the discrete cosine transform (orthonormal, type II).
_DCT = cv2.dct(np.eye(_SIDE), flags=cv2.DCT_ROWS).T.astype(np.float32)
# The lowest frequencies but the mean, their histogram, and the steps that are tried.
_LOWEST = [0, 0, 1, 1, 1, 2, 2], [1, 2, 0, 1, 2, 0, 1]
_PER_LEVEL, _MAX_LEVEL = 4, 128
_LEVELS = np.arange(_PER_LEVEL * _MAX_LEVEL + 1) / _PER_LEVEL
_STEPS = np.arange(2, 25)
_COUNTED = _STEPS[:, np.newaxis] / 2 <= _LEVELS
_WAVES = np.cos(2 * np.pi * _LEVELS / _STEPS[:, np.newaxis]) * _COUNTED
_MIN_COUNT, _MIN_STRENGTH = 30, 0.4


def measure_compression(gray):
    """Measure the traces that the blocks of JPEG leave, also in files of other formats.

    Parameters
    ----------
    gray : ndarray of uint8 of shape (height, width)
        The image.

    Returns
    -------
    dict of str to float
        ``zeros``: the share of coefficients of the discrete cosine transform, in blocks of 8 by 8
        pixels, that round to zero, less the same share in blocks that are displaced by half a
        block; ``step``: the mean of the quantization steps of the seven lowest frequencies, from 2
        to 24, after [1]_, where coarser steps show as divisors, and 1 stands for none;
        ``blockiness``: the mean step between two blocks by the mean step between other neighbors,
        after [2]_. NaN for images below 16 by 16 pixels.

    References
    ----------
    .. [1] Fan Z, de Queiroz RL. Identification of bitmap compression history: JPEG detection and
       quantizer estimation. IEEE Transactions on Image Processing 12 (2003) 230-235.
    .. [2] Wang Z, Sheikh HR, Bovik AC. No-reference perceptual quality assessment of JPEG
       compressed images. Proc. International Conference on Image Processing (2002) 477-480.
    """
    if min(gray.shape) < 2 * _SIDE:
        return dict.fromkeys(["zeros", "step", "blockiness"], np.nan)
    half = _SIDE // 2
    coefficients = _transform(gray)
    displaced = _transform(gray[half:, half:])
    return {
        "zeros": np.mean(np.abs(coefficients) < 0.5) - np.mean(np.abs(displaced) < 0.5),
        "step": np.mean([_find_step(values) for values in coefficients[..., *_LOWEST].T]),
        "blockiness": (_blockiness(gray) + _blockiness(gray.T)) / 2,
    }


def _transform(gray):
    """Return the coefficients of blocks: all, or evenly spaced rows of blocks."""
    height, width = (side // _SIDE for side in gray.shape)
    blocks = gray[: height * _SIDE, : width * _SIDE].reshape(height, _SIDE, width, _SIDE)
    blocks = blocks[:: -(-height * width // _MAX_BLOCKS)].swapaxes(1, 2).astype(np.float32)
    return (_DCT @ blocks @ _DCT.T).reshape(-1, _SIDE, _SIDE)


def _find_step(values):
    """Return the step of which most values are multiples; 1 if there is none.

    Values below half a step, which round to zero whether there was a step or not, do not count.
    """
    bins = np.rint(np.abs(values) * _PER_LEVEL).astype(np.intp)
    counts = np.bincount(np.minimum(bins, len(_LEVELS) - 1), minlength=len(_LEVELS))
    n_counted = _COUNTED @ counts
    strength = _WAVES @ counts / np.maximum(n_counted, 1)
    strength[n_counted < _MIN_COUNT] = 0
    best = np.argmax(strength)
    return _STEPS[best] if strength[best] >= _MIN_STRENGTH else 1


def _blockiness(gray):
    """Return the mean step between columns 7 and 8, 15 and 16, ..., by that of the others."""
    steps = cv2.absdiff(gray[:, 1:], gray[:, :-1]).mean(axis=0)
    between = np.arange(len(steps)) % _SIDE == _SIDE - 1
    others = steps[~between].mean()
    return steps[between].mean() / others if others > 0 else 1.0
