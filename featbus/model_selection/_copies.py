"""Copies among images: exact, nearly the same, mirrored, turned or inverted."""

import hashlib
from typing import NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import fft

from featbus.groups import link, unite
from featbus.images import update_digest
from featbus.model_selection._candidates import propose_alike, propose_by_keypoints
from featbus.model_selection._matching import match_keypoints, match_stretched
from featbus.model_selection._scenes import VARIANTS

# Different scenes of half of BUSI's groups, and different films of mini-MIAS, reach 0.13;
# neighboring frames start at 0.23.
MIN_CORRELATION = 0.2
# Pixels of the side of a texture below which different scenes correlate more by chance, as the
# inverse of the side.
_SIDE = 135
# Pairs per task of a thread.
_CHUNK = 256
_THUMBNAIL = 32
_HASH_SIDE = 8
_BITS = _HASH_SIDE**2
# The lowest frequencies of the DCT-II, one per row, for a column of a thumbnail.
_BASIS = fft.dct(np.eye(_THUMBNAIL), axis=0, norm="ortho")[:_HASH_SIDE].astype(np.float32)
# A thumbnail whose range is below this share of black to white is flat: the rest is rounding.
_FLAT = 1e-4
# Largest Hamming distance of the hashes and smallest correlation of copies: both must hold.
_DISTANCE, _CORRELATION = 6, 0.98
# The same of mirrored and turned copies: of seven orientations, one is alike more easily.
_TURNED_DISTANCE, _TURNED_CORRELATION = 4, 0.99
# Rows of a matrix product.
_BLOCK = 1024


class Matches(NamedTuple):
    """Labels of the images: those of the same scene share a label.

    Attributes
    ----------
    near : ndarray of int of shape (n_images,)
        Near-duplicates in the same orientation.
    changed : ndarray of int of shape (n_images,)
        Copies that are mirrored, turned or inverted.
    """

    near: np.ndarray
    changed: np.ndarray

    def groups(self):
        """Return labels that join both."""
        return unite(self.near, self.changed)


def find_matches(scenes, min_correlation=MIN_CORRELATION, n_jobs=None):
    """Find the images that show the same scene.

    Parameters
    ----------
    scenes : list of Scene
        The images.
    min_correlation : float, default=0.2
        Smallest correlation of the details of two aligned images.
    n_jobs : int or None, default=None
        Number of threads. It does not change the result.

    Returns
    -------
    Matches
        Who matches whom.
    """
    thumbnails = np.array([scene.thumbnail for scene in scenes])
    sketches = Sketches.of(thumbnails)
    first, same = _find_same(scenes)
    near, changed = link_flat(same, sketches), np.arange(len(scenes))
    unlike = [scenes[index] for index in first]
    matches = _match_scenes(unlike, min_correlation, n_jobs) if unlike else ()
    for left, right, is_changed in matches:
        left, right = first[left], first[right]
        near = link(near, left[~is_changed], right[~is_changed])
        changed = link(changed, left[is_changed], right[is_changed])
    plain = np.flatnonzero([scene.is_plain for scene in scenes])
    for left, right, is_changed in match_thumbnails(thumbnails, plain) if plain.size else ():
        if is_changed:
            changed = link(changed, left, right)
        else:
            near = link(near, left, right)
    return Matches(near, changed)


def _find_same(scenes):
    """Return the first image of each texture, unless plain, and a label of each image.

    Equal textures, or thumbnails of plain images, share a label. Thousands of equal images,
    compared with each other, would hide all others.
    """
    keys = [digest_pixels(scene.thumbnail if scene.is_plain else scene.texture) for scene in scenes]
    labels = pd.factorize(np.array(keys, dtype=object))[0]
    first = np.unique(labels, return_index=True)[1]
    return first[[not scenes[index].is_plain for index in first]], labels


def digest_pixels(image):
    """Return the digest of an image: of its dtype, shape and pixels."""
    digest = hashlib.blake2b(digest_size=16)
    update_digest(digest, image)
    return digest.digest()


def _match_scenes(scenes, min_correlation, n_jobs):
    """Yield pairs that match: their positions, and whether the first image is changed."""
    proposed = propose_by_keypoints(scenes)
    pairs = [(match_keypoints, i, j, VARIANTS[k]) for i, j, k in proposed.tolist()]
    left, right, is_changed = _confirm(scenes, pairs, min_correlation, n_jobs)
    yield left, right, is_changed
    found = set(zip(left.tolist(), right.tolist()))
    pairs = [
        (match_stretched, i, j) for i, j in propose_alike(scenes).tolist() if (i, j) not in found
    ]
    yield _confirm(scenes, pairs, min_correlation, n_jobs)


def _confirm(scenes, pairs, min_correlation, n_jobs):
    """Return the positions of the pairs that match, and whether the first image is changed."""

    def confirm(chunk):
        return [match(scenes[i], scenes[j], *variant) for match, i, j, *variant in chunk]

    sides = [np.sqrt(scene.texture.size) for scene in scenes]
    chunks = [pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK)]
    results = Parallel(n_jobs=n_jobs, backend="threading")(map(delayed(confirm), chunks))
    matches = [match for chunk in results for match in chunk]
    kept = [
        (i, j, match.is_changed)
        for (_, i, j, *_), match in zip(pairs, matches)
        if match.correlation >= min_correlation * max(1, _SIDE / min(sides[i], sides[j]))
    ]
    left, right, is_changed = np.array(kept, np.intp).reshape(-1, 3).T
    return left, right, is_changed.astype(bool)


class Copies(NamedTuple):
    """Labels of the images for each kind of copy: copies share a label.

    Attributes
    ----------
    exact : ndarray of int of shape (n_images,)
        The same pixels.
    near : ndarray of int of shape (n_images,)
        Exact copies, and near-duplicates in the same orientation.
    changed : ndarray of int of shape (n_images,)
        Copies that are mirrored, turned or inverted.
    """

    exact: np.ndarray
    near: np.ndarray
    changed: np.ndarray

    @classmethod
    def find(cls, scenes, digests, n_jobs=None):
        """Find copies from the scenes of the images and the digests of their pixels."""
        exact = pd.factorize(np.array(digests, dtype=object))[0]
        matches = find_matches(scenes, n_jobs=n_jobs)
        return cls(exact, unite(exact, matches.near), matches.changed)

    def joined(self):
        """Return labels that join all kinds of copies."""
        return unite(self.near, self.changed)


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
