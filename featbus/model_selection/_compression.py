"""Traces of JPEG compression, in the pixels and in the header of a file."""

import cv2
import numpy as np

_SIDE = 8
_MAX_BLOCKS = 2048
# Rows: the basis functions of the discrete cosine transform (orthonormal, type II).
_DCT = cv2.dct(np.eye(_SIDE), flags=cv2.DCT_ROWS).T


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
        block [1]_; ``blockiness``: the mean step between two blocks by the mean step between other
        neighbors [2]_. NaN if the image is smaller than 16 by 16 pixels.

    References
    ----------
    .. [1] Fan Z, de Queiroz RL. Identification of bitmap compression history: JPEG detection and
       quantizer estimation. IEEE Transactions on Image Processing 12 (2003) 230-235.
    .. [2] Wang Z, Sheikh HR, Bovik AC. No-reference perceptual quality assessment of JPEG
       compressed images. Proc. International Conference on Image Processing (2002) 477-480.
    """
    if min(gray.shape) < 2 * _SIDE:
        return {"zeros": np.nan, "blockiness": np.nan}
    half = _SIDE // 2
    return {
        "zeros": _share_of_zeros(gray) - _share_of_zeros(gray[half:, half:]),
        "blockiness": (_blockiness(gray) + _blockiness(gray.T)) / 2,
    }


def _share_of_zeros(gray):
    height, width = (side // _SIDE for side in gray.shape)
    blocks = gray[: height * _SIDE, : width * _SIDE].reshape(height, _SIDE, width, _SIDE)
    # Of large images, every second row of blocks, or every third and so on.
    blocks = blocks[:: -(-height * width // _MAX_BLOCKS)].swapaxes(1, 2).astype(np.float32)
    return np.mean(np.abs(_DCT @ blocks @ _DCT.T) < 0.5)


def _blockiness(gray):
    """Return the mean step between columns 7 and 8, 15 and 16, ..., by that of the others."""
    steps = cv2.absdiff(gray[:, 1:], gray[:, :-1]).mean(axis=0)
    between = np.arange(len(steps)) % _SIDE == _SIDE - 1
    others = steps[~between].mean()
    return steps[between].mean() / others if others > 0 else 1.0
