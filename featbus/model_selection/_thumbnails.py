"""Copies among images without keypoints: thumbnails whose hash and correlation agree."""

from typing import NamedTuple

import numpy as np
from scipy import fft

from featbus.groups import link

_SIDE = 32
_HASH_SIDE = 8
_BITS = _HASH_SIDE**2
# The lowest frequencies of the DCT-II, one per row, for a column of a thumbnail.
_BASIS = fft.dct(np.eye(_SIDE), axis=0, norm="ortho")[:_HASH_SIDE].astype(np.float32)
# A thumbnail whose range is below this share of black to white is flat: the rest is rounding.
_FLAT = 1e-4
# Largest Hamming distance of the hashes and smallest correlation of copies: both must hold.
_DISTANCE, _CORRELATION = 6, 0.98
# The same of mirrored and turned copies: of seven orientations, one is alike more easily.
_TURNED_DISTANCE, _TURNED_CORRELATION = 4, 0.99
# Rows of a matrix product.
_BLOCK = 1024


class Sketches(NamedTuple):
    """Rows of numbers for each image, whose products tell how similar two images are.

    Attributes
    ----------
    pixels : ndarray of float32 of shape (n_images, 1024)
        Thumbnails of mean 0 and norm 1; 0 where the image is flat.
    hashes : ndarray of float32 of shape (n_images, 64)
        The bits of the perceptual hash as 1 and -1; 0 where the image has none.
    flat : ndarray of shape (n_images,)
        The gray value of flat images, 0..255; NaN for all others.
    """

    pixels: np.ndarray
    hashes: np.ndarray
    flat: np.ndarray

    @classmethod
    def of(cls, thumbnails):
        """Return the sketches of thumbnails (n_images, 32, 32)."""
        pixels = thumbnails.reshape(len(thumbnails), -1)
        mean = pixels.mean(axis=1, keepdims=True)
        is_flat = np.ptp(pixels, axis=1) < _FLAT
        pixels = pixels - mean
        norm = np.linalg.norm(pixels, axis=1, keepdims=True)
        np.divide(pixels, norm, out=pixels, where=~is_flat[:, np.newaxis])
        pixels[is_flat] = 0
        hashes = _hashes(thumbnails)
        hashes[is_flat] = 0
        return cls(pixels, hashes, np.where(is_flat, np.rint(255 * mean[:, 0]), np.nan))


def _hashes(thumbnails):
    """Return the bits of the perceptual hashes as 1 and -1; 0 for images without a hash."""
    low = (_BASIS @ thumbnails @ _BASIS.T).reshape(-1, _BITS)
    bits = low > np.median(low, axis=1, keepdims=True)
    hashes = np.where(bits, 1, -1).astype(np.float32)
    # Many frequencies of a ramp are exactly 0: ramps would share these bits, whatever they show.
    hashes[bits.sum(axis=1) < _BITS // 2 - 8] = 0
    return hashes


def link_flat(labels, sketches):
    """Join the labels of flat images of the same gray value."""
    flat = np.flatnonzero(~np.isnan(sketches.flat))
    first, codes = np.unique(sketches.flat[flat], return_index=True, return_inverse=True)[1:]
    return link(labels, flat, flat[first[codes]])


def match_thumbnails(thumbnails, plain):
    """Yield the pairs of images whose thumbnails are alike, at least one of them plain.

    Parameters
    ----------
    thumbnails : ndarray of float32 of shape (n_images, 32, 32)
        All images.
    plain : ndarray of int of shape (n_plain,)
        Positions of the images without keypoints.

    Yields
    ------
    left, right : ndarray of int
        Positions of images.
    is_changed : bool
        Whether the copies are mirrored or turned.
    """
    everything = Sketches.of(thumbnails)
    for turns in range(4):
        for mirrored in (False, True):
            turned = np.rot90(thumbnails[plain], turns, axes=(1, 2))
            turned = np.ascontiguousarray(turned[:, :, ::-1] if mirrored else turned)
            is_changed = bool(turns or mirrored)
            left, right = _match(Sketches.of(turned), everything, is_changed)
            apart = plain[left] != right
            yield plain[left][apart], right[apart], is_changed


def _match(some, others, is_changed):
    """Return the positions of alike sketches; hashes first, which are small."""
    distance = _TURNED_DISTANCE if is_changed else _DISTANCE
    found = [(np.zeros(0, np.intp), np.zeros(0, np.intp))]
    for start in range(0, len(some.hashes), _BLOCK):
        # The Hamming distance of two hashes of +-1 is exactly (64 - their product) / 2.
        product = some.hashes[start : start + _BLOCK] @ others.hashes.T
        i, j = np.nonzero(product >= _BITS - 2 * distance)
        found.append((start + i, j))
    left, right = (np.concatenate(side) for side in zip(*found))
    least = _TURNED_CORRELATION if is_changed else _CORRELATION
    alike = [
        np.einsum("ij,ij->i", some.pixels[left[part]], others.pixels[right[part]]) >= least
        for part in (slice(start, start + _BLOCK) for start in range(0, len(left), _BLOCK))
    ]
    alike = np.concatenate([np.zeros(0, bool), *alike])
    return left[alike], right[alike]
