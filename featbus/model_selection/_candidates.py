"""Pairs of images that may show the same scene, found without comparing all of their keypoints."""

import cv2
import numpy as np
import pandas as pd
from sklearn.cluster import MiniBatchKMeans

from featbus.model_selection._scenes import VARIANTS

# Cosine from which two keypoints vote, and the votes of each keypoint.
_COSINE = 0.91
_N_NEAREST = 8
# Keypoints per cell of the index, on average, and the largest number of cells.
_CELL, _N_CELLS = 400, 4096
# Cells of transforms: rotations by 45 degrees, ratios of sizes of 2, and shifts of 40 pixels.
_TURN, _N_TURNS = np.pi / 4, 8
_SHIFT = 40.0
# Votes that a pair of images needs, and pairs that are kept for each image.
_N_VOTES = 3
_N_PAIRS = 6
# Side of the textures that are compared as a whole, their least correlation, and the pairs that are
# kept for each image.
_SIDE = 24
_CORRELATION = 0.4
_N_ALIKE = 3
# Rows of a matrix product.
_BLOCK = 1024


def propose_by_keypoints(scenes):
    """Propose pairs of images by the votes of their keypoints.

    Keypoints are compared within the cells of an index. Two similar ones vote for the pair of
    their images and the transform between both. The pairs with the most votes are kept for each
    image, so that the number of pairs is proportional to the number of images.

    Parameters
    ----------
    scenes : list of Scene
        The images.

    Returns
    -------
    ndarray of int of shape (n_pairs, 3)
        The positions of two images and the position in `VARIANTS` of how the first is changed.
    """
    owners = np.repeat(np.arange(len(scenes)), [len(scene.points) for scene in scenes])
    if not owners.size:
        return np.zeros((0, 3), np.intp)
    points = np.concatenate([scene.points for scene in scenes])
    index = _Index(np.concatenate([scene.descriptors for scene in scenes]), owners)
    votes = []
    for number, variant in enumerate(VARIANTS):
        left, right = index.match(variant)
        cells = _quantize(variant.points(points)[left], points[right])
        found = _count_votes(owners[left], owners[right], cells)
        votes.append(found.assign(variant=number))
    votes = pd.concat(votes, ignore_index=True)
    return _keep_best(votes, "votes", _N_PAIRS)[["left", "right", "variant"]].to_numpy()


class _Index:
    """Keypoints in cells of similar descriptors."""

    def __init__(self, descriptors, owners):
        self.descriptors, self.owners = descriptors, owners
        n_cells = int(np.clip(len(owners) // _CELL, 1, _N_CELLS))
        sample = descriptors[:: max(1, len(owners) // (64 * n_cells))].astype(np.float32)
        self.clusters = MiniBatchKMeans(
            n_cells, init="random", n_init=1, max_iter=10, batch_size=4096, random_state=0
        ).fit(sample)
        self.order, self.starts = self._assign(descriptors)

    def _assign(self, descriptors):
        """Return the positions of descriptors sorted by cell, and the bounds of the cells."""
        cells = self.clusters.predict(descriptors.astype(np.float32))
        order = np.argsort(cells, kind="stable")
        return order, np.searchsorted(cells[order], np.arange(self.clusters.n_clusters + 1))

    def match(self, variant):
        """Return pairs of alike keypoints: of a changed image, and of a later image."""
        changed = variant.descriptors(self.descriptors)
        order, starts = self._assign(changed)
        found = []
        for cell in range(self.clusters.n_clusters):
            columns = self.order[self.starts[cell] : self.starts[cell + 1]]
            members = self.descriptors[columns].astype(np.float32)
            for start in range(starts[cell], starts[cell + 1], _BLOCK):
                rows = order[start : min(start + _BLOCK, starts[cell + 1])]
                cosine = changed[rows].astype(np.float32) @ members.T
                cosine[self.owners[rows, np.newaxis] >= self.owners[columns]] = -1
                i, j = _nearest(cosine)
                found.append((rows[i], columns[j]))
        return [np.concatenate(side) for side in zip(*found)]


def _nearest(cosine):
    """Return the positions of the largest cosines of each row."""
    alike = cosine >= _COSINE
    for row in np.flatnonzero(alike.sum(axis=1) > _N_NEAREST):
        best = np.argsort(-cosine[row], kind="stable")[:_N_NEAREST]
        alike[row] = False
        alike[row, best] = True
    return np.nonzero(alike)


def _quantize(points, others):
    """Yield the cell of the transform between each pair of keypoints, in each of two grids.

    The second grid is half a cell apart, so that similar transforms share a cell in one of them.
    """
    turn, ratio = others[:, 3] - points[:, 3], others[:, 2] / points[:, 2]
    cos, sin = ratio * np.cos(turn), ratio * np.sin(turn)
    x = others[:, 0] - cos * points[:, 0] + sin * points[:, 1]
    y = others[:, 1] - sin * points[:, 0] - cos * points[:, 1]
    steps = np.stack([turn / _TURN % _N_TURNS, np.log2(ratio), x / _SHIFT, y / _SHIFT])
    for offset in (0, 0.5):
        turn, *others = np.floor(steps + offset).astype(np.int64)
        others = [np.clip(other, -16, 15) + 16 for other in others]
        yield np.ravel_multi_index([turn % _N_TURNS, *others], (_N_TURNS, 32, 32, 32))


def _count_votes(left, right, cells):
    """Return the votes for the transform that most keypoints of each pair of images agree on."""
    found = []
    for cell in cells:
        votes = pd.DataFrame({"left": left, "right": right, "cell": cell})
        votes = votes.groupby(["left", "right", "cell"]).size()
        found.append(votes[votes >= _N_VOTES])
    votes = pd.concat(found).groupby(level=["left", "right"]).max()
    return votes.rename("votes").reset_index()


def _keep_best(pairs, by, n_pairs):
    """Return the pairs that are among the best for one of their images, in a fixed order."""
    others = [column for column in pairs if column != by]
    pairs = pairs.sort_values([by, *others], ascending=[False, *[True] * len(others)])
    images = pairs[["left", "right"]].to_numpy().ravel()  # by pair
    rank = pd.Series(images).groupby(images).cumcount().to_numpy().reshape(-1, 2)
    return pairs[(rank < n_pairs).any(axis=1)].sort_values(others)


def propose_alike(scenes):
    """Propose pairs of images whose textures are alike as a whole.

    Neighboring frames and stretched images have few keypoints in common.

    Parameters
    ----------
    scenes : list of Scene
        The images.

    Returns
    -------
    ndarray of int of shape (n_pairs, 2)
        The positions of two images.
    """
    small = np.array([_shrink(scene.texture) for scene in scenes])
    found = []
    for start in range(0, len(small), _BLOCK):
        correlation = small[start : start + _BLOCK] @ small[start:].T
        i, j = np.nonzero(correlation >= _CORRELATION)
        later = i < j
        i, j = i[later], j[later]
        pairs = {"left": start + i, "right": start + j, "correlation": correlation[i, j]}
        found.append(_keep_best(pd.DataFrame(pairs), "correlation", _N_ALIKE))
    pairs = pd.concat(found, ignore_index=True)
    return _keep_best(pairs, "correlation", _N_ALIKE)[["left", "right"]].to_numpy()


def _shrink(texture):
    """Return the texture as a small image, mean 0 and norm 1; 0 if it has none."""
    filled = np.where(texture, texture, np.uint8(128)).astype(np.float32)
    small = cv2.resize(filled, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).ravel()
    small -= small.mean()
    return small / max(np.linalg.norm(small), 1e-6)
