"""Shortcuts: what can be predicted from anything but what the images show."""

import os

import cv2
import numpy as np
import pandas as pd
from skimage.measure import regionprops
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state
from tqdm import tqdm

from featbus.images import is_path, to_float, to_gray

# What each shortcut is measured by, in the columns of `measure_image` and `measure_mask`.
SHORTCUTS = {
    "image size": ["height", "width"],
    "aspect ratio": ["aspect"],
    "bit depth": ["bits", "channels"],
    "file size": ["bytes"],
    "burned-in marks": ["coloured", "saturated", "strokes"],
    "mask shape": ["area", "circularity", "solidity", "extent", "eccentricity"],
}
_MASK_COLUMNS = SHORTCUTS["mask shape"]
_FOLDS = 5
_PERMUTATIONS = 100
_RESAMPLES = 500
_MAX_IMAGES = 5000
_STROKE = np.ones((7, 7), np.uint8)


def measure_image(item, image):
    """Measure what an image is beside its content.

    Parameters
    ----------
    item : ndarray or path
        The item of the batch.
    image : ndarray or MaskedArray
        The checked image; its mask does not count.

    Returns
    -------
    dict of str to float
        ``height`` and ``width`` in pixels and their ratio ``aspect``; ``bits`` a sample and
        ``channels``; ``bytes`` of the file, NaN without one; the shares of pixels that are
        ``coloured`` (channels that differ by more than an eighth of the range), ``saturated`` (as
        bright as can be) and part of bright ``strokes`` (narrower than 7 pixels and brighter than
        their surroundings by half the range: text, marks, callipers).
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
        "coloured": _share_coloured(pixels),
        "saturated": np.mean(gray >= 1),
        "strokes": np.mean(stroke > 0.5),
    }


def _share_coloured(pixels):
    if pixels.ndim == 2:
        return 0.0
    colours = to_float(pixels[..., :3])
    return np.mean(np.ptp(colours, axis=2) > 1 / 8)


def measure_mask(inside):
    """Measure the shape of a region, all of its parts as one.

    Parameters
    ----------
    inside : array_like of bool of shape (height, width), or None
        True inside the region; None where there is no mask.

    Returns
    -------
    dict of str to float
        ``area`` as a share of the picture, ``circularity``, ``solidity``, ``extent`` and
        ``eccentricity`` as in `skimage.measure.regionprops`; NaN of an empty region and without a
        mask.
    """
    measures = dict.fromkeys(_MASK_COLUMNS, np.nan)
    if inside is None:
        return measures
    inside = np.asarray(inside) > 0
    if inside.ndim != 2:
        raise ValueError(f"a mask has shape {inside.shape}, expected (height, width).")
    measures["area"] = inside.mean()
    if inside.any():
        (region,) = regionprops(inside.astype(np.uint8))
        circularity = 4 * np.pi * region.area / region.perimeter_crofton**2
        shape = region.solidity, region.extent, region.eccentricity
        measures.update(zip(_MASK_COLUMNS[1:], [circularity, *shape]))
    return measures


def score_shortcuts(measures, y, groups, *, random_state=0, verbose=False):
    """Cross-validate what each shortcut predicts alone.

    Parameters
    ----------
    measures : DataFrame of n_images rows
        Columns of `measure_image` and `measure_mask`.
    y : ndarray of int of shape (n_images,)
        Classes, 0 to n_classes - 1.
    groups : ndarray of int of shape (n_images,)
        Images that belong together.
    random_state : int, RandomState instance or None, default=0
        Seed of folds, resampling and permutation.
    verbose : bool, default=False
        Whether to show a progress bar, if on a terminal.

    Returns
    -------
    DataFrame
        One row per shortcut that has values: ``shortcut``, ``roc_auc`` with its 95 % interval
        ``low`` to ``high``, and of permuted labels the mean ``baseline`` and the 97.5th percentile
        ``baseline_high``. NaN where all images are the same, or a class has one group only.
    """
    rng = check_random_state(random_state)
    measures, y, groups = _sample(measures.reset_index(drop=True), y, groups, rng)
    columns = {name: measures[names].to_numpy(float) for name, names in SHORTCUTS.items()}
    columns = {name: values for name, values in columns.items() if not np.isnan(values).all()}
    splits = _folds(y, groups, rng)
    targets = [y, *(_permute(y, groups, rng) for _ in range(_PERMUTATIONS))]
    weights = np.array([_resample(groups, rng) for _ in range(_RESAMPLES)])
    rows = []
    hidden = None if verbose else True  # None: hidden unless on a terminal
    for name, values in tqdm(columns.items(), "shortcuts", unit="shortcut", disable=hidden):
        row = {"shortcut": name}
        if splits and len(np.unique(np.nan_to_num(values, nan=-1), axis=0)) > 1:
            row |= _summary(targets, _neighbours(values, splits, rng), splits, weights)
        rows.append(row)
    names = ["shortcut", "roc_auc", "low", "high", "baseline", "baseline_high"]
    return pd.DataFrame(rows, columns=names).astype(dict.fromkeys(names[1:], float))


def _sample(measures, y, groups, rng):
    """Return whole groups of about `_MAX_IMAGES` images at most."""
    if len(y) <= _MAX_IMAGES:
        return measures, y, groups
    codes = np.unique(groups, return_inverse=True)[1]
    rank = rng.permutation(codes.max() + 1)
    size = np.bincount(rank[codes])
    chosen = np.isin(rank[codes], np.flatnonzero(np.cumsum(size) <= _MAX_IMAGES))
    return measures[chosen], y[chosen], groups[chosen]


def _folds(y, groups, rng):
    """Return grouped, stratified folds: none where a class has a single group."""
    n_folds = min(_FOLDS, pd.Series(groups).groupby(y).nunique().min())
    if n_folds < 2:
        return []
    # Shuffled here, because shuffle=True undid the stratification before scikit-learn 1.8.
    names, codes = np.unique(groups, return_inverse=True)
    order = rng.permutation(len(names))
    return list(StratifiedGroupKFold(n_folds).split(y, y, order[codes]))


def _permute(y, groups, rng):
    """Hand the classes of groups to other groups, over and over where these are larger."""
    codes = np.unique(groups, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    size = np.bincount(codes)
    start = np.cumsum(size) - size
    place = np.arange(len(y)) - start[codes[order]]
    source = rng.permutation(len(size))[codes[order]]
    permuted = np.empty_like(y)
    permuted[order] = y[order][start[source] + place % size[source]]
    return permuted


def _resample(groups, rng):
    """Return how often each image comes in a sample of groups drawn with replacement."""
    names, codes = np.unique(groups, return_inverse=True)
    drawn = rng.randint(len(names), size=len(names))
    return np.bincount(drawn, minlength=len(names))[codes]


def _neighbours(values, splits, rng):
    """Return for each split the positions of the training images next to each tested one."""
    neighbours = []
    for train, test in splits:
        ranks = _ranks(values, train)
        # Images that measure the same are no nearer in the order in which they come.
        ranks += rng.uniform(0, 1e-6, size=ranks.shape)
        count = max(1, round(np.sqrt(len(train))))
        nearest = NearestNeighbors(n_neighbors=count).fit(ranks[train])
        neighbours.append(train[nearest.kneighbors(ranks[test], return_distance=False)])
    return neighbours


def _ranks(values, train):
    """Return the rank of each value among the training ones, 0..1; -1 where it is NaN."""
    ranks = np.empty(values.shape)
    for column, rank in zip(values.T, ranks.T):
        known = np.sort(column[train][~np.isnan(column[train])])
        rank[:] = np.searchsorted(known, column, "left") + np.searchsorted(known, column, "right")
        rank /= 2 * max(1, len(known))
        rank[np.isnan(column)] = -1
    return ranks


def _summary(targets, neighbours, splits, weights):
    """Return area under the curve, interval and baseline of one shortcut."""
    once = np.ones((1, len(targets[0])))
    aucs = [_macro_auc(y, neighbours, splits, once)[0] for y in targets]
    resampled = _macro_auc(targets[0], neighbours, splits, weights)
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return {
        "roc_auc": aucs[0],
        "low": low,
        "high": high,
        "baseline": np.nanmean(aucs[1:]),
        "baseline_high": np.nanpercentile(aucs[1:], 97.5),
    }


def _macro_auc(y, neighbours, splits, weights):
    """Return for each weighting the mean over classes of the area under the curve.

    Each class is held against the rest. Of two classes one area says it all.
    """
    labels = np.unique(y)
    areas = []
    for label in labels[1:] if len(labels) == 2 else labels:
        wins = pairs = 0
        # Compared within folds only: the level of the scores differs from fold to fold.
        for (_, test), near in zip(splits, neighbours):
            score = np.mean(y[near] == label, axis=1)
            more = _wins_and_pairs(y[test] == label, score, weights[:, test])
            wins, pairs = wins + more[0], pairs + more[1]
        areas.append(np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0))
    return np.mean(areas, axis=0)


def _wins_and_pairs(positive, score, weights):
    """Return for each weighting how often a positive beats another one, and how often it could."""
    order = np.argsort(score)
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    positive, weights = positive[order], weights[:, order]
    own = np.add.reduceat(weights * positive, starts, axis=1)
    others = np.add.reduceat(weights * ~positive, starts, axis=1)
    # A positive wins against the others below it, and half against those beside it.
    wins = (own * (np.cumsum(others, axis=1) - others / 2)).sum(axis=1)
    return wins, (own.sum(axis=1) * others.sum(axis=1)).astype(float)
