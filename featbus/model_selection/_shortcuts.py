"""Shortcuts: how well properties other than the image content predict the label."""

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state
from tqdm import tqdm

from featbus.groups import resample_groups, stratified_folds
from featbus.model_selection._measures import PLACES

# The columns of `measure_image` and `measure_mask` that each shortcut uses.
SHORTCUTS = {
    "image size": ["height", "width"],
    "aspect ratio": ["aspect"],
    "bit depth and channels": ["bits", "channels"],
    "exposure": ["mean", "black", "white"],
    "contrast": ["spread", "relative_spread"],
    "sharpness and noise": ["sharpness", "noise"],
    "borders": ["top", "bottom", "left", "right", "rows", "columns"],
    "marks": ["bright", "dark", "ink", "patches", "colored"],
    "compression": ["zeros", "step", "blockiness", "quantization"],
    "file format": ["format"],
    "file size": ["bytes", "bytes_per_pixel"],
    "mask size": ["area"],
    "mask shape": ["circularity", "solidity", "extent", "eccentricity"],
    "mask position": ["center_y", "center_x"],
}
# The disease is content, too: the audit reports it, and counts it as no shortcut.
CONTENT = {"content by place": PLACES}
COLUMNS = [column for columns in (SHORTCUTS | CONTENT).values() for column in columns]
_OF_MASKS = [column for name in SHORTCUTS if "mask" in name for column in SHORTCUTS[name]]
_FOLDS = 5
_PERMUTATIONS = 500
_RESAMPLES = 500
_MAX_IMAGES = 2000
_LEVEL = 0.03
_ROUNDING = 1e-9  # few groups have few permutations, the labels themselves among them


def score_shortcuts(measures, y, groups, *, random_state=0, verbose=False):
    """Cross-validate how well each shortcut alone predicts the label.

    Parameters
    ----------
    measures : DataFrame of n_images rows
        Columns of `measure_image` and `measure_mask`.
    y : ndarray of int of shape (n_images,)
        Classes, 0 to n_classes - 1.
    groups : ndarray of int of shape (n_images,)
        Images that belong together; from 0.
    random_state : int, RandomState instance or None, default=0
        Seed of folds, resampling and permutation.
    verbose : bool, default=False
        Whether to show a progress bar, if on a terminal.

    Returns
    -------
    DataFrame
        One row per shortcut that has values: ``shortcut``; ``roc_auc`` with its 95 % interval
        ``low`` to ``high``; ``baseline``, the mean over permuted labels, and ``baseline_high``, the
        bound that no shortcut exceeds in 97 % of the permutations. NaN where all images have the
        same values or a class has a single group. The content is the last row. Shortcuts of masks
        are scored among the classes in which any image has a region.

    Notes
    -----
    All shortcuts share the permutations. Their areas are standardized by the mean and the standard
    deviation over these. The bound is the 97th percentile, over permutations, of the largest
    standardized area: the probability of any false alarm is 3 %, regardless of the number and the
    correlation of the shortcuts (Westfall and Young's maxT [1]_).

    References
    ----------
    .. [1] Westfall PH, Young SS. Resampling-based multiple testing. Wiley, 1993.
    """
    rng = check_random_state(random_state)
    drawn = measures.get("area", pd.Series(0, measures.index)).gt(0).groupby(y).transform("any")
    if drawn.any() and not drawn.all():
        options = {"random_state": rng, "verbose": verbose}
        whole = score_shortcuts(measures.drop(columns=_OF_MASKS), y, groups, **options)
        masks = measures.loc[drawn, measures.columns.intersection(_OF_MASKS)]
        masks = score_shortcuts(masks, y[drawn], groups[drawn], **options)
        return pd.concat([whole[:-1], masks, whole[-1:]], ignore_index=True)
    drawn = draw_groups(groups, _MAX_IMAGES, rng)
    measures, y, groups = measures[drawn], y[drawn], pd.factorize(groups[drawn], sort=True)[0]
    n_folds = min(_FOLDS, pd.Series(groups).groupby(y).nunique().min())
    splits = stratified_folds(y, groups, n_folds, rng) if n_folds > 1 else []
    targets = np.array([y, *(_permute(y, groups, rng) for _ in range(_PERMUTATIONS))])
    weights = resample_groups(groups.max() + 1, _RESAMPLES, rng)[:, groups]
    rows, permuted = [], {}
    hidden = None if verbose else True  # None: hidden unless on a terminal
    everything = (SHORTCUTS | CONTENT).items()
    for name, columns in tqdm(everything, "shortcuts", unit="shortcut", disable=hidden):
        values = measures.reindex(columns=columns).to_numpy(float)
        if np.isnan(values).all():
            continue
        row = {"shortcut": name, "roc_auc": np.nan, "low": np.nan, "high": np.nan}
        if splits and len(np.unique(np.nan_to_num(values, nan=-1), axis=0)) > 1:
            neighbors = _neighbors(values, splits, rng)
            row["roc_auc"], *permuted[name] = _macro_aucs(targets, neighbors, splits)
            resampled = pd.Series(_macro_aucs(y[np.newaxis], neighbors, splits, weights))
            row["low"], row["high"] = resampled.quantile([0.025, 0.975])
        rows.append(row)
    return pd.DataFrame(rows).join(_baselines(pd.DataFrame(permuted, dtype=float)), on="shortcut")


