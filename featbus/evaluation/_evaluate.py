"""Cross-validation of pipelines that keeps each group on one side of every split."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn import config_context
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import _safe_indexing, check_consistent_length, check_random_state
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.parallel import Parallel, delayed
from tqdm import tqdm

from featbus.bus import FeatureBus, FeatureStore, FingerprintError, fingerprint
from featbus.classes import describe_positive, find_positive
from featbus.evaluation._evaluation import CHANCE, Evaluation, fold_metrics
from featbus.evaluation._intervals import FewGroupsWarning, describe_few_groups
from featbus.evaluation._metrics import METRICS
from featbus.evaluation.splits import (
    check_classes,
    check_overlap,
    keep_groups_together,
    number_splits,
    repeat_splits,
)
from featbus.groups import (
    GROUPS_UNKNOWN,
    N_FOLDS,
    GroupsWarning,
    check_folds,
    check_groups,
    check_target,
    describe_samples,
    find_doubt,
)
from featbus.parameters import N_JOBS, Interval, InvalidParameterError, check_parameters
from featbus.steps import all_steps, search_in, split_extraction
from featbus.typing import Images, PathLike
from featbus.versions import package_versions

_BEST = ["pipeline", "repeat", "fold", "score", "params"]
_SCORES = {"predict_proba": "probability", "decision_function": "decision"}
_CONSTRAINTS = {
    "cv": ["cv_object"],
    "n_repeats": [Interval(Integral, 1, None, closed="left")],
    "target_names": ["array-like", None],
    "pos_label": [str, Real, np.bool_, None],
    "random_state": ["random_state"],
    "memory": [str, os.PathLike, FeatureStore, None],
    "n_jobs": N_JOBS,
    "verbose": ["boolean"],
}


def check_names(labels, target_names):
    """Return the names of the classes as str.

    Parameters
    ----------
    labels : ndarray of shape (n_classes,)
        The classes, sorted.
    target_names : sequence of str, or None
        Their names.

    Returns
    -------
    list of str
        One name per class.
    """
    if target_names is None:
        return [str(label) for label in labels]
    labels, names = labels.tolist(), [str(name) for name in target_names]
    is_complete = len(names) == len(set(names)) == len(labels)
    swapped = any(name in labels and name != label for label, name in zip(labels, names))
    if not is_complete or swapped:
        raise ValueError(
            f"target_names is {list(target_names)}, expected a different name for each of the "
            f"{len(labels)} classes in y, in this order: {labels}."
        )
    return names


def _extract(pipelines, X, memory, n_jobs, verbose):
    """Return for each pipeline the steps after those from image to row, and their input.

    Rows are computed once for all pipelines that begin with the same steps.
    """
    known, found = {}, {}
    for name, pipeline in pipelines.items():
        found[name] = pipeline, X
        steps, rest = split_extraction(clone(pipeline))  # unfitted, for the fingerprint
        if not steps:
            continue
        output = getattr(steps[-1][1], "_sklearn_output_config", {})
        try:
            key = fingerprint(make_pipeline(*(step for _, step in steps))), repr(output)
        except FingerprintError:
            continue
        if key not in known:
            bus = clone(steps[0][1] if len(steps) == 1 else Pipeline(steps))
            if not isinstance(bus, FeatureBus):
                bus = FeatureBus(bus, memory=memory, n_jobs=n_jobs, verbose=verbose)
            elif bus.memory is None:
                bus.set_params(memory=memory)
            known[key] = bus.set_output(**output).fit_transform(X)
        found[name] = rest, known[key]
    return found


def _score_classes(pipeline, X, labels):
    """Return the kind of a fitted pipeline's scores, and the scores in the order of `labels`."""
    name = type(pipeline).__name__
    method = next((method for method in _SCORES if hasattr(pipeline, method)), None)
    if method is None:
        raise ValueError(
            f"{name} has neither predict_proba nor decision_function, expected one score per "
            "class. Wrap the classifier in CalibratedClassifierCV; of a VotingClassifier, pass "
            "voting='soft'."
        )
    pairs = (getattr(step, "decision_function_shape", "") == "ovo" for step in all_steps(pipeline))
    if method == "decision_function" and len(labels) > 2 and any(pairs):
        raise ValueError(
            f"{name} has decision_function_shape='ovo', expected one score per class. Pass 'ovr', "
            "which predicts the same."
        )
    scores = np.asarray(getattr(pipeline, method)(X))
    if scores.ndim == 1:  # decision values of two classes
        scores = np.column_stack([-scores, scores])
    classes = np.asarray(getattr(pipeline, "classes_", labels)).tolist()
    if set(classes) != set(labels) or scores.shape[1:] != (len(classes),):
        raise ValueError(
            f"Found scores of shape {scores.shape} for the classes {classes}, expected one column "
            f"for each of the classes {labels}. The classifier has to keep all classes."
        )
    return _SCORES[method], scores[:, [classes.index(label) for label in labels]]


