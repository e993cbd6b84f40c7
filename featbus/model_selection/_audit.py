"""The audit of a data set, its folds and its pipeline."""

from __future__ import annotations

import os
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.model_selection import PredefinedSplit, check_cv
from sklearn.utils import check_consistent_length, check_random_state

from featbus.groups import (
    GROUPS_UNKNOWN,
    N_FOLDS,
    check_folds,
    check_groups,
    check_target,
    merge_labelings,
    stratified_folds,
)
from featbus.images import as_batch, is_path
from featbus.io import read_mask
from featbus.masks import inside_mask
from featbus.model_selection import _checks
from featbus.model_selection._copies import digest_pixels, find_matches
from featbus.model_selection._measures import measure_image, measure_mask
from featbus.model_selection._near_duplicates import map_images
from featbus.model_selection._report import AuditReport
from featbus.model_selection._scenes import describe_scene
from featbus.model_selection._shortcuts import score_shortcuts
from featbus.parameters import N_JOBS, HasMethods, SequenceOf, check_parameters
from featbus.typing import Images

_PARAMETER_CONSTRAINTS = {
    "pipeline": [HasMethods("get_params"), SequenceOf(HasMethods("get_params")), dict, None],
    "cv": ["cv_object"],
    "random_state": ["random_state"],
    "n_jobs": N_JOBS,
    "verbose": ["verbose"],
}


def audit(
    images: Images,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    cv: Any = 5,
    pipeline: Any = None,
    masks: Images | None = None,
    random_state: int | np.random.RandomState | None = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> AuditReport:
    """Look for what inflates scores: leaks between folds, and shortcuts to the label.

    No model of the image content is trained, and the pipeline is not run.

    Read more in the :ref:`User Guide <audit>`.

    Parameters
    ----------
    images : batch of images
        See :ref:`images`. Paths are read one at a time.
    y : array_like of shape (n_images,)
        The classes; integers or strings.
    groups : array_like of shape (n_images,), default=None
        Images that belong together, such as those of one patient. None: unknown; the report says
        so.
    cv : int, splitter or iterable of (train, test), default=5
        The folds to audit. An int specifies the number of stratified, shuffled folds, which keep
        groups together: the same folds as in `evaluate`. None: five folds.
    pipeline : estimator or list of estimator, default=None
        The estimator to cross-validate, or the steps of a workflow in order.
    masks : sequence of length n_images, default=None
        The mask of each image, as in the data sets' ``masks``: a tuple of paths, an array, or None
        for an image without a mask other than its own, if it is a masked array. They are read one
        at a time, with their image.
    random_state : int, RandomState instance or None, default=0
        Seed of the folds and of all random draws.
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
    ImageError
        If images or masks are invalid; the message names the images, all of them.
    ValueError
        If lengths do not match, `y` has a single class, a class has fewer groups than folds, a
        group or label is missing, or a parameter is invalid.

    See Also
    --------
    find_near_duplicates : Group copies and near-copies.
    evaluate : Cross-validate with groups kept together.

    Notes
    -----
    The :ref:`user guide <audit>` lists all checks and explains how shortcuts are measured.

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
    check_parameters(_PARAMETER_CONSTRAINTS, locals())
    cv = N_FOLDS if cv is None else cv
    images = as_batch(images)
    check_consistent_length(images, y, groups, masks)
    _, labels, codes = check_target(y)
    groups = check_groups(groups)
    check_folds(y, groups, cv)
    rng = check_random_state(random_state)
    folds = _checks.Folds(_make_splits(cv, codes, groups, rng), _name_images(images))
    masks = [None] * len(images) if masks is None else masks
    seen = map_images(_measure, images, images, masks, n_jobs=n_jobs, verbose=verbose)
    scenes, digests, measures = zip(*seen)
    exact = pd.factorize(np.array(digests, dtype=object))[0]
    copies = find_matches(scenes, n_jobs=n_jobs)
    copied = copies.groups()
    suggested = copied if groups is None else merge_labelings(groups, copied)
    shortcuts = score_shortcuts(
        pd.DataFrame(measures), codes, suggested, random_state=rng, verbose=verbose
    )
    checks = [
        *_checks.check_copies(folds, exact, copies),
        _checks.check_groups_apart(folds, groups),
        _checks.check_labels(folds, copied, codes, labels),
        _checks.check_classes(folds, codes),
        *_checks.check_pipeline(pipeline, len(codes)),
        *_checks.check_shortcuts(shortcuts),
    ]
    return AuditReport(
        checks=pd.DataFrame(checks, columns=_checks.Check._fields).drop(columns="images"),
        shortcuts=shortcuts,
        images={check.check: np.array(check.images, np.intp) for check in checks},
        near_duplicates=copied,
        suggested_groups=suggested,
        protocol=_describe(cv, folds, codes, labels, groups),
        groups_note=GROUPS_UNKNOWN if groups is None else "",
    )


def _make_splits(cv, codes, groups, rng):
    """Return a list of (train, test), arrays of positions."""
    if isinstance(cv, Integral):
        return stratified_folds(codes, groups, cv, rng)
    everything = np.arange(len(codes))
    # A predefined split would warn that it ignores groups; `check_groups_apart` looks at them.
    groups = None if isinstance(cv, PredefinedSplit) else groups
    splits = check_cv(cv).split(codes, codes, groups)
    splits = [(everything[train], everything[test]) for train, test in splits]
    if not splits:
        raise ValueError("cv has no splits, expected at least one (train, test).")
    return splits


def _name_images(images):
    """Return the names of images in messages: files relative to the folder of all of them."""
    folders = [os.path.dirname(os.path.abspath(item)) for item in images if is_path(item)]
    top = os.path.commonpath(folders) if folders else None
    return [
        repr(Path(os.path.relpath(item, top)).as_posix()) if is_path(item) else f"image {index}"
        for index, item in enumerate(images)
    ]


def _measure(image, item, mask):
    """Return the scene of an image, the digest of its pixels, and its measures."""
    inside = read_mask(mask, image.shape)
    inside = inside_mask(image) if inside is None else inside
    digest = digest_pixels(np.ma.getdata(image))
    return describe_scene(image), digest, measure_image(item, image) | measure_mask(inside)


def _describe(cv, folds, codes, labels, groups):
    """Describe what was audited."""
    counts = ", ".join(f"{label}: {n}" for label, n in zip(labels, np.bincount(codes)))
    within = "" if groups is None else f" in {len(np.unique(groups))} groups"
    known = f", {GROUPS_UNKNOWN}" if groups is None else ""
    how = f"by {type(cv).__name__}" if hasattr(cv, "split") else "as given"
    how = "stratified" if isinstance(cv, Integral) else how
    return f"{len(codes)} images{within} ({counts}){known}; splits: {len(folds.splits)}, {how}."
