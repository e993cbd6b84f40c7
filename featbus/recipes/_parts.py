"""What several recipes share."""

from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC


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
