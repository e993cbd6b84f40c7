"""Scores of the same features and classifier under honest and leaky protocols."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from imblearn import FunctionSampler
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline
from numpy.typing import ArrayLike
from sklearn.metrics import pairwise_distances_argmin
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.utils import check_consistent_length

from featbus.augmentation import DIHEDRAL
from featbus.bus import FeatureBus, FeatureStore
from featbus.evaluation._evaluate import check_names, evaluate
from featbus.evaluation._intervals import FewGroupsWarning
from featbus.evaluation._metrics import METRICS, TITLES, Printed, flatten_columns, format_interval
from featbus.evaluation._plots import COLORS, GRAY, STYLE
from featbus.groups import (
    GroupsWarning,
    check_folds,
    check_groups,
    check_target,
    find_doubt,
    stratified_folds,
)
from featbus.images import ImageError, as_batch
from featbus.model_selection import find_near_duplicates
from featbus.parameters import (
    HasMethods,
    Interval,
    InvalidParameterError,
    Options,
    check_parameters,
)
from featbus.sampling import ImageAugmenter
from featbus.steps import learns
from featbus.typing import Images, PathLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = ["accuracy", "balanced_accuracy", "roc_auc"]
_CHUNK = 64  # images whose copies are in memory at a time
_CONSTRAINTS = {
    "features": [HasMethods("transform")],
    "classifier": [HasMethods(["fit", "predict"]), None],
    "n_copies": [Interval(Integral, 0, None, closed="left")],
    "dihedral": [Options(Integral, DIHEDRAL.keys()), None],
    "target_names": ["array-like", None],
    "cv": [Interval(Integral, 2, None, closed="left")],
    "random_state": [Interval(Integral, 0, None, closed="left")],
}


HONEST = "by group"
# Each protocol: what of the test part the classifier is trained on, and what precedes the split.
PROTOCOLS = {
    HONEST: ("none", ()),
    "random split": ("other images of tested groups", ()),
    "copies before the split": ("copies of tested images", ("copies",)),
    "SMOTE before the split": ("mixtures of tested images", ("smote",)),
    "copies and SMOTE before the split": (
        "copies and mixtures of tested images",
        ("copies", "smote"),
    ),
}


@dataclass(frozen=True, eq=False, repr=False)
class ProtocolComparison(Printed):
    """The result of `compare_protocols`.

    Printing it shows the table, and `summary`. It is made by `compare_protocols`; its parameters
    are its attributes.

    Read more in the :ref:`User Guide <honesty>`.

    Parameters
    ----------
    evaluations : dict of str to Evaluation
        The result of each protocol by its name, the honest one, "by group", first.
    leaks : dict of str to str
        What of the test part each protocol trains on, in words.
    protocol : str
        What was compared, and how.
    groups_note : str
        Why the groups are doubtful: they are not patients. Empty otherwise.

    See Also
    --------
    compare_protocols : Compare protocols.

    Notes
    -----
    Means and intervals are computed as in `featbus.evaluation.Evaluation`, by the jackknife over
    the groups of the images. An interval shows how precise a score is, not whether it is
    meaningful: a leaky protocol gives a precise answer to the wrong question.
    """

    evaluations: dict
    leaks: dict
    protocol: str
    groups_note: str = ""

    def to_frame(self) -> pd.DataFrame:
        """Return the scores of all protocols.

        Returns
        -------
        DataFrame
            One row per protocol, the honest one first; columns as in `Evaluation.to_frame`.
        """
        return flatten_columns(self._intervals())

    def _intervals(self):
        """Return `to_frame` with columns (metric, part), the mean as "mean"."""
        return pd.concat([each._intervals().iloc[:1] for each in self.evaluations.values()])

    def to_table(self) -> pd.DataFrame:
        """Return the scores of all protocols as a plain table, such as for a CSV file.

        Returns
        -------
        DataFrame
            One row per protocol: ``protocol``, ``leak``, ``n_samples`` (tested images, copies and
            synthetic rows), and for each metric its mean and the ends of its 95% interval:
            ``accuracy``, ``accuracy_low``, ``accuracy_high``, ...
        """
        frame = flatten_columns(self._intervals().drop(columns="std", level=1))
        n_samples = [len(each.predictions) for each in self.evaluations.values()]
        frame.insert(0, "leak", [*self.leaks.values()])
        frame.insert(1, "n_samples", n_samples)
        return frame.rename_axis("protocol").reset_index()

    def summary(self, metric: str = "balanced_accuracy") -> str:
        """Compare the highest score of a leaky protocol with the honest one, in a sentence.

        Parameters
        ----------
        metric : str, default="balanced_accuracy"
            A metric of `to_frame`, except "brier", of which less is better.

        Returns
        -------
        str
            The honest score, the highest one of a leaky protocol, and the difference; whether the
            intervals of the two overlap.

        Raises
        ------
        ValueError
            If there is no such metric.
        """
        scores = self._scores(metric)
        honest, leaky = scores.iloc[0], scores.iloc[1:]
        name = leaky["mean"].idxmax()
        best = leaky.loc[name]
        text = f"Honest {TITLES[metric].lower()}: {format_interval(honest)}. The same features and "
        text += f"classifier reach {format_interval(best)} with {name}"
        is_clear = best["low"] > honest["high"]
        end = " from the protocol alone" if is_clear else "; the intervals overlap"
        return f"{text}: {best['mean'] - honest['mean']:+.2f}{end}."

    def _scores(self, metric):
        if metric not in METRICS[:-1]:
            raise ValueError(f"metric is {metric!r}, expected one of {METRICS[:-1]}.")
        return self._intervals()[metric]

    def plot(self, metric: str = "balanced_accuracy") -> Figure:
        """Draw a row for each protocol: its score, its interval and what leaks.

        Parameters
        ----------
        metric : str, default="balanced_accuracy"
            A metric of `to_frame`, except "brier".

        Returns
        -------
        matplotlib.figure.Figure
            The figure, not managed by pyplot: ``savefig`` writes it.

        Raises
        ------
        ValueError
            If there is no such metric.
        """
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        scores = self._scores(metric)
        rows, honest = range(len(scores)), scores.iloc[0]
        with rc_context(STYLE):
            figure = Figure(figsize=(8.2, 0.95 + 0.56 * len(scores)), layout="constrained")
            axis = figure.subplots()
            axis.axvline(honest["mean"], color=COLORS[0], linewidth=0.8, linestyle="--")
            colors = [COLORS[0], *[COLORS[1]] * (len(scores) - 1)]
            axis.hlines(rows, scores["low"], scores["high"], colors=colors, linewidth=2.2)
            axis.scatter(scores["mean"], rows, color=colors)
            axis.set_yticks(rows, [f"{name}\n(leak: {self.leaks[name]})" for name in scores.index])
            right = axis.secondary_yaxis("right")
            right.set_yticks(rows, [format_interval(score) for _, score in scores.iterrows()])
            axis.invert_yaxis()
            axis.grid(axis="x", color=GRAY, alpha=0.25, linewidth=0.6)
            axis.set_xlabel(f"{TITLES[metric]}, mean over the folds and 95% interval")
        return figure

    def _table(self):
        """Return the printed table, cells as text."""
        frame = pd.concat([self._intervals(), self.evaluations[HONEST].chance._intervals()])
        table = pd.DataFrame({"leak": [*self.leaks.values(), "none"]}, frame.index)
        for metric in _SHOWN:
            table[TITLES[metric]] = [format_interval(row) for _, row in frame[metric].iterrows()]
        return table

    def _notes(self):
        return ["Mean over the folds and 95% interval.", self.summary()]


def compare_protocols(
    features: Any,
    X: Images,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    classifier: Any = None,
    n_copies: int = 2,
    dihedral: Literal[2, 6, 8] | None = None,
    cv: int = 5,
    target_names: Sequence[str] | None = None,
    pos_label: str | int | None = None,
    random_state: int = 0,
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> ProtocolComparison:
    """Score the same features and classifier by the honest protocol, and by those that leak.

    The honest one keeps groups together, and makes copies and synthetic rows of the training part
    alone. The others split at random, or make copies of all images, or SMOTE's rows of all rows, or
    both, before they split. Nothing else differs.

    Read more in the :ref:`User Guide <honesty>`.

    Parameters
    ----------
    features : transformer
        From images to rows; it learns nothing from the data.
    X : batch of images
        See :ref:`images`.
    y : array_like of shape (n_images,)
        The classes; integers or strings.
    groups : array_like of shape (n_images,), default=None
        Images that belong together, such as those of one patient. None: near-duplicates, found by
        `find_near_duplicates`; the result says so.
    classifier : estimator, default=None
        A classifier of rows. None: ``SVC(C=10)``, the support vector machine of the recipes.
    n_copies : int, default=2
        Number of copies of each image, made by `ImageAugmenter`. 0: no copies, and none of the
        protocols that make them before the split.
    dihedral : {None, 2, 6, 8}, default=None
        Flips and quarter turns instead of random changes, see `ImageAugmenter`: ``n_copies=5,
        dihedral=6`` gives six orientations of each image, and more copies are an error.
    cv : int, default=5
        Number of folds.
    target_names : sequence of str of length n_classes, default=None
        Names of the classes, in the order of the sorted labels.
    pos_label : str or int, default=None
        The class that metrics are about, see `evaluate`.
    random_state : int, default=0
        Seed of the copies, of the folds and of SMOTE.
    memory : str, os.PathLike, FeatureStore or None, default=None
        Where `FeatureBus` keeps the rows of images and copies for the next run.
    n_jobs : int, default=None
        Number of parallel fits, and of parallel batches of images.
    verbose : bool, default=False
        Whether to show progress.

    Returns
    -------
    ProtocolComparison
        Table, picture and sentence, and the `Evaluation` of each protocol.

    Raises
    ------
    ImageError
        If an image is invalid; the message names it.
    ValueError
        If a parameter is invalid; if `features` learns from the data or gives NaN; if there is one
        class, or too few groups or images of a class; if no protocol leaks: without copies, groups
        of several images, and classes of different sizes.

    See Also
    --------
    evaluate : The honest protocol alone, for any pipelines.
    audit : Look for leaks in the data.
    featbus.commands.honesty : The same for a folder, from the command line.

    Notes
    -----
    In all protocols, the training part has the copies of its images, is scaled to unit variance,
    balanced by SMOTE, and given to the classifier. A protocol with copies before the split
    first makes copies of all images, and splits everything at random; one with SMOTE before the
    split first adds rows for all images, and SMOTE runs in the training part as well. Random splits
    are made as by `evaluate` without groups, honest ones with groups.

    Leaky protocols are scored as publications score them: on all rows of the test parts, copies and
    synthetic rows included. Intervals are by the jackknife over groups in all protocols: a copy
    counts with the group of its image, a synthetic row with the group of the nearest image of its
    class.
    Without this, copies would count as patients and make the intervals even narrower. SMOTE before
    the split also makes the test parts balanced; accuracy then equals balanced accuracy.

    SMOTE has five neighbors, or fewer in all protocols if a class is too small for them in the
    training part of any honest fold.

    A protocol that cannot differ is left out: "random split" if each image is a group of its own,
    SMOTE before the split if all classes have the same size.

    Examples
    --------
    >>> from featbus import IntensityStatistics, compare_protocols, make_breast_ultrasound
    >>> data = make_breast_ultrasound(60, weights=[2, 1, 1], random_state=0)
    >>> result = compare_protocols(
    ...     IntensityStatistics(), data.images, data.target, groups=data.groups, n_copies=1, cv=3
    ... )
    >>> result.to_frame().index.tolist()  # doctest: +NORMALIZE_WHITESPACE
    ['by group', 'random split', 'copies before the split', 'SMOTE before the split',
     'copies and SMOTE before the split']
    """
    check_parameters(_CONSTRAINTS, locals())
    if learns(features):
        raise InvalidParameterError(
            f"features is {type(features).__name__}, which learns from the data, expected a "
            "transformer that does not: its rows are computed before the split. Put what learns "
            "into classifier, a pipeline."
        )
    if dihedral is not None and n_copies >= dihedral:  # equal copies leak under any protocol
        raise InvalidParameterError(
            f"n_copies={n_copies} and dihedral={dihedral}, expected at most {dihedral - 1} "
            f"copies: the image is one of the {dihedral} orientations."
        )
    X = as_batch(X)
    check_consistent_length(X, y, groups)
    y, labels, codes = check_target(y)
    names = np.array(check_names(labels, target_names))
    if groups is None:
        groups = find_near_duplicates(X, n_jobs=n_jobs, verbose=verbose)
    note, groups = find_doubt(groups), check_groups(groups)
    protocols = _choose_protocols(codes, groups, n_copies)
    k_neighbors = _count_neighbors(codes, names, groups, cv, random_state)

    bus = FeatureBus(features, memory=memory, n_jobs=n_jobs, verbose=verbose)
    augmenter = ImageAugmenter(n_copies, dihedral=dihedral, random_state=random_state)
    rows = _compute_rows(bus, augmenter, X, y)
    smote = SMOTE(k_neighbors=k_neighbors, random_state=random_state)
    columns = {"n_features": rows.shape[2]}
    pipeline = make_pipeline(
        FunctionSampler(func=_add_copies, kw_args=columns, validate=False),
        FunctionTransformer(_drop_copies, kw_args=columns),
        StandardScaler(),
        smote,
        SVC(C=10) if classifier is None else classifier,
    )
    options = {"cv": cv, "target_names": target_names, "pos_label": pos_label}
    options |= {"random_state": random_state, "n_jobs": n_jobs, "verbose": verbose}
    evaluations = {
        name: _evaluate(pipeline, name, rows, y, groups, smote, options) for name in protocols
    }
    copies = f"{n_copies} copies of each of its images and " if n_copies else ""
    protocol = (
        f"{evaluations[HONEST].protocol}\n"
        f"Each training part has {copies}rows that SMOTE adds where classes differ in size. If a "
        "protocol makes them before the split, the test part has them, too, as in publications."
    )
    return ProtocolComparison(
        evaluations=evaluations,
        leaks={name: PROTOCOLS[name][0] for name in protocols},
        protocol=f"{note.capitalize()}.\n{protocol}" if note else protocol,
        groups_note=note,
    )


def _choose_protocols(codes, groups, n_copies):
    """Return the names of the honest protocol, and of those that can differ from it."""
    useless = {"copies"} if n_copies == 0 else set()
    useless |= {"smote"} if len({*np.bincount(codes).tolist()}) == 1 else set()
    honest, random, *others = PROTOCOLS
    chosen = [random] if len(np.unique(groups)) < len(groups) else []
    chosen += [name for name in others if not useless.intersection(PROTOCOLS[name][1])]
    if not chosen:
        raise ValueError(
            "No protocol can leak: there are no copies, each image is a group of its own, and all "
            "classes have the same size, so that SMOTE adds nothing. Make copies: n_copies=2."
        )
    return [honest, *chosen]


def _count_neighbors(codes, names, groups, cv, random_state):
    """Return the number of neighbors of SMOTE, the same in all protocols."""
    check_folds(names[codes], groups, cv)
    splits = stratified_folds(codes, groups, cv, random_state)
    counts = [np.bincount(codes[train], minlength=len(names)) for train, _ in splits]
    return min(5, max(int(np.min(counts)) - 1, 1))


def _compute_rows(bus, augmenter, images, y):
    """Return the rows of each image and its copies, of shape (n_images, n_views, n_features)."""
    rows, n_images = bus.fit_transform(images), len(images)
    copies = np.empty((0, rows.shape[1]), rows.dtype)
    for start in range(0, n_images if augmenter.n_copies else 0, _CHUNK):
        part = slice(start, start + _CHUNK)
        made, _ = augmenter.fit_resample(images[part], y[part])
        try:
            part_rows = bus.transform(made[len(y[part]) :])
        except ImageError as error:
            raise error.at(start + error.index // augmenter.n_copies) from error
        copies = np.concatenate([copies, part_rows])
    # Copies come image by image.
    copies = copies.reshape(n_images, augmenter.n_copies, rows.shape[1])
    rows = np.concatenate([rows[:, np.newaxis], copies], axis=1)
    is_nan = np.isnan(rows).any(axis=(1, 2))
    if is_nan.any():
        raise ValueError(
            f"Features of image {is_nan.argmax()}, or of a copy of it, are NaN, expected numbers."
        )
    return rows


def _add_copies(X, y, n_features):
    """Return the rows of images, then of their copies, in the order of `ImageAugmenter`."""
    copies = X[:, n_features:].reshape(len(X), -1, n_features)
    known = ~np.isnan(copies).any(axis=2)  # synthetic rows have no copies
    rows = np.concatenate([_drop_copies(X, n_features), copies[known]])
    return rows, np.concatenate([y, np.repeat(y, known.sum(axis=1))])


def _drop_copies(X, n_features):
    return X[:, :n_features]


def _prepare(before, rows, y, smote):
    """Return the rows that are split, their classes, and the image each was made from.

    The row of an image is followed by those of its copies, for the training part.
    """
    n_images, n_views, n_features = rows.shape
    rows, source = rows.reshape(n_images, -1), np.arange(n_images)
    if "copies" in before:
        rows, _ = _add_copies(rows, y, n_features)
        source = np.concatenate([source, np.repeat(source, n_views - 1)])
    y = y[source]
    if "smote" in before:
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


def _evaluate(pipeline, name, rows, y, groups, smote, options):
    """Return the evaluation of a protocol; its intervals are by the groups of the images."""
    rows, y, source = _prepare(PROTOCOLS[name][1], rows, y, smote)
    drawn = groups[source]
    with warnings.catch_warnings():
        if name != HONEST:  # random splits ignore groups
            warnings.simplefilter("ignore", GroupsWarning)
            warnings.simplefilter("ignore", FewGroupsWarning)
        known = drawn if name == HONEST else None
        result = evaluate({name: pipeline}, rows, y, groups=known, **options)
    predictions = result.predictions.assign(group=drawn[result.predictions["index"]])
    return replace(result, predictions=predictions)
