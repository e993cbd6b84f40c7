"""Shortcuts: how well properties other than the image content predict the label."""

import os

import cv2
import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state
from tqdm import tqdm

from featbus.groups import resample_groups, stratified_folds
from featbus.images import is_path, to_float, to_gray
from featbus.regions import region_shape
from featbus.scores import wins_and_pairs

# The columns of `measure_image` and `measure_mask` that each shortcut uses.
SHORTCUTS = {
    "image size": ["height", "width"],
    "aspect ratio": ["aspect"],
    "bit depth": ["bits", "channels"],
    "file size": ["bytes"],
    "burned-in marks": ["colored", "saturated", "strokes"],
    "mask shape": ["area", "circularity", "solidity", "extent", "eccentricity"],
}
_MASK_COLUMNS = SHORTCUTS["mask shape"]
_FOLDS = 5
_PERMUTATIONS = 100
_RESAMPLES = 500
_MAX_IMAGES = 5000
_STROKE = np.ones((7, 7), np.uint8)


def measure_image(item, image):
    """Measure properties of an image other than its content.

    Parameters
    ----------
    item : ndarray or path
        The item of the batch.
    image : ndarray or MaskedArray
        The checked image; its mask is ignored.

    Returns
    -------
    dict of str to float
        ``height`` and ``width`` in pixels and ``aspect``, width by height; ``bits`` per sample and
        ``channels``; ``bytes`` of the file, NaN for an array; the shares of pixels that are
        ``colored`` (channels differ by more than an eighth of the range), ``saturated`` (white),
        or part of bright ``strokes`` (narrower than 7 pixels and brighter than their surroundings
        by half the range: text, marks, calipers).
    """
    pixels = np.ma.getdata(image)
    height, width = pixels.shape[:2]
    gray = to_float(to_gray(pixels))
    stroke = cv2.morphologyEx(gray, cv2.MORPH_TOPHAT, _STROKE)
    return {
        "height": height,
        "width": width,
        "aspect": width / height,
        "bits": 1 if pixels.dtype == bool else 8 * pixels.dtype.itemsize,
        "channels": 1 if pixels.ndim == 2 else pixels.shape[2],
        "bytes": os.path.getsize(item) if is_path(item) else np.nan,
        "colored": _share_colored(pixels),
        "saturated": np.mean(gray >= 1),
        "strokes": np.mean(stroke > 0.5),
    }


def _share_colored(pixels):
    if pixels.ndim == 2:
        return 0.0
    return np.mean(np.ptp(to_float(pixels[..., :3]), axis=2) > 1 / 8)


def measure_mask(inside):
    """Measure the shape of a region, all of its parts as one.

    Parameters
    ----------
    inside : ndarray of bool of shape (height, width), or None
        True inside the region; None without a mask.

    Returns
    -------
    dict of str to float
        ``area`` as a share of the image, ``circularity``, ``solidity``, ``extent`` and
        ``eccentricity`` as in `featbus.regions.region_shape`; NaN without a mask and, except
        for the area, for an empty region.
    """
    measures = dict.fromkeys(_MASK_COLUMNS, np.nan)
    if inside is None:
        return measures
    measures["area"] = inside.mean()
    if inside.any():
        region, measures["circularity"] = region_shape(inside)
        measures |= {name: region[name] for name in ("solidity", "extent", "eccentricity")}
    return measures


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
        ``low`` to ``high``; for permuted labels the mean ``baseline`` and the 97.5th percentile
        ``baseline_high``. NaN where all images have the same values or a class has a single group.
    """
    rng = check_random_state(random_state)
    measures, y, groups = _sample(measures, y, groups, rng)
    columns = {name: measures[names].to_numpy(float) for name, names in SHORTCUTS.items()}
    columns = {name: values for name, values in columns.items() if not np.isnan(values).all()}
    splits = _folds(y, groups, rng)
    targets = [y, *(_permute(y, groups, rng) for _ in range(_PERMUTATIONS))]
    weights = resample_groups(groups.max() + 1, _RESAMPLES, rng)[:, groups]
    rows = []
    hidden = None if verbose else True  # None: hidden unless on a terminal
    for name, values in tqdm(columns.items(), "shortcuts", unit="shortcut", disable=hidden):
        row = {"shortcut": name}
        if splits and len(np.unique(np.nan_to_num(values, nan=-1), axis=0)) > 1:
            row |= _summary(targets, _neighbors(values, splits, rng), splits, weights)
        rows.append(row)
    names = ["shortcut", "roc_auc", "low", "high", "baseline", "baseline_high"]
    return pd.DataFrame(rows, columns=names).astype(dict.fromkeys(names[1:], float))


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
        count = max(1, round(np.sqrt(len(train))))
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


def _summary(targets, neighbors, splits, weights):
    """Return the area under the curve of one shortcut, its interval and the baseline."""
    once = np.ones((1, len(targets[0])))
    aucs = [_macro_auc(y, neighbors, splits, once)[0] for y in targets]
    resampled = _macro_auc(targets[0], neighbors, splits, weights)
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return {
        "roc_auc": aucs[0],
        "low": low,
        "high": high,
        "baseline": np.nanmean(aucs[1:]),
        "baseline_high": np.nanpercentile(aucs[1:], 97.5),
    }


def _macro_auc(y, neighbors, splits, weights):
    """Return, for each weighting, the area under the curve, averaged over classes (one-vs-rest)."""
    labels = np.unique(y)
    areas = []
    for label in labels[1:] if len(labels) == 2 else labels:
        wins = pairs = 0
        # Pairs count within folds only: the level of the scores differs between folds.
        for (_, test), near in zip(splits, neighbors):
            score = np.mean(y[near] == label, axis=1)
            more = wins_and_pairs(y[test] == label, score, weights[:, test])
            wins, pairs = wins + more[0], pairs + more[1]
        areas.append(np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))
    return np.mean(areas, axis=0)
