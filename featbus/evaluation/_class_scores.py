"""One score per class: which pipelines have them, and in which order."""

import numpy as np
from sklearn.ensemble import VotingClassifier
from sklearn.pipeline import Pipeline

from featbus.steps import search_in, searched_parameters, unwrap, walk

_METHODS = ("predict_proba", "decision_function")


def check_scores(pipelines, n_classes):
    """Refuse pipelines that cannot give a score per class, as far as it shows before any fit.

    Parameters
    ----------
    pipelines : dict of str to estimator
        The pipelines.
    n_classes : int
        Number of classes.

    Raises
    ------
    ValueError
        If one votes without scores, has neither of the methods, or compares pairs of classes.
    """
    for pipeline in pipelines.values():
        searched = _searched(pipeline)
        if "voting" not in searched:
            _refuse_hard_vote(pipeline)
        owners = pipeline, type(_last(pipeline))  # some have the methods only once they are fitted
        if not any(hasattr(owner, method) for owner in owners for method in _METHODS):
            _refuse_without_scores(_last(pipeline))
        is_about_classes = n_classes == 2 or hasattr(pipeline, "predict_proba")
        if not is_about_classes and "decision_function_shape" not in searched:
            _refuse_pairs(pipeline)


def _searched(pipeline):
    """Return the parameters that a search chooses, without the names of their steps."""
    search = search_in(pipeline)
    names = set() if search is None else searched_parameters(search)
    return {name.rpartition("__")[2] for name in names}


def _last(pipeline):
    """Return the classifier that a pipeline, or the search around it, ends in."""
    inner = unwrap(pipeline)
    return _last(inner.steps[-1][1]) if isinstance(inner, Pipeline) else inner


def _refuse_hard_vote(pipeline):
    classifier = _last(pipeline)
    if isinstance(classifier, VotingClassifier) and classifier.voting == "hard":
        raise ValueError(
            "voting of VotingClassifier is 'hard', which has no scores, expected one score per "
            "class. Pass voting='soft', with classifiers that have predict_proba."
        )


def _refuse_without_scores(classifier):
    raise ValueError(
        f"{type(classifier).__name__} has neither predict_proba nor decision_function, expected "
        "one score per class. Use another classifier, or wrap it in CalibratedClassifierCV."
    )


def _refuse_pairs(pipeline):
    """Refuse decision values of pairs of classes: six for four classes, three for three."""
    for step, _ in walk(pipeline):
        if getattr(step, "decision_function_shape", None) == "ovo":
            raise ValueError(
                f"decision_function_shape of {type(step).__name__} is 'ovo', whose decision values "
                "are those of pairs of classes, expected one per class. Pass "
                "decision_function_shape='ovr', which predicts the same."
            )


def class_scores(pipeline, X, labels):
    """Return the scores of a fitted pipeline for each class.

    Parameters
    ----------
    pipeline : estimator
        The fitted pipeline.
    X : sequence of length n_samples
        Images, or rows.
    labels : list of length n_classes
        The classes, sorted.

    Returns
    -------
    kind : {"probability", "decision"}
        Which scores.
    scores : ndarray of shape (n_samples, n_classes)
        In the order of `labels`.

    Raises
    ------
    ValueError
        If there is not one score per class.
    """
    if hasattr(pipeline, "predict_proba"):
        kind, scores = "probability", np.asarray(pipeline.predict_proba(X))
    elif hasattr(pipeline, "decision_function"):
        if len(labels) > 2:
            search = search_in(pipeline)
            _refuse_pairs(pipeline if search is None else search.best_estimator_)
        kind, scores = "decision", np.asarray(pipeline.decision_function(X))
    else:
        _refuse_without_scores(pipeline)
    if kind == "decision" and scores.ndim == 1:
        scores = np.column_stack([-scores, scores])
    classes = np.asarray(getattr(pipeline, "classes_", labels)).tolist()
    if set(classes) != set(labels) or scores.shape[1:] != (len(classes),):
        raise ValueError(
            f"Found scores of shape {scores.shape} for the classes {classes}, expected one column "
            f"for each of the classes {labels}. The classifier has to keep all classes, and to "
            "give a score for each."
        )
    return kind, scores[:, [classes.index(label) for label in labels]]
