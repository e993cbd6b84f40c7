"""Judging groups, such as patients, instead of images: their classes and their pooled scores."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from featbus.parameters import InvalidParameterError

SEVERAL = "several"  # the value of a subgroup if the images of a group have different ones


class Judge(NamedTuple):
    """How groups are judged.

    Attributes
    ----------
    rule : "any", callable or None
        See `label_groups`.
    pool : {"mean", "max"} or callable
        See `pool_scores`.
    labels, names : list of length n_classes
        The classes and their names.
    positive : int or None
        Position of the positive class.
    """

    rule: str | Callable | None
    pool: str | Callable
    labels: list
    names: list
    positive: int | None

    def describe(self, targets):
        """Say how groups are judged, and how many there are of each class."""
        counts = targets.value_counts()
        found = [f"{name} {counts.get(label, 0)}" for label, name in zip(self.labels, self.names)]
        how = {"mean": "the mean", "max": "the maximum"}.get(self.pool, "a function")
        text = f" Judged by group ({', '.join(found)}): {how} of the scores of its images"
        if callable(self.rule):
            text += "; the class of a group is a function of those of its images"
        elif self.rule is not None:
            text += f"; a group is {self.names[self.positive]} if any of its images is"
        return f"{text}."

    def label(self, y, groups):
        """Return the class of each group, see `label_groups`."""
        positive = None if self.positive is None else self.labels[self.positive]
        return label_groups(y, np.asarray(groups), self.rule, positive)

    def __call__(self, predictions, kind, threshold):
        """Return one row per group for the predictions of one fold's images.

        Parameters
        ----------
        predictions : DataFrame
            Rows of `Evaluation.predictions`, of images.
        kind : {"probability", "decision"}
            What the scores are.
        threshold : (int, float) or None
            See `featbus.evaluation._operating_point.find_threshold`.

        Returns
        -------
        DataFrame
            The same columns, and ``n_images``.
        """
        columns = [f"{kind}_{name}" for name in self.names]
        predictions = predictions.sort_values("index")
        grouped = predictions.groupby("group", sort=True)
        found = grouped.first().assign(n_images=grouped.size())
        codes = grouped.ngroup().to_numpy()
        scores = predictions[columns].to_numpy(dtype=np.float64)
        found[columns] = pool_scores(scores, codes, self.pool, self.positive, kind)
        chosen = choose_classes(found[columns].to_numpy(), threshold)
        found["predicted"] = np.take(self.labels, chosen)
        found["target"] = self.label(predictions["target"].to_numpy(), predictions["group"])
        for name in predictions.columns[predictions.columns.get_loc(columns[-1]) + 1 :]:
            found.loc[grouped[name].nunique(dropna=False) > 1, name] = SEVERAL
        return found.reset_index()[[*predictions.columns, "n_images"]]


def label_groups(y, groups, rule, positive):
    """Return the class of each group.

    Parameters
    ----------
    y, groups : ndarray of shape (n_samples,)
        The class and the group of each image.
    rule : "any", callable or None
        "any": the positive class, if any image of the group is. A callable gets the classes of a
        group's images, an array, and returns its class. None: the one class that all images have.
    positive : label or None
        The positive class.

    Returns
    -------
    Series
        The classes, by the names of the groups, sorted.

    Raises
    ------
    ValueError
        If images of a group have several classes, and there is no rule.
    """
    if rule == "any" and positive is None:
        raise InvalidParameterError("label_rule is 'any' and no class is positive: pass pos_label.")
    if callable(rule):
        found = pd.Series(y).groupby(groups).agg(lambda classes: rule(classes.to_numpy()))
        unknown = sorted({*found} - {*y.tolist()}, key=str)
        if unknown:
            raise ValueError(f"label_rule returned {unknown[:5]}, expected classes of y.")
        return found
    if rule == "any":
        y = np.where(np.isin(groups, groups[y == positive]), positive, y)
    classes = pd.Series(y).groupby(groups)
    mixed = classes.nunique()[lambda n: n > 1].index.tolist()
    if mixed:
        raise ValueError(
            f"The images of {len(mixed)} of {classes.ngroups} groups have different classes, such "
            f"as those of {mixed[:3]}; expected a rule for the class of a group. label_rule='any' "
            "takes the positive class if any image has it; or pass a function, such as max."
        )
    return classes.first()


def pool_scores(scores, codes, pool, positive, kind):
    """Return the scores of groups.

    Parameters
    ----------
    scores : ndarray of shape (n_images, n_classes)
        Those of images.
    codes : ndarray of int of shape (n_images,)
        The group of each, from 0.
    pool : {"mean", "max"} or callable
        "mean" of the images; "max": of two classes, the highest score of the positive one; of more,
        the highest of each, scaled to a sum of 1. A callable gets the scores of a group's images,
        of shape (n_images, n_classes), and returns one per class.
    positive : int or None
        Position of the positive class.
    kind : {"probability", "decision"}
        What the scores are.

    Returns
    -------
    ndarray of shape (n_groups, n_classes)
        One row per group.
    """
    grouped, n_classes = pd.DataFrame(scores).groupby(codes), scores.shape[1]
    if callable(pool):
        pooled = np.array([pool(part.to_numpy()) for _, part in grouped], dtype=np.float64)
        is_wrong = pooled.shape != (grouped.ngroups, n_classes) or not np.isfinite(pooled).all()
        if is_wrong or (kind == "probability" and not _are_probabilities(pooled)):
            raise ValueError(
                f"pool returned values of shape {pooled.shape[1:]}, expected a {kind} for each of "
                f"the {n_classes} classes, without NaN; the sum of probabilities is 1."
            )
        return pooled
    if pool == "mean":
        return grouped.mean().to_numpy()
    pooled, is_sure = grouped.max().to_numpy(copy=True), kind == "probability"
    if n_classes == 2:
        if positive is None:
            raise InvalidParameterError("pool is 'max', and no class is positive: pass pos_label.")
        pooled[:, 1 - positive] = is_sure - pooled[:, positive]
    return pooled / pooled.sum(axis=1, keepdims=True) if is_sure else pooled


def _are_probabilities(values):
    return (values >= -1e-9).all() and np.allclose(values.sum(axis=1), 1, atol=1e-6)


def choose_classes(scores, threshold):
    """Return the positions of the predicted classes of groups.

    Parameters
    ----------
    scores : ndarray of shape (n_groups, n_classes)
        Pooled scores.
    threshold : (int, float) or None
        Position of a class, and the score from which on it is predicted, of two classes. None: the
        class with the highest score.

    Returns
    -------
    ndarray of int of shape (n_groups,)
        Positions.
    """
    if threshold is None:
        return scores.argmax(axis=1)
    position, score = threshold
    return np.where(scores[:, position] >= score, position, 1 - position)
