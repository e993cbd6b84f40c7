"""Cross-validation of pipelines that keeps each group on one side of every split."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from time import perf_counter
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn import config_context
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import _safe_indexing, check_consistent_length, check_random_state
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from featbus.bus import FeatureBus, FeatureStore, FingerprintError, fingerprint
from featbus.classes import describe_positive, find_positive
from featbus.evaluation._by_group import Judge
from featbus.evaluation._evaluation import CHANCE, RESERVED, SCORES, Evaluation, score_fold
from featbus.evaluation._intervals import FewGroupsWarning, describe_few_groups
from featbus.evaluation._operating_point import find_threshold
from featbus.evaluation.splits import (
    as_text,
    check_classes,
    check_overlap,
    keep_groups_together,
    number_splits,
    repeat_splits,
    split_by_value,
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
from featbus.parameters import N_JOBS, Interval, InvalidParameterError, StrOptions, check_parameters
from featbus.steps import all_steps, is_resampler, is_search, search_in, split_extraction, steps_of
from featbus.typing import Images, PathLike
from featbus.versions import package_versions

PREFIT = "prefit"
_TOO_HIGH = "they end up on both sides of the splits and all scores are too optimistic"
_TOO_NARROW = "all intervals are too narrow"
_BEST = ["pipeline", "repeat", "fold", "score", "params"]
_SCORES = {"predict_proba": "probability", "decision_function": "decision"}
_CONSTRAINTS = {
    "cv": ["cv_object", str],
    "by": [StrOptions({"image", "group"})],
    "pool": [StrOptions({"mean", "max"}), callable],
    "label_rule": [StrOptions({"any"}), callable, None],
    "subgroups": [pd.DataFrame, Mapping, None],
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


def _extract(pipelines, X, is_prefit, memory, n_jobs, verbose):
    """Return for each pipeline the steps after those from image to row, and their input.

    Rows are computed once for all pipelines that begin with the same steps.
    """
    known, found = {}, {}
    for name, pipeline in pipelines.items():
        found[name] = pipeline, X
        # Unfitted unless it stays as it is, for the fingerprint.
        steps, rest = split_extraction(frozen(pipeline) if is_prefit else clone(pipeline))
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


def _run_fold(place, pipeline, X, y, train, test, classes, judge, metadata, subgroups):
    """Return predictions for the test part of a fold, timing, and the best parameters.

    Without a training part, the pipeline has been fitted before.
    """
    try:
        start = perf_counter()
        if len(train):
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
    groups = metadata["groups"]
    predictions = pd.DataFrame(
        {"pipeline": "", "repeat": 0, "index": test}  # in this order
        | place
        | {"group": test if groups is None else groups[test]}
        | {"target": y[test], "predicted": predicted}
        | {f"{kind}_{label}": column for label, column in zip(classes.values(), scores.T)}
        | {name: values[test] for name, values in subgroups.items()}
    )
    n_train = len(train)
    if judge is not None:
        predictions = judge(predictions, kind, find_threshold(pipeline))
        n_train = len(np.unique(groups[train]))
    timing = place | {"n_train": n_train, "n_test": len(predictions)}
    timing |= {"fit_s": fitted - start, "predict_s": seconds}
    search, best = search_in(pipeline), None
    if search is not None:
        # There is no score if `refit` is a callable.
        score = getattr(search, "best_score_", np.nan)
        best = place | {"score": score, "params": search.best_params_}
    return predictions, timing, best


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


def _describe(cv, splits, n_repeats, y, labels, groups, names, pipelines, note):
    """Describe in words what was evaluated, and how; what is doubtful about groups comes first."""
    warning = f"{note.capitalize()}.\n" if note else ""
    what = describe_samples(np.searchsorted(labels, y), names, groups)
    if isinstance(cv, Integral):
        how = f"stratified {cv}-fold cross-validation"
        how += f", repeated {n_repeats} times" if n_repeats > 1 else ""
    elif isinstance(cv, str):
        how = "fitted before, on other data" if cv == PREFIT else f"tested on one {cv} at a time"
        how += "" if cv == PREFIT else f" ({len(splits)} in all)"
    else:
        by = type(cv).__name__ if hasattr(cv, "split") else "position"
        how = f"number of splits by {by}: {len(splits)}"
    how += "" if groups is None or cv == PREFIT else ", groups kept together"
    if any(search_in(pipeline) is not None for pipeline in pipelines):
        how += "; parameters chosen within each training part"
    return f"{warning}{what}; {how}."


def evaluate(
    pipelines: Any,
    X: Images,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    by: Literal["image", "group"] = "image",
    pool: Literal["mean", "max"] | Callable = "mean",
    label_rule: Literal["any"] | Callable | None = None,
    subgroups: pd.DataFrame | Mapping | None = None,
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
    """Cross-validate pipelines on the same folds, keeping groups together, or test fitted ones.

    Read more in the :ref:`User Guide <evaluation>`.

    Parameters
    ----------
    pipelines : estimator or dict of str to estimator
        A classifier, usually a pipeline, or several by name. They are cloned, never fitted; with
        ``cv="prefit"`` they are fitted already. A search such as `GridSearchCV` chooses its
        parameters within each training part.
    X : sequence of length n_samples
        Images in any form of the image contract, or rows of features.
    y : array_like of shape (n_samples,)
        The classes; integers or strings.
    groups : array_like of shape (n_samples,), default=None
        Samples that belong together, such as images of one patient. No group is ever on both sides
        of a split; steps that request groups in `fit` get the groups of their training part. None
        counts every sample as its own patient, with a warning, and the result says so.
    by : {"image", "group"}, default="image"
        What is judged, and counted by all metrics, intervals, comparisons and figures. "group": the
        scores of the images of a group are pooled, and the group gets the class with the highest
        pooled score, or the one that an operating point says, see
        :func:`~featbus.evaluation.at_sensitivity`. Pipelines are trained on images in both cases.
    pool : {"mean", "max"} or callable, default="mean"
        How scores are pooled by group. "max": of two classes, the highest score of the positive
        one; of more, the highest of each class, scaled to a sum of 1. A callable gets the scores of
        a group's images, an ndarray of shape (n_images, n_classes), and returns one per class.
    label_rule : "any", callable or None, default=None
        The class of a group whose images have different ones. "any": the positive class, if any
        image has it. A callable gets the classes of the images of a group, an ndarray, and returns
        one of them. None: an error where classes differ.
    subgroups : DataFrame or dict of str to array_like, default=None
        What else is known of each sample, such as the site, the manufacturer or the view: columns
        of length n_samples, see
        `featbus.evaluation.Evaluation.by_subgroup`.
    masks : sequence of length n_samples, default=None
        The mask of each image, see `featbus.io.read_mask`, for the steps that request it: a
        `featbus.ROICropper` trains its segmenter on the masks of the training part of each fold.
        Those of the test part are not used.
    cv : int, splitter, iterable of (train, test) or str, default=5
        Number of folds of a stratified, shuffled cross-validation, or another way to split, as in
        scikit-learn. None: five folds. The name of a column of `subgroups`, such as "site": each of
        its values is tested in turn, by pipelines that were trained on all others; of a group with
        several values, no image is trained on when one of them is tested. "prefit": `pipelines`
        are fitted already, on other data, and tested on all samples.
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
        If `by` is "group" and groups are unknown, or their images have different classes and there
        is no `label_rule`; if a group is on both sides of a split, or of a split within a training
        part; if a training part lacks a class; if a pipeline cannot give one score per class, such
        as an `SVC` with
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

    Fitted pipelines are not fitted again, and the classes of `y` may be some of theirs. Chance is
    then the most frequent class of `y`. The variance of the scores is that due to the tested groups
    alone: the intervals are for this model on new groups of this kind.

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
    subgroups = _check_subgroups(subgroups, cv)
    check_consistent_length(X, y, groups, masks, *subgroups.values())
    y, labels, codes = check_target(y)
    note, groups = find_doubt(groups), check_groups(groups)
    metadata = {"masks": masks, "groups": groups}
    requested = [_requested(pipeline, metadata) for pipeline in pipelines.values()]
    if masks is not None and not any("masks" in names for names in requested):
        raise InvalidParameterError(
            "masks were given, and no step of a pipeline requests them. Leave them out, or add a "
            "step that learns from them: ROICropper(UNetSegmenter())."
        )
    if groups is None and by == "group":
        raise InvalidParameterError("by is 'group' and groups is None, expected groups.")
    if groups is None:
        warnings.warn(
            f"{GROUPS_UNKNOWN.capitalize()}. If a patient has several images, or images are "
            f"near-duplicates, {_TOO_NARROW if cv == PREFIT else _TOO_HIGH}. Pass groups= to say "
            "which belong together.",
            GroupsWarning,
            stacklevel=2,
        )
    if cv == PREFIT:
        labels = _known_classes(pipelines, labels)
    names = check_names(labels, target_names)
    positive, source = find_positive(labels, None if target_names is None else names, pos_label)
    is_seed = isinstance(random_state, Integral)
    seed = int(random_state if is_seed else check_random_state(random_state).randint(2**31 - 1))
    judge, judged = None, y
    if by == "group":
        judge = Judge(label_rule, pool, labels.tolist(), names, positive)
        targets = judge.label(y, groups)
        judged = targets.loc[groups].to_numpy()
        if targets.nunique() == 1 and cv != PREFIT:
            raise ValueError(
                f"All {len(targets)} groups are of the class {str(targets.iloc[0])!r}, expected at "
                "least two classes of groups. Judge images, or pass another label_rule."
            )
    if cv == PREFIT:
        splits = [(np.arange(0), np.arange(len(y)))]
    else:
        check_folds(np.take(names, codes), groups, cv)
        if isinstance(cv, str):
            splits = split_by_value(subgroups[cv], groups)
        else:
            splits = repeat_splits(cv, n_repeats, X, y, groups, seed)
        check_overlap(splits, groups, len(y))
        check_classes(splits, y, judged, labels, names)
    tested = np.unique(np.concatenate([test for _, test in splits]))
    few = describe_few_groups(
        np.searchsorted(labels, judged[tested]), None if groups is None else groups[tested], names
    )
    if few:
        warnings.warn(few, FewGroupsWarning, stacklevel=2)

    classes = dict(zip(labels.tolist(), names))
    given = _extract(pipelines, X, cv == PREFIT, memory, n_jobs, verbose)
    places = [{"repeat": repeat, "fold": fold} for repeat, fold in number_splits(splits)]
    jobs = [
        delayed(_run_fold)(
            {"pipeline": name} | place,
            keep_groups_together(pipeline, y, groups, train, seed) if len(train) else pipeline,
            *(rows, y, train, test, classes, judge, metadata, subgroups),
        )
        for name, (pipeline, rows) in given.items()
        for place, (train, test) in zip(places, splits)
    ]
    results = Parallel(n_jobs=n_jobs, return_as="generator")(jobs)
    results = [*tqdm(results, "evaluate", len(jobs), unit="fit", disable=not verbose)]

    pos_name = None if positive is None else names[positive]
    protocol = _describe(cv, splits, n_repeats, y, labels, groups, names, pipelines.values(), note)
    protocol += "" if judge is None else judge.describe(judge.label(y[tested], groups[tested]))
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
        "by": by,
    }
    arrays = y, np.arange(len(y)) if groups is None else groups, classes, judge
    guesses = [_guess(place, *split, *arrays) for place, split in zip(places, splits)]
    chance = Evaluation(**_as_tables(guesses, classes, positive), **common)
    return Evaluation(**_as_tables(results, classes, positive), **common, chance=chance)


