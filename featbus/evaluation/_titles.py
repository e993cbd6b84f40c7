"""Titles of metrics that name the class they are about."""

from featbus.evaluation._metrics import TITLES

MEAN = "mean over classes"
_OF_A_CLASS = {"sensitivity", "specificity", "precision", "npv", "f1", "pr_auc"}


def is_of_class(metric, n_classes):
    """Tell whether a metric is about one class; the ROC AUC is the same for both of two.

    Parameters
    ----------
    metric : str
        The metric.
    n_classes : int
        Number of classes.

    Returns
    -------
    bool
        Whether it is.
    """
    return metric in _OF_A_CLASS or (metric == "roc_auc" and n_classes > 2)


def title(metric, about=None):
    """Return the title of a metric, with what it is about.

    Parameters
    ----------
    metric : str
        The metric.
    about : str, default=None
        A class, or "mean over classes". None for metrics of all classes together.

    Returns
    -------
    str
        Such as "Sensitivity (cancer)".
    """
    return TITLES[metric] if about is None else f"{TITLES[metric]} ({about})"


def iter_tables(evaluation, metrics):
    """Yield the means and intervals of metrics, and what each is about.

    Parameters
    ----------
    evaluation : Evaluation
        The result of `evaluate`.
    metrics : sequence of str
        The metrics.

    Yields
    ------
    metric : str
        The metric; twice, of two classes without a positive one.
    about : str or None
        As in `title`.
    table : DataFrame
        One row per pipeline with the columns ``mean``, ``std``, ``low`` and ``high``.
    """
    frame = evaluation.to_frame()
    for metric in metrics:
        if not is_of_class(metric, len(evaluation.labels)):
            yield metric, None, frame[metric]
        elif evaluation.shows_both:
            classes = evaluation.per_class()[metric]
            for name in evaluation.target_names:
                yield metric, name, classes.xs(name, level="class")
        else:
            yield metric, evaluation.pos_name or MEAN, frame[metric]
