"""The same features and classifier under honest and leaky protocols."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
from imblearn.over_sampling import SMOTE
from sklearn.svm import SVC
from sklearn.utils import check_consistent_length

from featbus.augmentation import DIHEDRAL
from featbus.bus import FeatureBus, FeatureStore
from featbus.evaluation._evaluate import evaluate
from featbus.evaluation._intervals import FewGroupsWarning, describe_few_groups
from featbus.evaluation._protocol_comparison import ProtocolComparison
from featbus.evaluation._protocol_rows import compute_rows
from featbus.evaluation._protocol_samples import PROTOCOLS, make_steps, prepare
from featbus.groups import (
    GROUPS_FOUND,
    GroupsWarning,
    check_folds,
    check_groups,
    check_target,
    stratified_folds,
)
from featbus.images import as_batch
from featbus.model_selection import find_near_duplicates
from featbus.parameters import (
    N_JOBS,
    HasMethods,
    Interval,
    InvalidParameterError,
    Options,
    check_parameters,
)
from featbus.sampling import ImageAugmenter
from featbus.steps import learns
from featbus.wording import argument

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Literal

    from numpy.typing import ArrayLike

    from featbus.typing import Images, PathLike

_CONSTRAINTS = {
    "features": [HasMethods("transform")],
    "classifier": [HasMethods(["fit", "predict"]), None],
    "n_copies": [Interval(Integral, 0, None, closed="left")],
    "dihedral": [Options(Integral, DIHEDRAL.keys()), None],
    "target_names": ["array-like", None],
    "cv": [Interval(Integral, 2, None, closed="left")],
    "random_state": [Interval(Integral, 0, None, closed="left")],
    "memory": [str, os.PathLike, FeatureStore, None],
    "n_jobs": N_JOBS,
    "verbose": ["boolean"],
}


def compare_protocols(
    features: Any,
    X: Images,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    classifier: Any = None,
    n_copies: int = 2,
    dihedral: Literal[2, 6, 8] | None = None,
    cv: int = 5,
    target_names: Sequence[str] | None = None,
    pos_label: str | int | None = None,
    random_state: int = 0,
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> ProtocolComparison:
    """Score the same features and classifier by the honest protocol, and by those that leak.

    The honest one keeps groups together, and makes copies and synthetic rows of the training part
    alone. The others split at random, or make copies of all images, or SMOTE's rows of all rows, or
    both, before they split. Nothing else differs.

    Read more in the :ref:`User Guide <honesty>`.

    Parameters
    ----------
    features : transformer
        From images to rows; it learns nothing from the data.
    X : batch of images
        See :ref:`images`.
    y : array_like of shape (n_images,)
        The classes; integers or strings.
    groups : array_like of shape (n_images,), default=None
        Images that belong together, such as those of one patient. None: near-duplicates, found by
        `find_near_duplicates`; the result says so.
    classifier : estimator, default=None
        A classifier of rows. None: ``SVC(C=10)``, the support vector machine of the recipes.
    n_copies : int, default=2
        Number of copies of each image, made by `ImageAugmenter`. 0: no copies, and none of the
        protocols that make them before the split.
    dihedral : {None, 2, 6, 8}, default=None
        Flips and quarter turns instead of random changes, see `ImageAugmenter`: ``n_copies=5,
        dihedral=6`` gives six orientations of each image, and more copies are an error.
    cv : int, default=5
        Number of folds.
    target_names : sequence of str of length n_classes, default=None
        Names of the classes, in the order of the sorted labels.
    pos_label : str or int, default=None
        The class that metrics are about, see `evaluate`.
    random_state : int, default=0
        Seed of the copies, of the folds and of SMOTE.
    memory : str, os.PathLike, FeatureStore or None, default=None
        Where `FeatureBus` keeps the rows of images and copies for the next run.
    n_jobs : int, default=None
        Number of parallel fits, and of parallel batches of images.
    verbose : bool, default=False
        Whether to show progress.

    Returns
    -------
    ProtocolComparison
        Table, picture and sentence, and the `Evaluation` of each protocol.

    Raises
    ------
    ImageError
        If an image is invalid; the message names it.
    ValueError
        If a parameter is invalid; if `features` learns from the data or gives NaN; if there is one
        class, or too few groups or images of a class; if no protocol leaks: without copies, groups
        of several images, and classes of different sizes.

    See Also
    --------
    evaluate : The honest protocol alone, for any pipelines.
    audit : Look for leaks in the data.
    featbus.commands.honesty : The same for a folder, from the command line.

    Notes
    -----
    In all protocols, the training part has the copies of its images, is scaled to unit variance,
    balanced by SMOTE, and given to the classifier. A protocol with copies before the split makes
    those of all images, and splits everything at random; one with SMOTE before the split adds rows
    to those of all images first, and SMOTE runs in the training part as well. Random splits are
    those of `evaluate` without groups, the honest one those with groups.

    Leaky protocols are scored as publications score them: on all rows of the test parts, copies and
    synthetic rows included. Intervals are by the jackknife over groups in all protocols: a copy
    counts with the group of its image, a synthetic row with that of the nearest image of its class.
    Without this, copies would count as patients and make the intervals even narrower. SMOTE before
    the split also makes the test parts balanced; accuracy then equals balanced accuracy.

    SMOTE has five neighbors, or fewer in all protocols if a class is too small for them in the
    training part of any honest fold.

    A protocol that cannot differ is left out: "random split" if each image is a group of its own,
    SMOTE before the split if all classes have the same size.

    Examples
    --------
    >>> from featbus import IntensityStatistics, compare_protocols, make_breast_ultrasound
    >>> data = make_breast_ultrasound(60, weights=[2, 1, 1], random_state=0)
    >>> result = compare_protocols(
    ...     IntensityStatistics(), data.images, data.target, groups=data.groups, n_copies=1, cv=3
    ... )
    >>> result.to_frame().index.tolist()  # doctest: +NORMALIZE_WHITESPACE
    ['by group', 'random split', 'copies before the split', 'SMOTE before the split',
     'copies and SMOTE before the split']
    """
    check_parameters(_CONSTRAINTS, locals())
    _check_stateless(features)
    _check_orientations(n_copies, dihedral)
    X = as_batch(X)
    check_consistent_length(X, y, groups)
    y, labels, codes = check_target(y)
    named = np.shape(target_names) == labels.shape  # otherwise `evaluate` refuses them
    names = np.asarray(target_names if named else labels)
    note = "" if groups is not None else GROUPS_FOUND
    if groups is None:
        groups = find_near_duplicates(X, n_jobs=n_jobs, verbose=verbose)
    groups = check_groups(groups)
    protocols = _choose_protocols(codes, groups, n_copies)
    k_neighbors = _count_neighbors(codes, names, groups, cv, random_state)

    bus = FeatureBus(features, memory=memory, n_jobs=n_jobs)
    augmenter = ImageAugmenter(n_copies, dihedral=dihedral, random_state=random_state)
    rows = compute_rows(bus, augmenter, X, y, verbose)
    smote = SMOTE(k_neighbors=k_neighbors, random_state=random_state)
    pipeline = make_steps(SVC(C=10) if classifier is None else classifier, smote, rows.shape[2])
    options = {"cv": cv, "target_names": target_names, "pos_label": pos_label}
    options |= {"random_state": random_state, "n_jobs": n_jobs, "verbose": verbose}
    evaluations = {
        protocol.name: _evaluate(pipeline, protocol, rows, y, groups, smote, options)
        for protocol in protocols
    }
    return ProtocolComparison(
        evaluations=evaluations,
        leaks={protocol.name: _describe_leaks(protocol, groups) for protocol in protocols},
        protocol=_describe(codes, names, groups, n_copies, dihedral, cv, note),
        groups_note=note,
    )


def _check_stateless(features):
    if learns(features):
        raise InvalidParameterError(
            f"features is {type(features).__name__}, which learns from the data, expected a "
            "transformer that does not: its rows are computed before the split. Put what learns "
            "into classifier, a pipeline."
        )


def _check_orientations(n_copies, dihedral):
    """Refuse more copies than orientations: some would be equal, and leak whatever is done."""
    if dihedral is not None and n_copies >= dihedral:
        raise InvalidParameterError(
            f"{argument('n_copies', n_copies)} and {argument('dihedral', dihedral)}, expected at "
            f"most {dihedral - 1} copies: the image is one of the {dihedral} orientations."
        )


def _has_pairs(groups):
    return len(np.unique(groups)) < len(groups)


def _choose_protocols(codes, groups, n_copies):
    """Return the honest protocol, and those that can differ from it."""
    is_balanced = len({*np.bincount(codes).tolist()}) == 1

    def can_differ(protocol):
        if protocol.copies or protocol.smote:
            return n_copies >= protocol.copies and not (protocol.smote and is_balanced)
        return _has_pairs(groups)

    honest, *leaky = PROTOCOLS
    chosen = [protocol for protocol in leaky if can_differ(protocol)]
    if not chosen:
        raise ValueError(
            "No protocol can leak: there are no copies, each image is a group of its own, and all "
            "classes have the same size, so that SMOTE adds nothing. Make copies: "
            f"{argument('n_copies', 2)}."
        )
    return [honest, *chosen]


def _count_neighbors(codes, names, groups, cv, random_state):
    """Return the number of neighbors of SMOTE, the same in all protocols."""
    check_folds(names[codes], groups, cv)
    fewest = cv * len(codes)
    for train, _ in stratified_folds(codes, groups, cv, random_state):
        counts = np.bincount(codes[train], minlength=len(names))
        if counts.min() < 2:
            raise ValueError(
                f"Found a training part with {counts.min()} image(s) of the class "
                f"{str(names[counts.argmin()])!r}, expected 2 or more: SMOTE mixes neighbors. Add "
                "images of this class in other groups."
            )
        fewest = min(fewest, counts.min())
    return int(min(5, fewest - 1))


def _evaluate(pipeline, protocol, rows, y, groups, smote, options):
    """Return the evaluation of a protocol; its intervals are by the groups of the images."""
    rows, y, source = prepare(protocol, rows, y, smote)
    with warnings.catch_warnings():
        if not protocol.grouped:  # this is what a random split does
            warnings.simplefilter("ignore", GroupsWarning)
            warnings.simplefilter("ignore", FewGroupsWarning)
        known = groups[source] if protocol.grouped else None
        result = evaluate({protocol.name: pipeline}, rows, y, groups=known, **options)
    drawn = groups[source[result.predictions["index"]]]
    predictions = result.predictions.assign(group=drawn)
    return replace(result, predictions=predictions)


def _describe_leaks(protocol, groups):
    """Say what of the test part the classifier is trained on."""
    if protocol.grouped:
        return "none"
    known = {"copies": protocol.copies, "mixtures": protocol.smote}
    made = " and ".join(name for name, is_made in known.items() if is_made)
    if not made:
        return "other images of tested groups"
    return f"{'also ' if _has_pairs(groups) else ''}{made} of tested images"


def _describe(codes, names, groups, n_copies, dihedral, cv, note):
    """Describe in words what was compared."""
    classes = ", ".join(f"{name} {n}" for name, n in zip(names, np.bincount(codes)))
    kind = "" if dihedral is None else " by flips and quarter turns"
    made = [f"{n_copies} copies of each of its images{kind}"] if n_copies else []
    made += ["rows that SMOTE adds where classes differ in size"]
    few = describe_few_groups(codes, groups, names)
    lines = [
        f"{len(codes)} images in {len(np.unique(groups))} groups ({classes}); stratified {cv}-fold "
        "cross-validation.",
        *([few] if few else []),
        f"Each training part has {' and '.join(made)}. Where a protocol makes them before the "
        "split, the test part has them, too, as in publications.",
    ]
    return "\n".join([f"{note.capitalize()}.", *lines] if note else lines)
