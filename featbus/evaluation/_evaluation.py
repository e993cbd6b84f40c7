"""The result of an evaluation."""

import json
from dataclasses import dataclass, field, fields
from functools import cached_property
from html import escape
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from featbus.evaluation._comparison import adjust_for_number, corrected_t_test
from featbus.evaluation._intervals import bootstrap, percentile_interval
from featbus.evaluation._metrics import METRICS, TITLES, FoldMetrics, ratio
from featbus.evaluation._plots import plot_confusion_matrices

# What the printed table shows of them.
_SHOWN = ["accuracy", "sensitivity", "specificity", "precision", "f1", "roc_auc"]
_PLACE = ["pipeline", "repeat", "fold"]


def fold_metrics(predictions, labels, names, positive):
    """Return the metrics of one fold's predictions, for weights to come.

    Parameters
    ----------
    predictions : DataFrame
        Rows of `Evaluation.predictions`.
    labels, names : sequence of length n_classes
        The classes and their names.
    positive : int or None
        Position of the positive class.

    Returns
    -------
    FoldMetrics
        A function of the samples' weights.
    """
    probabilities, decisions = (
        predictions.reindex(columns=[f"{kind}_{name}" for name in names])
        for kind in ("probability", "decision")
    )
    has_probabilities = bool(probabilities.notna().all(axis=None))
    return FoldMetrics(
        predictions["target"],
        predictions["predicted"],
        (probabilities if has_probabilities else decisions).to_numpy(dtype=np.float64),
        labels,
        positive=positive,
        probabilities=has_probabilities,
    )


def _summary(values, resampled):
    """Return mean, standard deviation and interval; the first axis are folds and resamples."""
    values = pd.DataFrame(values)
    low, high = percentile_interval(resampled)
    return np.stack([values.mean(), values.std(), low, high], axis=-1)


def _columns():
    return pd.MultiIndex.from_product([METRICS, ["mean", "std", "low", "high"]])