def _baselines(permuted):
    """Return the mean area of each shortcut with permuted labels, and the bound for all.

    Parameters
    ----------
    permuted : DataFrame of shape (n_permutations, n_shortcuts)
        The areas with permuted labels. Those of a permutation of few groups that leaves all folds
        with a single class are NaN.

    Returns
    -------
    DataFrame
        ``baseline`` and ``baseline_high``, one row per shortcut.
    """
    mean, spread = permuted.mean(), permuted.std(ddof=0)
    standardized = (permuted - mean) / spread.where(spread > 0)
    largest = standardized.drop(columns=[*CONTENT], errors="ignore").max(axis=1)
    bound = np.nan_to_num(largest.quantile(1 - _LEVEL)) + _ROUNDING
    return pd.DataFrame({"baseline": mean, "baseline_high": mean + bound * spread})


def draw_groups(groups, max_images, rng):
    """Return whether each image is drawn: all, or groups of up to so many images, at least one."""
    if len(groups) <= max_images:
        return np.ones(len(groups), dtype=bool)
    size = np.bincount(groups)
    order = rng.permutation(len(size))
    total = np.cumsum(size[order])
    return np.isin(groups, order[total <= max(max_images, total[0])])


def _permute(y, groups, rng):
    """Give each group the classes of another, repeated or cut to its size."""
    order, size = np.argsort(groups, kind="stable"), np.bincount(groups)
    start = np.cumsum(size) - size
    place = pd.Series(groups).groupby(groups).cumcount().to_numpy()
    source = rng.permutation(len(size))[groups]
    return y[order][start[source] + place % size[source]]


def _neighbors(values, splits, rng):
    """Return, for each split, the positions of the nearest training images of each test image."""
    neighbors = []
    for train, test in splits:
        ranks = _ranks(values, train)
        # Ties must not be broken by the order of the images, which is often that of the classes.
        ranks += rng.uniform(0, 1e-6, size=ranks.shape)
        count = max(1, round(2 * np.sqrt(len(train))))
        nearest = NearestNeighbors(n_neighbors=count).fit(ranks[train])
        neighbors.append(train[nearest.kneighbors(ranks[test], return_distance=False)])
    return neighbors


def _ranks(values, train):
    """Return the rank of each value among those of the training part, 0..1; -1 for NaN."""
    ranks = np.empty(values.shape)
    for column, rank in zip(values.T, ranks.T):
        known = np.sort(column[train][~np.isnan(column[train])])
        rank[:] = np.searchsorted(known, column, "left") + np.searchsorted(known, column, "right")
        rank /= 2 * max(1, len(known))
        rank[np.isnan(column)] = -1
    return ranks


def _macro_aucs(targets, neighbors, splits, weights=None):
    """Return areas under the curve, averaged over classes (one-vs-rest).

    Parameters
    ----------
    targets : ndarray of int of shape (n_targets, n_images)
        The classes, in one or several orders.
    neighbors : list of ndarray of int of shape (n_test, n_neighbors)
        For each split, the training images nearest to each test image.
    splits : list of (ndarray of int, ndarray of int)
        Training and test part.
    weights : ndarray of float of shape (n_weightings, n_images), default=None
        How often each image counts, for a single target.

    Returns
    -------
    ndarray of float
        One area per target, or per weighting.
    """
    weights = np.ones((1, targets.shape[1])) if weights is None else weights
    labels = np.unique(targets)
    areas = []
    for label in labels[1:] if len(labels) == 2 else labels:
        wins = pairs = 0
        # Pairs count within folds only: the level of the scores differs between folds.
        for (_, test), near in zip(splits, neighbors):
            more = _wins_and_pairs(targets == label, near, test, weights)
            wins, pairs = wins + more[0], pairs + more[1]
        areas.append(np.divide(wins, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0))
    return np.mean(areas, axis=0)


def _wins_and_pairs(positive, near, test, weights):
    """Count pairs of a positive and a negative image, and those that the positive one wins.

    Scores are numbers of positive neighbors: images are counted per score, which is faster than
    sorting them for each target.
    """
    votes = sum(positive[:, column].astype(np.intp) for column in near.T)
    votes, positive, weights = np.broadcast_arrays(votes, positive[:, test], weights[:, test])
    n_rows, n_scores = len(votes), near.shape[1] + 1
    cells = (votes + n_scores * np.arange(n_rows)[:, np.newaxis]).ravel()
    own, others = (
        np.bincount(cells, (weights * chosen).ravel(), n_rows * n_scores).reshape(n_rows, -1)
        for chosen in (positive, ~positive)
    )
    wins = (own * (np.cumsum(others, axis=1) - others / 2)).sum(axis=1)
    return wins, own.sum(axis=1) * others.sum(axis=1)
