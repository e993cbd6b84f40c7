"""The audit of a data set, its folds and its pipeline."""

import hashlib
import os
from numbers import Integral
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, check_cv
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from featbus.images import as_batch, inside_mask, is_path
from featbus.model_selection._duplicates import (
    Sketches,
    join,
    join_flat,
    map_images,
    near_duplicates,
    thumbnail,
    unite,
)
from featbus.model_selection._pipelines import fitted_steps, misplaced_samplers
from featbus.model_selection._report import AuditReport
from featbus.model_selection._shortcuts import measure_image, measure_mask, score_shortcuts

# Of one mini-MIAS woman both breasts, of different women no two films are as alike as this, and
# three of four BUSI near-duplicates are.
_CERTAIN = {"max_distance": 6, "min_correlation": 0.98, "need_both": True}
# The right breast of a woman and the mirrored left one are less alike than this.
_COPY = {"max_distance": 4, "min_correlation": 0.99, "need_both": True}
_SHARE = 0.1
_GROUPS_REMEDY = "Split by groups: take suggested_groups of this report."
_DOUBT_REMEDY = (
    "Look at some: standard views are alike without being copies. Groups of all of them are in "
    "near_duplicates of this report."
)


class _Check(NamedTuple):
    """A row of the report, and the images that it is about."""

    check: str
    severity: str
    finding: str
    count: int = 0
    remedy: str = ""
    images: tuple = ()


class _Copies(NamedTuple):
    """Labels of the images: the same where two are copies of a kind."""

    exact: np.ndarray
    certain: np.ndarray
    near: np.ndarray
    turned: np.ndarray

    def joined(self):
        """Return labels that join all kinds.

        Standard views look alike and are no copies. Where fewer than half of the images that have
        a near-duplicate have one beyond doubt, only these count.
        """
        doubtful = _n_alike(self.certain) < _n_alike(self.near) / 2
        return unite(self.exact, self.turned, self.certain if doubtful else self.near)


def _n_alike(labels):
    """Return the number of images that share their label."""
    counts = np.bincount(labels)
    return counts[counts > 1].sum()


class _Folds(NamedTuple):
    """Splits, and how to name images in messages."""

    splits: list
    names: list

    def seen(self, labels):
        """Return the tested images whose label is in their training part, and a pair of them."""
        seen = np.zeros(len(self.names), dtype=bool)
        pair = None
        for train, test in self.splits:
            others = np.setdiff1d(train, test)
            found = test[np.isin(labels[test], labels[others])]
            seen[found] = True
            if pair is None and found.size:
                pair = found[0], others[labels[others] == labels[found[0]]][0]
        return np.flatnonzero(seen), pair

    def such_as(self, pair):
        """Spell a pair of images."""
        return "" if pair is None else f", such as {self.names[pair[0]]} and {self.names[pair[1]]}"