def _check_subgroups(subgroups, cv):
    """Return the columns of `subgroups` as arrays of text."""
    columns = {} if subgroups is None else dict(subgroups)
    found = {name: as_text(values) for name, values in columns.items()}
    wrong = {name for name in found if name in RESERVED or name.startswith(SCORES)}
    if wrong:
        raise InvalidParameterError(f"subgroups has the columns {sorted(wrong)}, expected others.")
    if isinstance(cv, str) and cv != PREFIT and cv not in found:
        raise InvalidParameterError(
            f"cv is {cv!r}, expected {PREFIT!r}, a column of subgroups ({[*found]}), a number of "
            "folds, a splitter or splits."
        )
    return found


def _known_classes(pipelines, labels):
    """Return the classes of fitted pipelines, which must be the same; `y` may have some of them."""
    for pipeline in pipelines.values():
        check_is_fitted(pipeline)
    known = [np.asarray(pipeline.classes_).tolist() for pipeline in pipelines.values()]
    if any(each != known[0] for each in known) or not {*labels.tolist()} <= {*known[0]}:
        raise ValueError(
            f"y has the classes {labels.tolist()}, and the fitted pipelines have {known}, expected "
            "one set of classes that has those of y."
        )
    return np.array(known[0])


def frozen(model):
    """Return a fitted pipeline whose steps learn nothing more, so that it can be split.

    Parameters
    ----------
    model : estimator
        A fitted classifier, usually a pipeline.

    Returns
    -------
    estimator
        Without samplers; of a search, its best pipeline.
    """
    while is_search(model):
        model = model.best_estimator_
    if not isinstance(model, Pipeline):
        return model
    *steps, last = [step for step in steps_of(model) if not is_resampler(step[1])]
    steps = [
        (name, step.transformer_ if isinstance(step, FeatureBus) else step) for name, step in steps
    ]
    return Pipeline([*((name, FrozenEstimator(step)) for name, step in steps), last])


