"""Copies of images: exact, nearly the same, mirrored or rotated."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from featbus.groups import unite
from featbus.model_selection._duplicates import (
    Sketches,
    link_flat,
    link_similar,
    near_duplicates,
)

# Both breasts of a mini-MIAS woman are this similar, films of different women are not, and three of
# four BUSI near-duplicates are.
_CERTAIN = {"max_distance": 6, "min_correlation": 0.98, "need_both": True}
# The right breast of a woman and her mirrored left breast are less similar than this.
_COPY = {"max_distance": 4, "min_correlation": 0.99, "need_both": True}


class Copies(NamedTuple):
    """Labels of the images for each kind of copy: copies share a label.

    Attributes
    ----------
    exact : ndarray of int of shape (n_images,)
        The same pixels.
    certain : ndarray of int of shape (n_images,)
        Exact copies, and near-duplicates beyond doubt.
    near : ndarray of int of shape (n_images,)
        Exact copies, and all near-duplicates.
    turned : ndarray of int of shape (n_images,)
        Copies that are mirrored or rotated by quarter turns.
    """

    exact: np.ndarray
    certain: np.ndarray
    near: np.ndarray
    turned: np.ndarray

    @classmethod
    def find(cls, thumbnails, digests):
        """Find copies from thumbnails (n_images, 32, 32) and the digests of the pixels."""
        sketches = Sketches.of(thumbnails)
        exact = pd.factorize(np.array(digests, dtype=object))[0]
        certain = link_similar(link_flat(exact, sketches), sketches, sketches, **_CERTAIN)
        turned = np.arange(len(exact))
        for variant in _turned(thumbnails):
            others = Sketches.of(np.ascontiguousarray(variant))
            turned = link_similar(turned, sketches, others, **_COPY)
        return cls(exact, certain, unite(exact, near_duplicates(sketches)), turned)

    def joined(self):
        """Return labels that join all kinds of copies.

        Standard views look alike without being copies: where fewer than half of the images that
        have a near-duplicate have one beyond doubt, the doubtful ones are ignored.
        """
        doubtful = _n_sharing(self.certain) < _n_sharing(self.near) / 2
        return unite(self.exact, self.turned, self.certain if doubtful else self.near)


def _turned(thumbnails):
    """Yield the thumbnails in each of the seven other orientations."""
    for turns in range(4):
        turned = np.rot90(thumbnails, turns, axes=(1, 2))
        if turns:
            yield turned
        yield turned[:, :, ::-1]


def _n_sharing(labels):
    """Return the number of images that share their label with another one."""
    counts = np.bincount(labels)
    return counts[counts > 1].sum()
