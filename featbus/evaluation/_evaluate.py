"""Cross-validation of pipelines, with images of one group on one side of every split."""

import warnings
from collections.abc import Mapping
from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import _safe_indexing, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.parallel import Parallel, delayed
from tqdm import tqdm

from featbus.evaluation._evaluation import Evaluation
from featbus.evaluation._metrics import classification_metrics
from featbus.evaluation._splits import check_classes, check_overlap, checked_groups, make_splits

_NO_GROUPS = (
    "groups=None counts every sample as independent. If a patient has several images, or images "
    "are near-duplicates, they end up on both sides of the splits and all scores are too "
    "optimistic. Pass groups=, one value per sample."
)


def _checked_target(y):
    """Return the target as an array of two or more classes."""
    y = column_or_1d(y)
    check_classification_targets(y)
    if len(np.unique(y)) < 2:
        raise ValueError(f"y has the single class {y[0]!r}, expected at least two.")
    return y


def _checked_names(labels, target_names):
    """Return the classes' names as str."""
    if target_names is None:
        return [str(label) for label in labels]
    if not len(target_names) == len(set(target_names)) == len(labels):
        raise ValueError(
            f"target_names is {list(target_names)}, expected a different name for each of the "
            f"{len(labels)} classes in y, in this order: {labels.tolist()}."
        )
    return [str(name) for name in target_names]


def _positive_class(labels, names, pos_label):
    """Return the position of the positive class, or None for the mean over all classes."""
    if pos_label is None:
        return 1 if len(labels) == 2 else None
    for known in (labels.tolist(), names):
        if pos_label in known:
            return known.index(pos_label)
    raise ValueError(
        f"pos_label is {pos_label!r}, expected one of the classes {labels.tolist()} or of their "
        f"names {names}."
    )


def _predict_fold(name, fold, pipeline, X, y, train, test, class_names):
    """Return the predictions for the test part of one fold."""
    try:
        pipeline.fit(_safe_indexing(X, train), y[train])
        X_test = _safe_indexing(X, test)
        predicted = pipeline.predict(X_test)
        kind, scores = _class_scores(pipeline, X_test)
    except Exception as error:
        error.add_note(f"In fold {fold} of {name!r}; images are counted within a part of the fold.")
        raise
    frame = pd.DataFrame(
        {"pipeline": name, "index": test, "fold": fold, "target": y[test], "predicted": predicted}
    )
    return frame.assign(
        **{f"{kind}_{label}": column for label, column in zip(class_names, scores.T)}
    )


def _class_scores(pipeline, X):
    """Return what the scores are, and one column of them for each class."""
    if hasattr(pipeline, "predict_proba"):
        return "probability", pipeline.predict_proba(X)
    decision = pipeline.decision_function(X)
    if decision.ndim == 1:
        decision = np.column_stack([-decision, decision])
    return "decision", decision


def _protocol(cv, splits, y, groups, names):
    """Say in words what was evaluated, and how."""
    counts = np.unique(y, return_counts=True)[1]
    classes = ", ".join(f"{name} {count}" for name, count in zip(names, counts))
    if groups is None:
        data, together = f"{len(y)} samples", "without groups"
    else:
        data = f"{len(y)} samples in {len(np.unique(groups))} groups"
        together = "groups kept together"
    if isinstance(cv, Integral):
        return f"{data} ({classes}); stratified {cv}-fold cross-validation, {together}."
    splitter = f" by {type(cv).__name__}" if hasattr(cv, "split") else ""
    return f"{data} ({classes}); cross-validation on {len(splits)} splits{splitter}, {together}."


def _score_folds(frames, labels, positive):
    """Return the metrics of each fold, one row each."""
    return pd.DataFrame(
        {
            "pipeline": frame["pipeline"].iloc[0],
            "fold": frame["fold"].iloc[0],
            **classification_metrics(
                frame["target"],
                frame["predicted"],
                frame.iloc[:, -len(labels) :].to_numpy(),
                labels=labels,
                positive=positive,
            ),
        }
        for frame in frames
    )