def _plain(value):
    """Return a value as JSON has it."""
    if isinstance(value, pd.DataFrame):
        return {str(name): _plain(column.tolist()) for name, column in value.items()}
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _cell(mean, std):
    return f"{mean:.2f}" if np.isnan(std) else f"{mean:.2f} ± {std:.2f}"


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """What `evaluate` found.

    Printing it shows the table. It is made by `evaluate`, not by hand; its parameters are its
    attributes.

    Parameters
    ----------
    scores : DataFrame
        One row per pipeline, repeat and fold: ``pipeline``, ``repeat``, ``fold``, ``accuracy``,
        ``balanced_accuracy``, ``sensitivity``, ``specificity``, ``precision``, ``npv``, ``f1``,
        ``mcc``, see `confusion_metrics`; ``roc_auc``, the area under the ROC curve; ``pr_auc``,
        average precision; ``brier``, the mean squared error of the probabilities, summed over the
        classes of more than two, NaN where there are decision values only.
    predictions : DataFrame
        One row per pipeline, repeat and tested sample: ``pipeline``, ``repeat``, ``index``
        (position in `X`), ``fold``, ``group`` (the index where there are no groups), ``target``,
        ``predicted`` (labels as in `y`), and for each class ``probability_<name>``, or
        ``decision_<name>`` for classifiers that have decision values only.
    labels : ndarray of shape (n_classes,)
        The classes, sorted.
    target_names : list of str
        Their names.
    pos_name : str or None
        Name of the class that the metrics are about; None where they are the mean over all.
    protocol : str
        What was evaluated, and how.
    versions : dict of str to str
        Python, and the packages that numbers depend on.
    timings : DataFrame
        One row per pipeline, repeat and fold: ``pipeline``, ``repeat``, ``fold``, ``n_train`` and
        ``n_test`` samples, ``fit_s`` and ``predict_s`` seconds, without the steps from images to
        rows that were computed before.
    best_params : DataFrame
        One row per fold of each pipeline that is a search, or ends in one: ``pipeline``,
        ``repeat``, ``fold``, ``score`` (the inner one), ``params`` (what it chose).
    random_state : int
        Seed of the folds and of the intervals.

    See Also
    --------
    evaluate : Cross-validate pipelines.

    Notes
    -----
    An interval is that of the mean over the folds. Groups are drawn with replacement, as many as
    there are, 1,000 times over; each time the metrics of every fold are computed of the samples
    drawn, however often, and averaged over the folds, each fold weighted by the share of its
    samples that was drawn. The interval holds the middle 95 % of these means [1]_ [2]_. The same
    draws serve all pipelines, so that differences are paired.

    It is an interval for how well the pipelines as fitted in these folds do on other groups
    [3]_: it does not hold what other training images would change. Predictions of different folds
    come from different models, and their scores are not pooled: the area under a curve of pooled
    scores is biased [4]_.

    References
    ----------
    .. [1] Efron B, Tibshirani RJ. An Introduction to the Bootstrap. Chapman & Hall (1993), chapter
       13.
    .. [2] Field CA, Welsh AH. Bootstrapping clustered data. Journal of the Royal Statistical
       Society B 69 (2007) 369-390, doi:10.1111/j.1467-9868.2007.00593.x.
    .. [3] LeDell E, Petersen M, van der Laan M. Computationally efficient confidence intervals for
       cross-validated area under the ROC curve estimates. Electronic Journal of Statistics 9 (2015)
       1583-1607, doi:10.1214/15-EJS1035.
    .. [4] Forman G, Scholz M. Apples-to-apples in cross-validation studies: pitfalls in classifier
       performance measurement. SIGKDD Explorations 12(1) (2010) 49-57,
       doi:10.1145/1882471.1882479.
    """

    scores: pd.DataFrame
    predictions: pd.DataFrame
    labels: np.ndarray
    target_names: list
    pos_name: str | None
    protocol: str
    versions: dict = field(default_factory=dict)
    timings: pd.DataFrame = field(default_factory=pd.DataFrame)
    best_params: pd.DataFrame = field(default_factory=pd.DataFrame)
    random_state: int = 0

    @cached_property
    def _folds(self):
        """Return the metrics of each fold, and the group of each of its samples, by pipeline."""
        positive = None if self.pos_name is None else self.target_names.index(self.pos_name)
        group = pd.Series(pd.factorize(self.predictions["group"])[0], self.predictions.index)
        folds = {name: [] for name in self._names()}
        for (name, _, _), rows in self.predictions.groupby(_PLACE, sort=False):
            metrics = fold_metrics(rows, self.labels, self.target_names, positive)
            folds[name].append((metrics, group[rows.index].to_numpy()))
        return folds

    @cached_property
    def _resampled(self):
        """Return the metrics of resampled groups, by pipeline."""
        n_groups = self.predictions["group"].nunique()
        return bootstrap(self._folds, n_groups, self.random_state)

    @cached_property
    def _class_table(self):
        blocks = []
        for name, folds in self._folds.items():
            ones = [np.ones((1, len(group))) for _, group in folds]
            values = np.concatenate([metrics(one)[1] for (metrics, _), one in zip(folds, ones)])
            resampled = self._resampled[name][1]
            blocks += [_summary(values[:, i], resampled[:, i]) for i in range(len(self.labels))]
        index = pd.MultiIndex.from_product(
            [self._names(), self.target_names], names=["pipeline", "class"]
        )
        return pd.DataFrame(np.reshape(blocks, (len(blocks), -1)), index, _columns())

    def _names(self):
        return self.predictions["pipeline"].unique().tolist()

    def _checked_name(self, pipeline):
        names = self._names()
        if pipeline is None and len(names) == 1:
            return names[0]
        if pipeline not in names:
            raise ValueError(f"pipeline is {pipeline!r}, expected one of {names}.")
        return pipeline

    def to_frame(self):
        """Return the mean over the folds, its standard deviation and its interval.

        Returns
        -------
        DataFrame
            One row per pipeline; columns (metric, "mean"), (metric, "std"), the standard deviation
            over the folds, whose divisor is the number of folds less one, and (metric, "low") and
            (metric, "high"), the ends of the 95 % interval of the mean.
        """
        by_pipeline = self.scores.groupby("pipeline", sort=False)[METRICS]
        blocks = [
            _summary(by_pipeline.get_group(name), self._resampled[name][0])
            for name in self._names()
        ]
        table = np.reshape(blocks, (len(blocks), -1))
        return pd.DataFrame(table, self._names(), _columns())

    def per_class(self):
        """Return the same as `to_frame` of each class against the rest.

        Returns
        -------
        DataFrame
            One row per pipeline and class, columns as in `to_frame`. Here, accuracy, balanced
            accuracy, Matthews' coefficient and Brier score, too, are those of the class against
            the rest.
        """
        return self._class_table.copy()

    def published_table(self, pipeline=None):
        """Return the table that papers print: counts and percentages of each class.

        Parameters
        ----------
        pipeline : str, default=None
            Name of the pipeline; may be left out where there is only one.

        Returns
        -------
        DataFrame
            One row per class, against the rest: the counts ``TP``, ``TN``, ``FP`` and ``FN`` over
            the test parts of all folds and repeats, and of these counts, in per cent,
            ``sensitivity``, ``specificity``, ``accuracy``, ``precision`` and ``F-score``.

        Raises
        ------
        ValueError
            If there is no such pipeline, or `pipeline` is None and there are several.
        """
        confusion = self.confusion_matrix(pipeline).to_numpy()
        tp = np.diag(confusion)
        fp, fn = confusion.sum(axis=0) - tp, confusion.sum(axis=1) - tp
        tn = confusion.sum() - tp - fp - fn
        counts = {"TP": tp, "TN": tn, "FP": fp, "FN": fn}
        table = pd.DataFrame(counts, index=pd.Index(self.target_names, name="class"))
        rates = {
            "sensitivity": (tp, tp + fn),
            "specificity": (tn, tn + fp),
            "accuracy": (tp + tn, tp + tn + fp + fn),
            "precision": (tp, tp + fp),
            "F-score": (2 * tp, 2 * tp + fp + fn),
        }
        return table.assign(**{name: 100 * ratio(*parts) for name, parts in rates.items()})

    def compare(self, metric="roc_auc", baseline=None):
        """Compare pipelines in pairs: difference, interval and test.

        Parameters
        ----------
        metric : str, default="roc_auc"
            A metric of `scores`.
        baseline : str, default=None
            Name of the pipeline that all others are compared with. None compares all pairs.

        Returns
        -------
        DataFrame
            One row per pair:

            first, second
                The pipelines; with a baseline, it is the second.
            difference
                Mean over the folds of the first one's metric less the second one's. Of the Brier
                score, less is better.
            low, high
                Its 95 % interval, by the bootstrap over groups, the same groups for both.
            p_value
                Of the corrected resampled t-test over the folds.
            p_holm
                The same, adjusted for the number of rows by the method of Holm.

        Raises
        ------
        ValueError
            If there is no such metric or pipeline, or only one pipeline.

        Notes
        -----
        Interval and p-value answer different questions, and may disagree. The interval is about the
        pipelines as fitted in these folds, on other groups. The test is about the way of training
        [1]_: the differences of J folds, of mean d and variance s², give
        t = d / sqrt((1 / J + n_test / n_train) s²) with J - 1 degrees of freedom. The second term
        is for training parts that share samples.

        References
        ----------
        .. [1] Nadeau C, Bengio Y. Inference for the generalization error. Machine Learning 52
           (2003) 239-281, doi:10.1023/A:1024068626366.
        """
        names = self._names()
        if metric not in METRICS:
            raise ValueError(f"metric is {metric!r}, expected one of {METRICS}.")
        if len(names) < 2:
            raise ValueError(f"Got the single pipeline {names[0]!r}, expected two to compare.")
        if baseline is None:
            pairs = list(combinations(names, 2))
        else:
            baseline = self._checked_name(baseline)
            pairs = [(name, baseline) for name in names if name != baseline]
        rows = pd.DataFrame([self._compared(*pair, metric) for pair in pairs])
        return rows.assign(p_holm=adjust_for_number(rows["p_value"]))

    def _compared(self, first, second, metric):
        """Return the comparison of two pipelines."""
        folds = self.scores.pivot(index=["repeat", "fold"], columns="pipeline", values=metric)
        differences = folds[first] - folds[second]
        column = METRICS.index(metric)
        one, other = (self._resampled[name][0][:, column] for name in (first, second))
        low, high = percentile_interval(one - other)
        n_train, n_test = self.timings[["n_train", "n_test"]].mean()
        return {
            "first": first,
            "second": second,
            "difference": differences.mean(),
            "low": float(low),
            "high": float(high),
            "p_value": corrected_t_test(differences, n_train, n_test),
        }

    def to_json(self, path=None):
        """Return or write all that is known, as JSON.

        Parameters
        ----------
        path : str or os.PathLike, default=None
            The file to write. None returns the text.

        Returns
        -------
        str or None
            An object with the attributes of the evaluation, and ``table``, a list of pipeline,
            metric, mean, std, low and high. Tables are objects of columns; NaN is null. What JSON
            has no form for, such as an estimator that a search chose, is its text.
        """
        table = self.to_frame().rename_axis(index="pipeline", columns=["metric", None])
        table = table.stack("metric", future_stack=True).reset_index()
        found = {part.name: getattr(self, part.name) for part in fields(self)}
        text = json.dumps(
            _plain(found | {"table": table}), ensure_ascii=False, allow_nan=False, indent=1
        )
        if path is None:
            return text
        Path(path).write_text(text, encoding="utf-8")
        return None

    def to_html(self, path, *, images=None, audit=None, title=None):
        """Write a report: one file with tables and figures, for any browser.

        Parameters
        ----------
        path : str or os.PathLike
            The file to write.
        images : batch of images, default=None
            The images that were evaluated, to show the most wrong ones.
        audit : object, default=None
            What a leakage audit of the same images found.
        title : str, default=None
            Title of the report.
        """
        from featbus.evaluation._report import write_report

        write_report(self, path, images=images, audit=audit, title=title)

    def plot(self, name):
        """Draw a figure.

        Parameters
        ----------
        name : str
            Which one, such as ``"roc"``; the error for an unknown name lists all.

        Returns
        -------
        matplotlib.figure.Figure
            The figure.
        """
        from featbus.evaluation._plots import plot

        return plot(self, name)

    def confusion_matrix(self, pipeline=None):
        """Return the confusion matrix over the test parts of all folds and repeats.

        Parameters
        ----------
        pipeline : str, default=None
            Name of the pipeline; may be left out where there is only one.

        Returns
        -------
        DataFrame of int of shape (n_classes, n_classes)
            True classes are rows, predicted classes are columns.

        Raises
        ------
        ValueError
            If there is no such pipeline, or `pipeline` is None and there are several.
        """
        pipeline = self._checked_name(pipeline)
        rows = self.predictions[self.predictions["pipeline"] == pipeline]
        return pd.DataFrame(
            confusion_matrix(rows["target"], rows["predicted"], labels=self.labels),
            index=pd.Index(self.target_names, name="true"),
            columns=pd.Index(self.target_names, name="predicted"),
        )

    def plot_confusion_matrices(self):
        """Draw the confusion matrices of all pipelines side by side.

        Returns
        -------
        matplotlib.figure.Figure
            Each cell has its count and its share of the true class.
        """
        return plot_confusion_matrices(
            {name: self.confusion_matrix(name) for name in self._names()}
        )

    def _table(self):
        """Return the table as text cells."""
        folds = self.scores.groupby("pipeline", sort=False)[_SHOWN]
        mean, std = folds.mean(), folds.std()
        return pd.DataFrame(
            {
                TITLES[metric]: [_cell(*cell) for cell in zip(mean[metric], std[metric])]
                for metric in _SHOWN
            },
            index=mean.index.tolist(),
        )

    def _notes(self):
        if self.pos_name is None:
            about = "mean over the classes, each against the rest"
        else:
            about = f"{self.pos_name} against the rest"
        spread = "Mean ± standard deviation over the folds."
        more = "to_frame() has more metrics, and 95 % intervals."
        return [self.protocol, f"{spread} All but the accuracy: {about}. {more}"]

    def __repr__(self):
        return "\n".join([self._table().to_string(), "", *self._notes()])

    def _repr_html_(self):
        notes = "".join(f"<p>{escape(note)}</p>" for note in self._notes())
        return f"{self._table().to_html()}{notes}"
