"""The area under the ROC curve, for any weights of the samples."""

import numpy as np


def wins_and_pairs(positive, score, weights):
    """Count how often a positive sample scores higher than a negative one.

    Parameters
    ----------
    positive : ndarray of bool of shape (n_samples,)
        Which samples are positive.
    score : ndarray of float of shape (n_samples,)
        Scores.
    weights : ndarray of float of shape (n_weightings, n_samples)
        How often each sample counts.

    Returns
    -------
    wins : ndarray of float of shape (n_weightings,)
        Pairs of a positive and a negative sample of lower score; pairs that tie count half.
    pairs : ndarray of float of shape (n_weightings,)
        All such pairs. The quotient is the area under the ROC curve.
    """
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    positive, weights = positive[order], weights[:, order]
    own = np.add.reduceat(weights * positive, starts, axis=1)
    others = np.add.reduceat(weights * ~positive, starts, axis=1)
    wins = (own * (np.cumsum(others, axis=1) - others / 2)).sum(axis=1)
    return wins, own.sum(axis=1) * others.sum(axis=1)