def audit(
    images,
    y,
    *,
    groups=None,
    cv=5,
    pipeline=None,
    masks=None,
    random_state=0,
    n_jobs=None,
    verbose=False,
):
    """Look for what makes scores too good: leaks between folds, and shortcuts to the label.

    Nothing is trained on what the images show, and the pipeline is not run.

    Parameters
    ----------
    images : batch of images
        See :ref:`images`. Paths are read one at a time.
    y : array_like of shape (n_images,)
        The classes; integers or strings.
    groups : array_like of shape (n_images,), default=None
        Images that belong together, such as those of one patient.
    cv : int, splitter or iterable of (train, test), default=5
        The folds to audit. Of a number, stratified and shuffled folds, that keep groups together if
        there are any: those of `evaluate`.
    pipeline : estimator or list of estimator, default=None
        What is to be cross-validated, or what is done one after another.
    masks : iterable of array_like of bool of shape (height, width), default=None
        The region of each image, True inside, or None; a generator will do. None takes those of
        masked images.
    random_state : int, RandomState instance or None, default=0
        Seed of the folds and of all that is drawn for the shortcuts.
    n_jobs : int or None, default=None
        Number of threads that read images, see `joblib.Parallel`.
    verbose : bool, default=False
        Whether to show progress bars, if on a terminal.

    Returns
    -------
    AuditReport
        A table of checks, the verdict `passed`, and `suggested_groups` to split by.

    Raises
    ------
    ValueError
        If an image is invalid (the message names it), lengths do not match, `y` has one class, or
        a group or label is missing.

    See Also
    --------
    find_near_duplicates : Group copies and near-copies.
    evaluate : Cross-validate with groups kept together.

    Notes
    -----
    What is a "leak" and what a "warning", and how shortcuts are measured, is in the
    :ref:`user guide <audit>`.

    Examples
    --------
    >>> from featbus import audit, make_breast_ultrasound
    >>> data = make_breast_ultrasound(40, weights=[1, 1, 0], random_state=0)
    >>> images = [*data.images, data.images[0]]
    >>> report = audit(images, [*data.target, data.target[0]])
    >>> report.passed
    False
    >>> report.to_frame().query("severity == 'leak'")["check"].tolist()
    ['exact copies across folds', 'near-duplicates across folds']
    >>> audit(images, [*data.target, data.target[0]], groups=report.suggested_groups).passed
    True
    """
    images = as_batch(images)
    check_consistent_length(images, y, groups)
    labels, codes = _checked_target(y)
    groups = None if groups is None else _checked_groups(groups)
    rng = check_random_state(random_state)
    folds = _Folds(_make_splits(cv, codes, groups, rng), _names(images))
    thumbnails, digests, measures = _look(images, masks, n_jobs, verbose)
    copies = _find_copies(np.array(thumbnails), digests)
    given = np.arange(len(codes)) if groups is None else groups
    copied = copies.joined()
    suggested = unite(given, copied)
    shortcuts = score_shortcuts(measures, codes, suggested, random_state=rng, verbose=verbose)
    checks = [
        *_check_copies(folds, copies),
        _check_samples(folds),
        _check_groups(folds, groups),
        _check_labels(folds, copied, codes, labels),
        _check_balance(folds, codes, labels),
        *_check_pipeline(pipeline, len(codes)),
        *_check_shortcuts(shortcuts),
    ]
    frame = pd.DataFrame([check[:-1] for check in checks], columns=_Check._fields[:-1])
    return AuditReport(
        checks=frame,
        shortcuts=shortcuts,
        images={check.check: np.array(check.images, np.intp) for check in checks},
        near_duplicates=copies.near,
        suggested_groups=suggested,
        protocol=_protocol(cv, folds, codes, labels, groups),
    )


def _checked_target(y):
    """Return the classes, and the position of each image's class among them."""
    y = column_or_1d(y)
    missing = np.flatnonzero(pd.isna(y))
    if missing.size:
        raise ValueError(
            f"y has no value for {missing.size} image(s), the first at {missing[0]}, expected the "
            "class of each image. Leave images without a class out."
        )
    check_classification_targets(y)
    labels, codes = np.unique(y, return_inverse=True)
    if len(labels) < 2:
        raise ValueError(f"y has the single class {labels[0]!r}, expected at least two.")
    return labels, codes


def _checked_groups(groups):
    groups = column_or_1d(groups)
    missing = np.flatnonzero(pd.isna(groups))
    if missing.size:
        raise ValueError(
            f"groups has no value for {missing.size} image(s), the first at {missing[0]}, "
            "expected one for every image. An image without known relatives gets its own."
        )
    return np.unique(groups, return_inverse=True)[1]


def _make_splits(cv, y, groups, rng):
    """Return a list of (train, test), arrays of positions."""
    everything = np.arange(len(y))
    if not isinstance(cv, Integral):
        splits = check_cv(cv).split(y, y, groups)
    elif groups is None:
        splits = StratifiedKFold(cv, shuffle=True, random_state=rng).split(y, y)
    else:
        # Shuffled here, because shuffle=True undid the stratification before scikit-learn 1.8.
        order = rng.permutation(groups.max() + 1)
        splits = StratifiedGroupKFold(cv).split(y, y, np.argsort(order)[groups])
    splits = [(everything[train], everything[test]) for train, test in splits]
    if not splits:
        raise ValueError("cv has no splits, expected at least one (train, test).")
    return splits


def _names(images):
    return [
        repr(os.path.basename(item)) if is_path(item) else f"image {index}"
        for index, item in enumerate(images)
    ]