def _run_fold(place, pipeline, X, y, train, test, classes, positive, metadata):
    """Return predictions for the test part of a fold, timing, best parameters and metrics."""
    try:
        start = perf_counter()
        _fit(pipeline, X, y, train, metadata)
        fitted, X_test = perf_counter(), _safe_indexing(X, test)
        predicted, seconds = pipeline.predict(X_test), perf_counter() - fitted
        kind, scores = _score_classes(pipeline, X_test, [*classes])
    except Exception as error:
        error.add_note(
            f"In fold {place['fold']} of {place['pipeline']!r}; positions of images are those in "
            "the training or test part."
        )
        raise
    ids = test if metadata["groups"] is None else metadata["groups"][test]
    order = {"pipeline": "", "repeat": 0, "index": test}
    predictions = pd.DataFrame(
        order
        | place
        | {"group": ids, "target": y[test], "predicted": predicted}
        | {f"{kind}_{label}": column for label, column in zip(classes.values(), scores.T)}
    )
    timing = place | {"n_train": len(train), "n_test": len(test)}
    timing |= {"fit_s": fitted - start, "predict_s": seconds}
    metrics = fold_metrics(predictions, [*classes], [*classes.values()], positive)
    scores = place | dict(zip(METRICS, metrics(np.ones((1, len(test))))[0][0].tolist()))
    search, best = search_in(pipeline), None
    if search is not None:
        # There is no score if `refit` is a callable.
        score = getattr(search, "best_score_", np.nan)
        best = place | {"score": score, "params": search.best_params_}
    return predictions, timing, best, scores


def _fit(pipeline, X, y, train, metadata):
    """Fit a pipeline, with those metadata that one of its steps requests."""
    requested = _requested(pipeline, metadata)
    with config_context(enable_metadata_routing=bool(requested)):
        routed = {name: _safe_indexing(metadata[name], train) for name in requested}
        pipeline.fit(_safe_indexing(X, train), y[train], **routed)


def _requested(pipeline, metadata):
    """Return the names of the metadata that a step requests in `fit`."""
    given = [name for name, values in metadata.items() if values is not None]
    with config_context(enable_metadata_routing=True):
        return get_routing_for_object(pipeline).consumes("fit", given) if given else set()


def _describe(cv, splits, n_repeats, codes, groups, names, pipelines, note):
    """Describe in words what was evaluated, and how; what is doubtful about groups comes first."""
    warning = f"{note.capitalize()}.\n" if note else ""
    if isinstance(cv, Integral):
        how = f"stratified {cv}-fold cross-validation"
        how += f", repeated {n_repeats} times" if n_repeats > 1 else ""
    else:
        by = type(cv).__name__ if hasattr(cv, "split") else "position"
        how = f"number of splits by {by}: {len(splits)}"
    how += "" if groups is None else ", groups kept together"
    if any(search_in(pipeline) is not None for pipeline in pipelines):
        how += "; parameters chosen within each training part"
    return f"{warning}{describe_samples(codes, names, groups)}; {how}."


