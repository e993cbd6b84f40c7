"""Pairs of images that may show the same scene: several of their keypoints agree."""

import numpy as np
import pandas as pd
from sklearn.cluster import MiniBatchKMeans

from featbus.model_selection._matching import MIN_COSINE
from featbus.model_selection._scenes import VARIANTS

# Keypoints per cell of the index, on average, and the largest number of cells.
_CELL, _N_CELLS = 400, 4096
# Votes that a pair of images needs, and pairs that are kept for each image.
_N_VOTES = 3
_N_PAIRS = 6
# Directions are compared in steps of 45 degrees, in two grids half a step apart.
_STEPS = 8


def propose_pairs(scenes):
    """Propose pairs of images by the votes of their keypoints.

    Keypoints are compared within the cells of an index. Two that are alike vote for the pair of
    their images, the variant and the rotation between both. The pairs with the most votes are kept
    for each image, so that the number of pairs grows with the number of images, whatever they show.

    Parameters
    ----------
    scenes : list of Scene
        The images.

    Returns
    -------
    list of tuple of (int, int, int)
        Two positions of images and the variant of the first, in ascending order.
    """
    sizes = [len(scene.points) for scene in scenes]
    owners = np.repeat(np.arange(len(scenes)), sizes)
    if len(owners) < 2:
        return []
    descriptors = np.concatenate([scene.descriptors for scene in scenes])
    angles = np.concatenate([scene.points[:, 3] for scene in scenes])
    index = _Index(descriptors, owners)
    votes = []
    for number, variant in enumerate(VARIANTS):
        left, right = index.match(variant)
        turn = angles[right] - variant.angles(angles[left])
        votes.append(_count_votes(owners[left], owners[right], turn).assign(variant=number))
    return _keep_best(pd.concat(votes, ignore_index=True))


class _Index:
    """Keypoints in cells of similar descriptors."""

    def __init__(self, descriptors, owners):
        self.descriptors, self.owners = descriptors, owners
        n_cells = int(np.clip(len(owners) // _CELL, 1, _N_CELLS))
        sample = descriptors[:: max(1, len(owners) // (64 * n_cells))].astype(np.float32)
        self.cells = MiniBatchKMeans(
            n_cells, batch_size=8192, n_init=1, max_iter=10, init="random", random_state=0
        ).fit(sample)
        self.order, self.starts = self._assign(descriptors)

    def _assign(self, descriptors):
        """Return the positions of descriptors sorted by cell, and the bounds of the cells."""
        step = 65536
        parts = [
            self.cells.predict(descriptors[start : start + step].astype(np.float32))
            for start in range(0, len(descriptors), step)
        ]
        cells = np.concatenate(parts)
        order = np.argsort(cells, kind="stable")
        return order, np.searchsorted(cells[order], np.arange(self.cells.n_clusters + 1))

    def match(self, variant):
        """Return pairs of alike keypoints, of a variant of an image and of a later image."""
        changed = variant.descriptors(self.descriptors).astype(np.float16)
        order, starts = self._assign(changed)
        found = []
        for cell in range(self.cells.n_clusters):
            rows = order[starts[cell] : starts[cell + 1]]
            columns = self.order[self.starts[cell] : self.starts[cell + 1]]
            cosine = changed[rows].astype(np.float32) @ self.descriptors[columns].astype(
                np.float32
            ).T
            i, j = np.nonzero(cosine >= MIN_COSINE)
            left, right = rows[i], columns[j]
            keep = self.owners[left] < self.owners[right]
            found.append((left[keep], right[keep]))
        return [np.concatenate(side) for side in zip(*found)]


def _count_votes(left, right, turn):
    """Return the number of votes for each pair of images and its most frequent rotation."""
    key = left.astype(np.int64) * (right.max(initial=0) + 1) + right
    best = None
    for offset in (0, 0.5):
        step = np.floor(turn * _STEPS / (2 * np.pi) + offset).astype(np.int64) % _STEPS
        values, counts = np.unique(key * _STEPS + step, return_counts=True)
        keep = counts >= _N_VOTES
        votes = pd.DataFrame({"key": values[keep] // _STEPS, "votes": counts[keep]})
        best = votes if best is None else pd.concat([best, votes])
    votes = best.groupby("key")["votes"].max().reset_index()
    n = right.max(initial=0) + 1
    return votes.assign(left=votes["key"] // n, right=votes["key"] % n).drop(columns="key")


def _keep_best(votes):
    """Return the pairs that have the most votes for one of their images."""
    votes = votes.sort_values(["votes", "left", "right", "variant"], ascending=[False, *[True] * 3])
    rank = pd.concat(
        [votes["left"].rename("image"), votes["right"].rename("image")]
    ).to_frame().assign(row=np.tile(np.arange(len(votes)), 2))
    rank = rank.sort_values("row", kind="stable")
    rows = rank.loc[rank.groupby("image").cumcount().to_numpy() < _N_PAIRS, "row"].unique()
    kept = votes.iloc[np.sort(rows)][["left", "right", "variant"]]
    return sorted(map(tuple, kept.to_numpy().tolist()))