def _look(images, masks, n_jobs, verbose):
    """Read every image once; return thumbnails, digests and a table of measures."""
    looks = map_images(_look_at, images, n_jobs=n_jobs, verbose=verbose)
    thumbnails, digests, measures, shapes = zip(*looks)
    if masks is not None:
        shapes = [measure_mask(inside) for inside in masks]
        check_consistent_length(images, shapes)
    measures = [{**measure, **shape} for measure, shape in zip(measures, shapes)]
    return thumbnails, digests, pd.DataFrame(measures)


def _look_at(item, image):
    pixels = np.ma.getdata(image)
    digest = hashlib.blake2b(f"{pixels.dtype.str}{pixels.shape}".encode(), digest_size=16)
    digest.update(pixels.data)
    shape = measure_mask(inside_mask(image))
    return thumbnail(image), digest.digest(), measure_image(item, image), shape


def _find_copies(thumbnails, digests):
    sketches = Sketches.of(thumbnails)
    exact = pd.factorize(np.array(digests, dtype=object))[0]
    certain = join(join_flat(exact, sketches), sketches, sketches, **_CERTAIN)
    turned = np.arange(len(exact))
    for variant in _turned(thumbnails):
        turned = join(turned, sketches, Sketches.of(np.ascontiguousarray(variant)), **_COPY)
    return _Copies(exact, certain, unite(exact, near_duplicates(sketches)), turned)


def _turned(thumbnails):
    """Yield the thumbnails in each of the seven other positions of a square."""
    for turns in range(4):
        turned = np.rot90(thumbnails, turns, axes=(1, 2))
        if turns:
            yield turned
        yield turned[:, :, ::-1]


def _check_copies(folds, copies):
    """Check whether tested images, or what is like them, are in their training part."""
    exact, pair = folds.seen(copies.exact)
    yield _found(
        "exact copies across folds",
        "leak",
        exact,
        f"{len(exact)} tested image(s) are in their training part too, pixel by pixel"
        f"{folds.such_as(pair)}.",
    )
    certain, _ = folds.seen(copies.certain)
    near, pair = folds.seen(copies.near)
    check = _found(
        "near-duplicates across folds",
        "leak" if len(certain) else "warning",
        near,
        f"{len(near)} tested image(s) have a copy or near-duplicate in their training part, "
        f"{len(certain)} of them beyond doubt{folds.such_as(pair)}.",
    )
    yield check._replace(remedy=_DOUBT_REMEDY) if check.severity == "warning" else check
    turned, pair = folds.seen(copies.turned)
    yield _found(
        "mirrored or turned copies across folds",
        "leak",
        turned,
        f"{len(turned)} tested image(s) are in their training part mirrored or turned"
        f"{folds.such_as(pair)}.",
        "Augment inside the training fold only, by a step of an imblearn pipeline. ",
    )


def _found(check, severity, images, finding, remedy=""):
    """Return a check that fails if it found images."""
    if len(images) == 0:
        return _Check(check, "ok", "None.")
    return _Check(check, severity, finding, len(images), remedy + _GROUPS_REMEDY, tuple(images))


def _check_samples(folds):
    both = [np.intersect1d(train, test) for train, test in folds.splits]
    both = np.unique(np.concatenate(both))
    finding = f"{len(both)} image(s) are in the training and the test part of one split."
    check = _found("training part apart from test part", "leak", both, finding)
    return check._replace(remedy="Take another splitter." if len(both) else "")


def _check_groups(folds, groups):
    check = "groups across folds"
    if groups is None or len(np.unique(groups)) == len(groups):
        return _Check(
            check,
            "warning",
            "No groups: every image counts as independent.",
            remedy="Pass groups=, such as the patients. " + _GROUPS_REMEDY,
        )
    seen, pair = folds.seen(groups)
    finding = f"{len(seen)} tested image(s) have their group in the training part"
    result = _found(check, "leak", seen, f"{finding}{folds.such_as(pair)}.")
    return (
        result._replace(remedy=_GROUPS_REMEDY + " Take cv=5 or StratifiedGroupKFold.")
        if (len(seen))
        else result
    )


