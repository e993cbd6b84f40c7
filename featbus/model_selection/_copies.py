"""Copies among images: exact, nearly the same, mirrored, turned or inverted."""

import hashlib
from typing import NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from featbus.groups import link, unite
from featbus.images import update_digest
from featbus.model_selection._candidates import propose_alike, propose_by_keypoints
from featbus.model_selection._matching import match_keypoints, match_stretched
from featbus.model_selection._scenes import VARIANTS
from featbus.model_selection._thumbnails import Sketches, link_flat, match_thumbnails

# Different scenes of half of BUSI's groups, and different films of mini-MIAS, reach 0.13;
# neighboring frames start at 0.23.
MIN_CORRELATION = 0.2
# Pixels of the side of a texture below which different scenes correlate more by chance, as the
# inverse of the side.
_SIDE = 135
# Pairs per task of a thread.
_CHUNK = 256


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