def _join(frames, groups):
    """Return the predictions of all folds, ordered by pipeline and sample, with their groups."""
    predictions = pd.concat(frames, ignore_index=True)
    position = predictions["index"]
    predictions.insert(3, "group", position if groups is None else groups[position])
    pipeline_rank = pd.factorize(predictions["pipeline"])[0]
    return predictions.iloc[np.lexsort([position, pipeline_rank])].reset_index(drop=True)


def evaluate(
    pipelines,
    X,
    y,
    *,
    groups=None,
    cv=5,
    target_names=None,
    pos_label=None,
    random_state=0,
    n_jobs=None,
    verbose=False,
):
    """Cross-validate pipelines on the same folds, keeping groups together.

    Parameters
    ----------
    pipelines : estimator or dict of str to estimator
        One classifier, usually a pipeline, or several by name. They are cloned, never fitted.
    X : sequence of length n_samples
        Images in any form of the image contract, or rows of features.
    y : array_like of shape (n_samples,)
        The classes; integers or strings.
    groups : array_like of shape (n_samples,), default=None
        Samples that belong together, such as images of one patient. No group is ever on both sides
        of a split. None counts every sample as independent, with a warning.
    cv : int, splitter or iterable of (train, test), default=5
        Number of folds of a stratified, shuffled cross-validation, or how to split instead, as
        in scikit-learn.
    target_names : sequence of str of length n_classes, default=None
        Names of the classes, in the order of the sorted labels.
    pos_label : str or int, default=None
        The class that sensitivity, specificity, precision, F1 and ROC AUC are about, against all
        others: a label in `y` or one of `target_names`. None takes the larger label of two, as
        scikit-learn does, and the mean over all classes of more than two.
    random_state : int, RandomState instance or None, default=0
        Seed of the shuffling. Seeds of the pipelines are theirs.
    n_jobs : int, default=None
        Number of parallel fits, see `joblib.Parallel`.
    verbose : bool, default=False
        Whether to show a progress bar, if on a terminal.

    Returns
    -------
    Evaluation
        Scores by fold, the prediction for each sample, a table and a figure.

    Raises
    ------
    ValueError
        If a group is on both sides of a split; if a training part lacks a class; if lengths
        or names do not match.

    Warns
    -----
    UserWarning
        If `groups` is None, or the test part of a fold lacks a class.

    See Also
    --------
    confusion_metrics : The metrics' definitions.

    Notes
    -----
    With an integer `cv` and groups, the splits are those of
    ``StratifiedGroupKFold(cv, shuffle=True, random_state=random_state)`` of scikit-learn 1.8 and
    later. Before, shuffling undid the stratification.

    Metrics that need a class which a test part lacks are NaN in that fold, and left out of the
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
    ((5, 8), (60, 8))
    """
    pipelines = dict(pipelines) if isinstance(pipelines, Mapping) else {"pipeline": pipelines}
    if not pipelines:
        raise ValueError("Got no pipelines, expected at least one.")
    check_consistent_length(X, y, groups)
    y = _checked_target(y)
    if groups is None:
        warnings.warn(_NO_GROUPS, UserWarning, stacklevel=2)
    else:
        groups = checked_groups(groups)
    labels = np.unique(y)
    names = _checked_names(labels, target_names)
    positive = _positive_class(labels, names, pos_label)
    splits = make_splits(cv, X, y, groups, random_state)
    check_overlap(splits, groups, len(y))
    check_classes(splits, y, labels, names)

    jobs = [(name, fold) for name in pipelines for fold in range(len(splits))]
    frames = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_predict_fold)(name, fold, clone(pipelines[name]), X, y, *splits[fold], names)
        for name, fold in jobs
    )
    hidden = None if verbose else True  # None: hidden unless on a terminal
    frames = list(tqdm(frames, "evaluate", len(jobs), unit="fit", disable=hidden))
    return Evaluation(
        scores=_score_folds(frames, labels, positive),
        predictions=_join(frames, groups),
        labels=labels,
        target_names=names,
        pos_name=None if positive is None else names[positive],
        protocol=_protocol(cv, splits, y, groups, names),
    )
