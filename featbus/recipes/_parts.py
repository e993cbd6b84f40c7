"""What several recipes share."""

from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_selection import mutual_info_classif
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus.bus import FeatureBus
from featbus.steps import steps_of


def calibrated(classifier):
    """Give a classifier probabilities: a sigmoid of its scores, by cross-validation inside `fit`.

    Whatever resamples belongs into `classifier`, so that no image calibrates that has a copy, or a
    mixture, among those trained on.

    Parameters
    ----------
    classifier : estimator
        A classifier, or a pipeline that ends in one.

    Returns
    -------
    CalibratedClassifierCV
        A single classifier, fitted on all rows, and its sigmoids.
    """
    return CalibratedClassifierCV(classifier, ensemble=False)


def support_vectors():
    """Return a scaler and a support vector machine, as steps of a pipeline."""
    return StandardScaler(), SVC(C=10, class_weight="balanced")


def support_vector_machine():
    """Return a calibrated support vector machine for rows of features."""
    return calibrated(make_pipeline(*support_vectors()))


def with_support_vectors(extractor, memory, n_jobs):
    """Return the pipeline of an extractor in a feature bus and a support vector machine.

    Parameters
    ----------
    extractor : estimator
        Whatever makes rows of images.
    memory, n_jobs : object
        Parameters of `featbus.FeatureBus`.

    Returns
    -------
    Pipeline
        The steps ``features`` and ``classifier``.
    """
    bus = FeatureBus(extractor, memory=memory, n_jobs=n_jobs)
    return Pipeline([("features", bus), ("classifier", support_vector_machine())])


def feature_steps(features):
    """Return the steps of a transformer, for a pipeline of imbalanced-learn: it accepts no others.

    Parameters
    ----------
    features : transformer or None
        From images to rows.

    Returns
    -------
    list of (str, transformer)
        The steps of a pipeline, or one step ``features``; empty for None.
    """
    if features is None:
        return []
    return steps_of(features) if isinstance(features, Pipeline) else [("features", features)]


def mutual_information(X, y):
    """Return each column's mutual information with the class; ties of values fall alike each time.

    A function of its own, since a partial one cannot be saved.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Rows of features.
    y : array of shape (n_samples,)
        Their classes.

    Returns
    -------
    ndarray of shape (n_features,)
        In nats.
    """
    return mutual_info_classif(X, y, random_state=0)
