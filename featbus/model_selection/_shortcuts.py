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
        ``low`` to ``high``; for permuted labels the mean ``baseline`` and ``baseline_high``, which
        no shortcut exceeds for 97 % of the permutations. NaN where all images have the same values
        or a class has a single group. The content is the last row.

    Notes
    -----
    All shortcuts share the permutations. Their areas are standardized by the mean and the standard
    deviation over these; the 97th percentile of the largest of each permutation bounds all of them,
    so that the probability of any false alarm is 3 % however many shortcuts there are, and however
    they are correlated: the step of Westfall and Young's maxT [1]_.

    References
    ----------
    .. [1] Westfall PH, Young SS. Resampling-based multiple testing. Wiley, 1993.
    """
    rng = check_random_state(random_state)
    measures, y, groups = _sample(measures, y, groups, rng)
    splits = _folds(y, groups, rng)
    targets = np.array([y, *(_permute(y, groups, rng) for _ in range(_PERMUTATIONS))])
    weights = resample_groups(groups.max() + 1, _RESAMPLES, rng)[:, groups]
    rows, permuted = [], {}
    hidden = None if verbose else True  # None: hidden unless on a terminal
    columns = _columns(measures).items()
    for name, values in tqdm(columns, "shortcuts", unit="shortcut", disable=hidden):
        row = {"shortcut": name}
        if splits and len(np.unique(np.nan_to_num(values, nan=-1), axis=0)) > 1:
            neighbors = _neighbors(values, splits, rng)
            row["roc_auc"], *permuted[name] = _macro_aucs(targets, neighbors, splits)
            resampled = _macro_aucs(y[np.newaxis], neighbors, splits, weights)
            row["low"], row["high"] = _percentiles(resampled)
        rows.append(row)
    names = ["shortcut", "roc_auc", "low", "high", "baseline", "baseline_high"]
    scores = pd.DataFrame(rows, columns=names).astype(dict.fromkeys(names[1:], float))
    return scores.assign(**_baselines(scores["shortcut"], permuted))


def _percentiles(areas):
    known = areas[~np.isnan(areas)]
    return np.percentile(known, [2.5, 97.5]) if known.size else (np.nan, np.nan)


def _columns(measures):
    """Return the values of each shortcut that has some."""
    names = {
        name: [column for column in columns if column in measures]
        for name, columns in (SHORTCUTS | CONTENT).items()
    }
    columns = {name: measures[found].to_numpy(float) for name, found in names.items()}
    return {name: values for name, values in columns.items() if not np.isnan(values).all()}


def _baselines(names, permuted):
    """Return the mean area of each shortcut with permuted labels, and the bound for all.

    Parameters
    ----------
    names : iterable of str
        The shortcuts.
    permuted : dict of str to sequence of float
        The areas with permuted labels of those that have some.

    Returns
    -------
    dict of str to list of float
        ``baseline`` and ``baseline_high``.
    """
    # A permutation of few groups may leave all folds with a single class: its areas are NaN.
    known = {name: np.array(areas)[~np.isnan(areas)] for name, areas in permuted.items()}
    mean = {name: areas.mean() for name, areas in known.items() if areas.size}
    spread = {name: known[name].std() for name in mean}
    family = [
        (np.array(permuted[name]) - mean[name]) / spread[name]
        for name in mean
        if name not in CONTENT and spread[name] > 0
    ]
    bound = 0.0
    if family:
        largest = np.max(np.where(np.isnan(family), -np.inf, family), axis=0)
        bound = np.quantile(largest[np.isfinite(largest)], 1 - _LEVEL) + _ROUNDING
    return {
        "baseline": [mean.get(name, np.nan) for name in names],
        "baseline_high": [
            mean[name] + bound * spread[name] if name in mean else np.nan for name in names
        ],
    }


def _sample(measures, y, groups, rng):
    """Draw whole groups, of at most `_MAX_IMAGES` images in all, and number them from 0."""
    if len(y) > _MAX_IMAGES:
        size = np.bincount(groups)
        order = rng.permutation(len(size))
        chosen = np.isin(groups, order[np.cumsum(size[order]) <= _MAX_IMAGES])
        measures, y, groups = measures[chosen], y[chosen], groups[chosen]
    return measures, y, np.unique(groups, return_inverse=True)[1]


def _folds(y, groups, rng):
    """Return the folds; none where a class has a single group."""
    n_folds = min(_FOLDS, pd.Series(groups).groupby(y).nunique().min())
    return stratified_folds(y, groups, n_folds, rng) if n_folds > 1 else []


def _permute(y, groups, rng):
    """Give each group the classes of another, repeated or cut to its size."""
    order = np.argsort(groups, kind="stable")
    size = np.bincount(groups)
    start = np.cumsum(size) - size
    place = np.arange(len(y)) - start[groups[order]]
    source = rng.permutation(len(size))[groups[order]]
    permuted = np.empty_like(y)
    permuted[order] = y[order][start[source] + place % size[source]]
    return permuted


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
    labels = np.unique(targets)
    areas = []
    for label in labels[1:] if len(labels) == 2 else labels:
        wins = pairs = 0
        # Pairs count within folds only: the level of the scores differs between folds.
        for (_, test), near in zip(splits, neighbors):
            positive = targets == label
            more = _wins_and_pairs(positive, near, test, weights)
            wins, pairs = wins + more[0], pairs + more[1]
        areas.append(np.divide(wins, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0))
    return np.mean(areas, axis=0)


def _wins_and_pairs(positive, near, test, weights):
    """Count as `featbus.scores.wins_and_pairs`, of scores that are numbers of positive neighbors.

    There are few different scores: images are counted per score, for all targets at once.
    """
    votes = sum(positive[:, column].astype(np.intp) for column in near.T)
    positive, n_scores = positive[:, test], near.shape[1] + 1
    if weights is None:
        cells = votes + n_scores * np.arange(len(votes))[:, np.newaxis]
        own, others = (
            np.bincount(cells[chosen], minlength=len(votes) * n_scores).reshape(-1, n_scores)
            for chosen in (positive, ~positive)
        )
    else:
        has_score = np.eye(n_scores)[votes[0]]
        own, others = (
            weights[:, test[chosen]] @ has_score[chosen] for chosen in (positive[0], ~positive[0])
        )
    wins = (own * (np.cumsum(others, axis=1) - others / 2)).sum(axis=1)
    return wins, own.sum(axis=1) * others.sum(axis=1)