def _guess(place, train, test, y, groups, classes, judge):
    """Return the predictions of a fold by chance: the most frequent class, shares as scores."""
    place, labels = {"pipeline": CHANCE} | place, [*classes]
    timing = place | {"n_train": len(train), "n_test": len(test), "fit_s": 0.0, "predict_s": 0.0}
    train = train if len(train) else test
    known, target, ids = y[train], y[test], groups[test]
    if judge is not None:
        known, targets = judge.label(known, groups[train]), judge.label(target, ids)
        test = test[np.unique(ids, return_index=True)[1]]
        target, ids = targets.to_numpy(), targets.index.to_numpy()
    shares = [(known == label).mean() for label in labels]
    predictions = pd.DataFrame(
        place
        | {"index": test, "group": ids, "target": target, "predicted": labels[np.argmax(shares)]}
        | {f"probability_{name}": share for name, share in zip(classes.values(), shares)}
    )
    return predictions, timing, None


def _as_tables(results, classes, positive):
    """Return the results of folds as the tables of an `Evaluation`."""
    frames, timings, best = zip(*results)
    predictions = pd.concat(frames, ignore_index=True)
    rank = pd.factorize(predictions["pipeline"])[0]
    order = np.lexsort([predictions["index"], predictions["repeat"], rank])
    scores = [score_fold(frame, [*classes], [*classes.values()], positive) for frame in frames]
    return {
        "scores": pd.DataFrame(scores),
        "predictions": predictions.iloc[order].reset_index(drop=True),
        "timings": pd.DataFrame(timings),
        "best_params": pd.DataFrame([found for found in best if found is not None], columns=_BEST),
    }
