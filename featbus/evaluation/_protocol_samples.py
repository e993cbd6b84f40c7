"""What each protocol splits, and what it fits to a training part."""

from typing import NamedTuple

import numpy as np
from imblearn import FunctionSampler
from imblearn.pipeline import make_pipeline
from sklearn.metrics import pairwise_distances_argmin
from sklearn.preprocessing import FunctionTransformer, StandardScaler


class Protocol(NamedTuple):
    """What comes before the split, and whether the split keeps groups together.

    Attributes
    ----------
    name : str
        Its name in tables.
    grouped : bool
        Whether groups are kept together.
    copies, smote : bool
        Whether copies, or the rows of SMOTE, are made before the split.
    """

    name: str
    grouped: bool = False
    copies: bool = False
    smote: bool = False


PROTOCOLS = [
    Protocol("by group", grouped=True),
    Protocol("random split"),
    Protocol("copies before the split", copies=True),
    Protocol("SMOTE before the split", smote=True),
    Protocol("copies and SMOTE before the split", copies=True, smote=True),
]


def make_steps(classifier, smote, n_features):
    """Return the steps that learn from the training part, the same in all protocols.

    Parameters
    ----------
    classifier : estimator
        A classifier of rows.
    smote : SMOTE
        What balances the classes.
    n_features : int
        Number of features of an image.

    Returns
    -------
    imblearn.pipeline.Pipeline
        For what `prepare` returns.
    """
    columns = {"n_features": n_features}
    return make_pipeline(
        FunctionSampler(func=_add_copies, kw_args=columns, validate=False),
        FunctionTransformer(_drop_copies, kw_args=columns),
        StandardScaler(),
        smote,
        classifier,
    )


def _add_copies(X, y, n_features):
    """Return the rows of images, then those of their copies, in the order of `ImageAugmenter`."""
    copies = X[:, n_features:].reshape(len(X), -1, n_features)
    known = ~np.isnan(copies).any(axis=2)  # synthetic rows have no copies
    rows = np.concatenate([_drop_copies(X, n_features), copies[known]])
    return rows, np.concatenate([y, np.repeat(y, known.sum(axis=1))])


def _drop_copies(X, n_features):
    return X[:, :n_features]


def prepare(protocol, rows, y, smote):
    """Return what a protocol splits.

    Parameters
    ----------
    protocol : Protocol
        The protocol.
    rows : ndarray of shape (n_images, n_views, n_features)
        The features of each image, and of its copies.
    y : ndarray of shape (n_images,)
        The classes.
    smote : SMOTE
        What balances the classes.

    Returns
    -------
    rows : ndarray of shape (n_samples, n_features or n_views * n_features)
        Rows of images, each followed by those of its copies, for the training part; of copies, if
        they are samples of their own; and of mixtures.
    y : ndarray of shape (n_samples,)
        Their classes.
    source : ndarray of int of shape (n_samples,)
        The image that each was made from.
    """
    n_images, n_views, n_features = rows.shape
    rows, source = rows.reshape(n_images, -1), np.arange(n_images)
    if protocol.copies:
        rows, _ = _add_copies(rows, y, n_features)
        source = np.concatenate([source, np.repeat(source, n_views - 1)])
    y = y[source]
    if protocol.smote:
        mixed, y_mixed, nearest = _mix(rows[:, :n_features], y, smote)
        padded = np.full((len(mixed), rows.shape[1]), np.nan, rows.dtype)
        padded[:, :n_features] = mixed
        rows, y = np.concatenate([rows, padded]), np.concatenate([y, y_mixed])
        source = np.concatenate([source, source[nearest]])
    return rows, y, source


def _mix(rows, y, smote):
    """Return the rows that SMOTE adds, their classes, and the nearest row of the class."""
    scaler = StandardScaler().fit(rows)
    scaled = scaler.transform(rows)
    balanced, y_balanced = smote.fit_resample(scaled, y)
    mixed, y_mixed = balanced[len(rows) :], y_balanced[len(rows) :]
    nearest = np.empty(len(mixed), dtype=int)
    for label in np.unique(y_mixed):
        own, is_mixed = np.flatnonzero(y == label), y_mixed == label
        nearest[is_mixed] = own[pairwise_distances_argmin(mixed[is_mixed], scaled[own])]
    return scaler.inverse_transform(mixed), y_mixed, nearest