def _check_labels(folds, copied, codes, labels):
    mixed = pd.Series(codes).groupby(copied).transform("nunique").to_numpy() > 1
    found = np.flatnonzero(mixed)
    if not found.size:
        return _Check("labels of duplicates", "ok", "Copies and near-duplicates agree.")
    other = np.flatnonzero((copied == copied[found[0]]) & (codes != codes[found[0]]))[0]
    classes = f"{labels[codes[found[0]]]} and {labels[codes[other]]}"
    return _Check(
        "labels of duplicates",
        "warning",
        f"{len(found)} image(s) have a near-duplicate of another class"
        f"{folds.such_as((found[0], other))} ({classes}).",
        len(found),
        "Look at them: one of the labels is wrong, or the images are no duplicates.",
        tuple(found),
    )


def _check_balance(folds, codes, labels):
    """Check the classes of the parts of each split against those of all images."""
    check, classes = "classes of folds", np.arange(len(labels))
    shares = np.bincount(codes) / len(codes)
    lacking, worst = [], 0.0
    for fold, (train, test) in enumerate(folds.splits):
        if not (np.isin(classes, codes[train]).all() and np.isin(classes, codes[test]).all()):
            lacking.append(fold)
        part = np.bincount(codes[test], minlength=len(labels)) / len(test)
        worst = max(worst, np.abs(part - shares).max())
    spread = f"The share of a class in a test part differs by up to {100 * worst:.0f} points."
    if lacking:
        finding = f"The splits {lacking} lack a class in a part. {spread}"
        return _Check(check, "warning", finding, len(lacking), "Take fewer folds.")
    if worst > _SHARE:
        return _Check(check, "note", spread, remedy="Take stratified folds, or fewer.")
    return _Check(check, "ok", spread)


def _check_pipeline(pipeline, n_images):
    if pipeline is None:
        yield _Check("pipeline", "note", "No pipeline was given.", remedy="Pass pipeline=.")
        return
    samplers = [type(sampler).__name__ for sampler in misplaced_samplers(pipeline)]
    if samplers:
        yield _Check(
            "samplers in the training fold",
            "leak",
            f"{', '.join(samplers)}: no step of an imblearn pipeline, and so not confined to the "
            "training part.",
            len(samplers),
            "Make it a step of imblearn.pipeline.Pipeline.",
        )
    else:
        yield _Check("samplers in the training fold", "ok", "None elsewhere.")
    yield _check_fitted(fitted_steps(pipeline), n_images)


def _check_fitted(fitted, n_images):
    """Check steps that learned before the folds: frozen ones keep what they know."""
    check = "steps fitted before the folds"
    if not fitted:
        return _Check(check, "ok", "None.")
    leaks = any(frozen and count == n_images for _, frozen, count in fitted)
    texts = [
        type(step.estimator if frozen else step).__name__
        + " (frozen)" * frozen
        + (f" from {count} samples" if count else "")
        for step, frozen, count in fitted
    ]
    return _Check(
        check,
        "leak" if leaks else "warning",
        f"{', '.join(texts)}: learned before the folds"
        + (f", and there are {n_images} images: all of them." if leaks else "."),
        len(fitted),
        "Pass them unfitted, and images or rows that none of them has transformed. What is frozen "
        "must have learned from other patients.",
    )


def _check_shortcuts(shortcuts):
    for row in shortcuts.itertuples():
        check = f"shortcut: {row.shortcut}"
        if np.isnan(row.roc_auc):
            yield _Check(check, "ok", "The same in all images, or a class has a single group.")
            continue
        finding = (
            f"Alone it reaches ROC AUC {row.roc_auc:.2f} ({row.low:.2f} to {row.high:.2f}); "
            f"{row.baseline:.2f}, up to {row.baseline_high:.2f}, with permuted labels."
        )
        if row.roc_auc <= row.baseline_high or row.low <= row.baseline:
            yield _Check(check, "ok", finding)
            continue
        yield _Check(
            check,
            "warning",
            finding,
            remedy="Find out where it comes from. A model can learn this instead of the disease.",
        )


def _protocol(cv, folds, codes, labels, groups):
    """Say in words what was audited."""
    counts = ", ".join(f"{label}: {n}" for label, n in zip(labels, np.bincount(codes)))
    together = "without groups"
    if groups is not None:
        together = f"in {len(np.unique(groups))} groups"
    how = f"by {type(cv).__name__}" if hasattr(cv, "split") else "stratified"
    how = how if isinstance(cv, Integral) or hasattr(cv, "split") else "as given"
    return f"{len(codes)} images {together} ({counts}); {len(folds.splits)} splits, {how}."