def evaluate(
    pipelines: Any,
    X: Images,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    masks: Images | None = None,
    cv: Any = 5,
    n_repeats: int = 1,
    target_names: Sequence[str] | None = None,
    pos_label: str | int | None = None,
    random_state: int | np.random.RandomState | None = 0,
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Evaluation:
    """Cross-validate pipelines on the same folds, keeping groups together.

    Read more in the :ref:`User Guide <evaluation>`.

    Parameters
    ----------
    pipelines : estimator or dict of str to estimator
        A classifier, usually a pipeline, or several by name. They are cloned, never fitted. A
        search such as `GridSearchCV` chooses its parameters within each training part.
    X : sequence of length n_samples
        Images in any form of the image contract, or rows of features.
    y : array_like of shape (n_samples,)
        The classes; integers or strings.
    groups : array_like of shape (n_samples,), default=None
        Samples that belong together, such as images of one patient. No group is ever on both sides
        of a split; steps that request groups in `fit` get the groups of their training part. None
        counts every sample as its own patient, with a warning, and the result says so.
    masks : sequence of length n_samples, default=None
        The mask of each image, see `featbus.io.read_mask`, for the steps that request it: a
        `featbus.ROICropper` trains its segmenter on the masks of the training part of each fold.
        Those of the test part are not used.
    cv : int, splitter or iterable of (train, test), default=5
        Number of folds of a stratified, shuffled cross-validation, or another way to split, as in
        scikit-learn. None: five folds.
    n_repeats : int, default=1
        Number of times to repeat the cross-validation with different folds; requires a number as
        `cv`.
    target_names : sequence of str of length n_classes, default=None
        Names of the classes, in the order of the sorted labels.
    pos_label : str or int, default=None
        The class that sensitivity, specificity, precision, NPV, F1, ROC AUC and PR AUC are about,
        against all others: a label in `y` or one of `target_names`. None guesses which of two
        classes is looked for by its name, such as "malignant", "cancer" or "positive", see
        `featbus.classes.positive_class`; of labels 0 and 1, -1 and 1, or False and True without
        names it takes 1, as scikit-learn does. Where neither says which one, and with more than two
        classes, metrics are means over the classes; of two, tables show both.
    random_state : int, RandomState instance or None, default=0
        Seed of the shuffling, kept in the result. It does not seed the pipelines.
    memory : str, os.PathLike, FeatureStore or None, default=None
        Where `FeatureBus` keeps the rows of images for the next run. None does not keep them.
    n_jobs : int, default=None
        Number of parallel fits, and of parallel batches of images, see `joblib.Parallel`.
    verbose : bool, default=False
        Whether to show a progress bar.

    Returns
    -------
    Evaluation
        Scores by fold, the prediction for each sample, tables, comparisons and figures.

    Raises
    ------
    ValueError
        If a group is on both sides of a split, or of a split within a training part; if a training
        part lacks a class; if a pipeline cannot give one score per class, such as an `SVC` with
        ``decision_function_shape="ovo"`` or a hard `VotingClassifier`; if `y` has a single class,
        or a class has fewer groups than folds; if lengths or names do not match; if a parameter is
        invalid. All of this is checked before any feature is computed, except the scores, which
        are checked in the first fold.

    Warns
    -----
    GroupsWarning
        If `groups` is None.
    FewGroupsWarning
        If fewer than 40 groups, or fewer than 8 groups of a class, are tested: below these numbers,
        the intervals have not been shown to reach a coverage of 93%. The protocol says so, too.
    UserWarning
        If the test part of a fold lacks a class.

    See Also
    --------
    compare_protocols : The same features and classifier under protocols that leak.

    Notes
    -----
    With an integer `cv` and groups, the splits are those of
    ``StratifiedGroupKFold(cv, shuffle=True, random_state=random_state)`` of scikit-learn 1.8 and
    later; before, its shuffling undid the stratification. Each repeat adds 1 to the seed.

    Pipelines often begin with the same steps from images to rows. If these learn nothing
    (extractors, and image steps before them), or are frozen, they are computed once for all
    pipelines and folds, before the folds are made: each row depends on its image alone. Steps that
    learn stay in the fold. So do steps whose parameters are searched: use a `FeatureBus` with a
    store to compute their rows once.

    Estimators that cross-validate in `fit` (searches, `CalibratedClassifierCV`,
    `TunedThresholdClassifierCV`, `StackingClassifier`, `LogisticRegressionCV`, `RFECV`,
    `SequentialFeatureSelector`) keep groups together within the training part, too, if their `cv`
    is a number or None; a splitter that separates groups is refused. This holds for estimators
    evaluated directly, for steps of a pipeline before any sampler, and for what a
    `VotingClassifier` joins.

    Metrics that need a class missing from a test part are NaN in that fold, and ignored in the
    means.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from featbus import evaluate
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat([0, 1], 30)
    >>> X = rng.normal(size=(60, 2)) + y[:, np.newaxis]
    >>> patient = np.arange(60) // 2
    >>> names = ["benign", "malignant"]
    >>> result = evaluate(LogisticRegression(), X, y, groups=patient, target_names=names)
    >>> result.confusion_matrix()  # doctest: +NORMALIZE_WHITESPACE
    predicted  benign  malignant
    true
    benign         24          6
    malignant       8         22
    >>> result.scores.shape, result.predictions.shape
    ((5, 14), (60, 9))
    """
    check_parameters(_CONSTRAINTS, locals())
    cv = N_FOLDS if cv is None else cv
    pipelines = dict(pipelines) if isinstance(pipelines, Mapping) else {"pipeline": pipelines}
    if not pipelines:
        raise ValueError("Got no pipelines, expected at least one.")
    check_consistent_length(X, y, groups, masks)
    y, labels, codes = check_target(y)
    note, groups = find_doubt(groups), check_groups(groups)
    metadata = {"masks": masks, "groups": groups}
    requested = [_requested(pipeline, metadata) for pipeline in pipelines.values()]
    if masks is not None and not any("masks" in names for names in requested):
        raise InvalidParameterError(
            "masks were given, and no step of a pipeline requests them. Leave them out, or add a "
            "step that learns from them: ROICropper(UNetSegmenter())."
        )
    if groups is None:
        warnings.warn(
            f"{GROUPS_UNKNOWN.capitalize()}. If a patient has several images, or images are "
            "near-duplicates, they end up on both sides of the splits and all scores are too "
            "optimistic. Pass groups= to say which belong together.",
            GroupsWarning,
            stacklevel=2,
        )
    names = check_names(labels, target_names)
    named = target_names is not None
    positive, source = find_positive(labels, names if named else None, pos_label)
    is_seed = isinstance(random_state, Integral)
    seed = int(random_state if is_seed else check_random_state(random_state).randint(2**31 - 1))
    check_folds(np.take(names, codes), groups, cv)
    splits = repeat_splits(cv, n_repeats, X, y, groups, seed)
    check_overlap(splits, groups, len(y))
    check_classes(splits, y, labels, names)
    tested = np.unique(np.concatenate([test for _, test in splits]))
    few = describe_few_groups(codes[tested], None if groups is None else groups[tested], names)
    if few:
        warnings.warn(few, FewGroupsWarning, stacklevel=2)

    classes = dict(zip(labels.tolist(), names))
    given = _extract(pipelines, X, memory, n_jobs, verbose)
    # It predicts the most frequent class, with the shares of the classes as probabilities.
    chance = {CHANCE: (DummyClassifier(), np.zeros((len(y), 1)))}
    jobs = [
        delayed(_run_fold)(
            {"pipeline": name, "repeat": repeat, "fold": fold},
            keep_groups_together(pipeline, y, groups, train, seed),
            *(rows, y, train, test, classes, positive, metadata),
        )
        for name, (pipeline, rows) in [*given.items(), *chance.items()]
        for (repeat, fold), (train, test) in zip(number_splits(splits), splits)
    ]
    results = Parallel(n_jobs=n_jobs, return_as="generator")(jobs)
    results = [*tqdm(results, "evaluate", len(jobs), unit="fit", disable=not verbose)]
    pos_name = None if positive is None else names[positive]
    protocol = _describe(cv, splits, n_repeats, codes, groups, names, pipelines.values(), note)
    protocol += f"\n{few}" if few else ""
    if len(labels) == 2 or source:
        protocol += f"\n{describe_positive(pos_name, source)}"
    common = {
        "labels": labels,
        "target_names": names,
        "pos_name": pos_name,
        "protocol": protocol,
        "versions": package_versions(),
        "random_state": seed,
        "has_groups": groups is not None,
        "groups_note": note,
    }
    chance = Evaluation(**_as_tables(results[-len(splits) :]), **common)
    return Evaluation(**_as_tables(results[: -len(splits)]), **common, chance=chance)


def _as_tables(results):
    """Return the results of folds as the tables of an `Evaluation`."""
    frames, timings, best, scores = zip(*results)
    predictions = pd.concat(frames, ignore_index=True)
    rank = pd.factorize(predictions["pipeline"])[0]
    order = np.lexsort([predictions["index"], predictions["repeat"], rank])
    return {
        "scores": pd.DataFrame(scores),
        "predictions": predictions.iloc[order].reset_index(drop=True),
        "timings": pd.DataFrame(timings),
        "best_params": pd.DataFrame([found for found in best if found is not None], columns=_BEST),
    }
