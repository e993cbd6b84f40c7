"""The result of an evaluation."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, multilabel_confusion_matrix

from featbus.evaluation import _intervals as intervals
from featbus.evaluation._checklists import fill_checklist
from featbus.evaluation._metrics import (
    MEAN,
    METRICS,
    TITLES,
    FoldMetrics,
    Printed,
    flatten_columns,
    format_interval,
    is_of_class,
    metric_range,
    ratio,
    title,
)
from featbus.evaluation._plots import plot
from featbus.evaluation._report import write_report
from featbus.files import escape_formula, written_whole
from featbus.model_selection import AuditReport
from featbus.typing import Images, PathLike

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The metrics in the printed table.
_SHOWN = ["accuracy", "sensitivity", "specificity", "precision", "f1", "roc_auc"]
_SUBGROUP = ["accuracy", "sensitivity", "specificity", "roc_auc"]  # metrics of subgroups
SCORES = ("probability_", "decision_")  # begin the names of their columns
# The columns of predictions, but for scores and subgroups.
RESERVED = ["pipeline", "repeat", "index", "fold", "group", "target", "predicted", "n_images"]
_PLACE = ["pipeline", "repeat", "fold"]
CHANCE = "chance"  # the name of the row


class Pooled(NamedTuple):
    """Predictions of one pipeline as arrays; classes are positions in `Evaluation.labels`.

    Attributes
    ----------
    index : ndarray of int of shape (n_predictions,)
        Positions of the samples in `X`.
    target, predicted : ndarray of int of shape (n_predictions,)
        The true and the predicted classes.
    scores : ndarray of float of shape (n_predictions, n_classes)
        Probabilities or decision values.
    kind : {"probability", "decision"}
        Which of the two.
    """

    index: np.ndarray
    target: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray
    kind: str


def _pool(predictions, labels, names):
    """Return rows of `Evaluation.predictions` as `Pooled`."""
    target, predicted = (np.searchsorted(labels, predictions[c]) for c in ("target", "predicted"))
    # Pipelines with decision values leave the columns of probabilities empty.
    is_sure = predictions.get(f"probability_{names[0]}", pd.Series(np.nan)).notna().all()
    kind = "probability" if is_sure else "decision"
    scores = predictions[[f"{kind}_{name}" for name in names]].to_numpy(dtype=np.float64)
    return Pooled(predictions["index"].to_numpy(), target, predicted, scores, kind)


def fold_metrics(predictions, labels, names, positive):
    """Return the metrics of the predictions of one fold.

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
    _, *arrays, kind = _pool(predictions, labels, names)
    return FoldMetrics(*arrays, positive=positive, probabilities=kind == "probability")


def score_fold(predictions, labels, names, positive):
    """Return the metrics of the predictions of one fold, with its pipeline, repeat and number.

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
    dict
        A row of `Evaluation.scores`.
    """
    metrics = fold_metrics(predictions, labels, names, positive)
    values = metrics(np.ones((1, len(predictions))))[0][0].tolist()
    return predictions[_PLACE].iloc[0].to_dict() | dict(zip(METRICS, values))


def _summary(values, *found):
    """Return mean and standard deviation over the folds, and the interval of the mean."""
    values = pd.DataFrame(values)
    low, high = intervals.score_interval(values.mean().to_numpy(), *found)
    return np.stack([values.mean(), values.std(), low, high], axis=-1)


def _as_frame(summaries, index):
    columns = pd.MultiIndex.from_product([METRICS, ["mean", "std", "low", "high"]])
    return pd.DataFrame(np.reshape([*summaries], (len(index), -1)), index, columns)


def _write(text, path):
    """Return a text, or write it to a file."""
    if path is None:
        return text
    with written_whole(path) as hidden:
        hidden.write_text(text, encoding="utf-8", errors="replace")
    return None


def _plain(value):
    """Return a value that JSON has no type for as one that it has."""
    if isinstance(value, pd.DataFrame):
        return value.to_dict("list")
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Printed):
    """The result of `evaluate`.

    Printing it shows the table. It is made by `evaluate`; its parameters are its attributes.

    Read more in the :ref:`User Guide <evaluation>`.

    Parameters
    ----------
    scores : DataFrame
        One row per pipeline, repeat and fold: ``pipeline``, ``repeat``, ``fold``, ``accuracy``,
        ``balanced_accuracy``, ``sensitivity``, ``specificity``, ``precision``, ``npv``, ``f1``,
        ``mcc``, see the notes; ``roc_auc``, the area under the ROC curve; ``pr_auc``,
        average precision; ``brier``, the mean squared error of the probabilities (summed over the
        classes if there are more than two), NaN for decision values.
    predictions : DataFrame
        One row per pipeline, repeat and tested sample: ``pipeline``, ``repeat``, ``index``
        (position in `X`), ``fold``, ``group`` (the index if there are no groups), ``target``,
        ``predicted`` (labels as in `y`), and for each class ``probability_<name>``, or
        ``decision_<name>`` for classifiers without probabilities. Then the columns of `subgroups`.
    labels : ndarray of shape (n_classes,)
        The classes, sorted.
    target_names : list of str
        Their names.
    pos_name : str or None
        Name of the class that the metrics are about; None for the mean over all classes.
    protocol : str
        What was evaluated, and how; if groups are unknown, its first line says so. The last one
        names the positive one of two classes, and says whether it was guessed.
    versions : dict of str to str
        Versions of Python, and of the packages that the numbers depend on.
    timings : DataFrame
        One row per pipeline, repeat and fold: ``pipeline``, ``repeat``, ``fold``, ``n_train`` and
        ``n_test`` samples, ``fit_s`` and ``predict_s`` seconds, excluding the steps from images to
        rows that were computed before the folds.
    best_params : DataFrame
        One row per fold of each pipeline that is a search, or ends in one: ``pipeline``,
        ``repeat``, ``fold``, ``score`` (of the inner cross-validation), ``params`` (the best ones).
    random_state : int
        Seed of the folds.
    has_groups : bool
        Whether the samples had groups. Without them, each counted as its own patient.
    groups_note : str
        Why the groups are doubtful: they are unknown, or not patients. Empty otherwise.
    by : str
        What was judged: each "image", or each "group". Then, a row of `predictions` is a group: its
        ``index`` is the position of its first image, and ``n_images`` their number.
    tables : dict of str to DataFrame
        More tables for the report, by their headings.
    chance : Evaluation or None
        The same of `sklearn.dummy.DummyClassifier`, which always predicts the most frequent class.
        Tables have it as the last row, "chance".

    See Also
    --------
    evaluate : Cross-validate pipelines.

    Notes
    -----
    With the true positives TP and so on of a class against the rest, sensitivity (recall) is TP /
    (TP + FN), specificity TN / (TN + FP), precision (positive predictive value) TP / (TP + FP), NPV
    (negative predictive value) TN / (TN + FN), and F1 2 TP / (2 TP + FP + FN). Balanced accuracy is
    the mean of the sensitivities of all classes, and MCC the Matthews correlation coefficient,
    generalized to more classes by Gorodkin [5]_, 0 if all predictions are the same. The precision
    of a class that was never predicted is 0, as in scikit-learn; the sensitivity of a class without
    samples is NaN, and ignored in means.

    The interval of a score is for the quantity that the mean over the folds estimates: the score on
    new groups (patients), with classes in the same proportions, of pipelines trained on as many
    images of each class as one training part has. Each group is left out of the test parts in turn;
    this jackknife [1]_ [2]_ estimates the variance of the mean due to the groups tested. It is
    multiplied by 1.5 for the variance due to training images, and by 2 for sensitivity,
    specificity, precision, NPV and F1. The interval is Wilson's, for a share of as many independent
    samples as would have this variance [3]_, with Student's distribution for the number of groups
    with images of the class. It lies within the range of the metric, contains the mean, and is not
    empty if all predictions are correct. That of PR AUC also covers the interval around the mean
    less its bias: average precision is too high in small test parts.

    The factors were chosen in simulations, and coverage was measured on others, see
    :ref:`evaluation`. Predictions of different folds come from different models, and their scores
    are not pooled: the area under a curve of pooled scores is biased [4]_.

    References
    ----------
    .. [1] Efron B, Tibshirani RJ. An Introduction to the Bootstrap. Chapman & Hall (1993), chapter
       11.
    .. [2] LeDell E, Petersen M, van der Laan M. Computationally efficient confidence intervals for
       cross-validated area under the ROC curve estimates. Electronic Journal of Statistics 9 (2015)
       1583-1607, doi:10.1214/15-EJS1035.
    .. [3] Korn EL, Graubard BI. Confidence intervals for proportions with small expected number of
       positive counts estimated from survey data. Survey Methodology 24 (1998) 193-201.
    .. [4] Forman G, Scholz M. Apples-to-apples in cross-validation studies: pitfalls in classifier
       performance measurement. SIGKDD Explorations 12(1) (2010) 49-57,
       doi:10.1145/1882471.1882479.
    .. [5] Gorodkin J. Comparing two K-category assignments by a K-category correlation coefficient.
       Computational Biology and Chemistry 28 (2004) 367-374,
       doi:10.1016/j.compbiolchem.2004.09.006.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from featbus import evaluate
    >>> y = np.repeat([0, 1], 40)
    >>> X = np.random.default_rng(0).normal(size=(80, 2)) + y[:, np.newaxis]
    >>> pipelines = {"logistic regression": LogisticRegression()}
    >>> result = evaluate(pipelines, X, y, groups=np.arange(80) // 2)
    >>> result.to_frame()["roc_auc"].round(2).to_dict()
    {'logistic regression': 0.78, 'chance': 0.5}
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
    has_groups: bool = True
    groups_note: str = ""
    by: str = "image"
    tables: dict = field(default_factory=dict)
    chance: Evaluation | None = None

    @property
    def pipeline_names(self) -> Any:
        """Names of the pipelines, a list of str."""
        return self.predictions["pipeline"].unique().tolist()

    @property
    def shown_classes(self) -> Any:
        """Positions of the classes that curves are about, a list of int."""
        names = list(self.target_names)
        return list(range(len(names))) if self.pos_name is None else [names.index(self.pos_name)]

    @property
    def shows_both(self) -> bool:
        """Whether there are two classes and none is the positive one, a bool."""
        return self.pos_name is None and len(self.labels) == 2

    @property
    def is_once(self) -> bool:
        """Whether there is a single test part, a bool."""
        return len(self.predictions[["repeat", "fold"]].drop_duplicates()) == 1

    @property
    def is_prefit(self) -> bool:
        """Whether the pipelines were fitted before, on other data."""
        return bool((self.timings.get("n_train", pd.Series([1])) == 0).all())

    def pooled(self, pipeline: str) -> Pooled:
        """Return the out-of-fold predictions of a pipeline, of all folds and repeats.

        Parameters
        ----------
        pipeline : str
            Name of the pipeline.

        Returns
        -------
        Pooled
            ``index``, ``target``, ``predicted``, ``scores`` and ``kind``, "probability" or
            "decision"; classes are positions in `labels`.

        Raises
        ------
        ValueError
            If there is no such pipeline, or it has no scores.
        """
        return _pool(self._rows(pipeline), self.labels, self.target_names)

    def _rows(self, pipeline):
        """Return the rows of `predictions` of a pipeline."""
        return self.predictions[self.predictions["pipeline"] == self._checked_name(pipeline)]

    @cached_property
    def _folds(self):
        """Return the metrics of each fold, and the group of each of its samples, by pipeline."""
        positive = None if self.pos_name is None else self.shown_classes[0]
        group = pd.Series(pd.factorize(self.predictions["group"])[0], self.predictions.index)
        folds = {name: [] for name in self.pipeline_names}
        for (name, _, _), rows in self.predictions.groupby(_PLACE, sort=False):
            metrics = fold_metrics(rows, self.labels, self.target_names, positive)
            folds[name].append((metrics, group[rows.index].to_numpy()))
        return folds

    @cached_property
    def _left_out(self):
        """Return the jackknife estimates of all metrics, by pipeline."""
        n_groups = self.predictions["group"].nunique()
        return {name: intervals.jackknife(folds, n_groups) for name, folds in self._folds.items()}

    @cached_property
    def _n_informative(self):
        """Return the number of groups that each metric depends on, of shape (n_classes, -1)."""
        rows = self.predictions.drop_duplicates("index")
        has_class = pd.crosstab(rows["group"], rows["target"]).reindex(columns=self.labels)
        return intervals.count_informative(has_class.to_numpy() > 0)

    def _checked_name(self, pipeline):
        names = self.pipeline_names
        if pipeline not in names and (pipeline is not None or len(names) > 1):
            raise ValueError(f"pipeline is {pipeline!r}, expected one of {names}.")
        return names[0] if pipeline is None else pipeline

    def to_frame(self) -> pd.DataFrame:
        """Return the mean over the folds, its standard deviation and its interval.

        Returns
        -------
        DataFrame
            One row per pipeline, and "chance", the last one. Columns of each metric: the mean under
            its plain name, such as ``accuracy``; ``accuracy_std``, the standard deviation over the
            folds with the number of folds minus one as divisor; ``accuracy_low`` and
            ``accuracy_high``, the ends of the 95% interval of the mean.
        """
        return flatten_columns(self._intervals())

    def _intervals(self):
        """Return `to_frame` with columns (metric, part), the mean as "mean"."""
        by_pipeline = self.scores.groupby("pipeline", sort=False)[METRICS]
        counts = self._n_informative[self.shown_classes].min(axis=0)
        found = counts, len(self.labels), self.is_prefit
        summaries = [
            _summary(by_pipeline.get_group(name), self._left_out[name][0], *found)
            for name in self.pipeline_names
        ]
        frame = _as_frame(summaries, self.pipeline_names)
        return frame if self.chance is None else pd.concat([frame, self.chance._intervals()])

    def per_class(self) -> pd.DataFrame:
        """Return the same as `to_frame`, for each class against the rest.

        Returns
        -------
        DataFrame
            One row per pipeline, "chance" included, and class, columns as in `to_frame`. Accuracy,
            balanced accuracy, Matthews correlation coefficient and Brier score are those of the
            class against the rest, too.
        """
        return flatten_columns(self._class_intervals())

    def _class_intervals(self):
        """Return `per_class` with columns (metric, part), the mean as "mean"."""
        blocks = {}
        for name, folds in self._folds.items():
            values = np.stack([metrics(np.ones((1, len(group))))[1][0] for metrics, group in folds])
            estimates = self._left_out[name][1]
            for i, of_class in enumerate(self.target_names):
                found = estimates[:, i], self._n_informative[i], 2, self.is_prefit
                blocks[name, of_class] = _summary(values[:, i], *found)
        index = pd.MultiIndex.from_tuples(blocks, names=["pipeline", "class"])
        frame = _as_frame(blocks.values(), index)
        return frame if self.chance is None else pd.concat([frame, self.chance._class_intervals()])

    def published_table(self, pipeline: str | None = None) -> pd.DataFrame:
        """Return the table found in papers: counts and percentages of each class.

        Parameters
        ----------
        pipeline : str, default=None
            Name of the pipeline; None if there is only one.

        Returns
        -------
        DataFrame
            One row per class, against the rest: the counts ``TP``, ``TN``, ``FP`` and ``FN`` over
            the test parts of all folds and repeats, and computed from them ``sensitivity``,
            ``specificity``, ``accuracy``, ``precision`` and ``F-score`` in percent.

        Raises
        ------
        ValueError
            If there is no such pipeline, or `pipeline` is None and there are several.
        """
        rows = self._rows(pipeline)
        confusions = multilabel_confusion_matrix(
            rows["target"], rows["predicted"], labels=self.labels
        )
        tn, fp, fn, tp = confusions.reshape(-1, 4).T
        table = {"TP": tp, "TN": tn, "FP": fp, "FN": fn}
        table |= {"sensitivity": 100 * ratio(tp, tp + fn), "specificity": 100 * ratio(tn, tn + fp)}
        table |= {
            "accuracy": 100 * ratio(tp + tn, len(rows)),
            "precision": 100 * ratio(tp, tp + fp),
        }
        table |= {"F-score": 100 * ratio(2 * tp, 2 * tp + fn + fp)}
        return pd.DataFrame(table, index=pd.Index(self.target_names, name="class"))

    def compare(self, metric: str = "roc_auc", baseline: str | None = None) -> pd.DataFrame:
        """Compare pipelines pairwise: difference, interval and test.

        Parameters
        ----------
        metric : str, default="roc_auc"
            A metric of `scores`.
        baseline : str, default=None
            Name of the pipeline to compare all others with. None compares all pairs.

        Returns
        -------
        DataFrame
            One row per pair:

            first, second
                The pipelines; a baseline is the second.
            difference
                Mean over the folds of the first pipeline's metric minus the second's. A lower Brier
                score is better.
            low, high
                Its 95% interval, by the corrected resampled t-test over the folds. For a single
                test part: by DeLong's test for the ROC AUC of one class, else by the jackknife over
                groups; these are about the fitted models, not about their training.
            p_value
                Of this test: below 0.05 exactly if 0 is outside the interval. Both are about this
                pair alone.
            p_holm
                The p-value adjusted for the number of rows by Holm's method. With several rows,
                judge by it whether pipelines differ: some intervals exclude 0 by chance.

        Raises
        ------
        ValueError
            If there is no such metric or pipeline, or only one pipeline.

        Notes
        -----
        The test is about the training procedure [1]_: differences of J folds with mean d and
        variance s² give t = d / sqrt((1 / J + n_test / n_train) s²) with J - 1 degrees of freedom.
        The second term accounts for training parts that share samples. The interval has those
        differences that the test would not reject, cut off at the largest one possible. One repeat
        of five folds has only 4 degrees of freedom: plan several, such as ``n_repeats=10``.

        References
        ----------
        .. [1] Nadeau C, Bengio Y. Inference for the generalization error. Machine Learning 52
           (2003) 239-281, doi:10.1023/A:1024068626366.
        """
        names = self.pipeline_names
        if metric not in METRICS:
            raise ValueError(f"metric is {metric!r}, expected one of {METRICS}.")
        if len(names) < 2:
            raise ValueError(f"Got the single pipeline {names[0]!r}, expected two to compare.")
        pairs = list(combinations(names, 2))
        if baseline is not None:
            baseline = self._checked_name(baseline)
            pairs = [(name, baseline) for name in names if name != baseline]
        smallest, largest = metric_range(metric, len(self.labels))
        folds = self.scores.pivot(index=["repeat", "fold"], columns="pipeline", values=metric)
        if len(folds) == 1:
            tests = [self._compare_once(metric, *pair) for pair in pairs]
        else:
            sizes = self.timings[["n_train", "n_test"]].mean()
            differences = (folds[one] - folds[other] for one, other in pairs)
            tests = [intervals.corrected_t_test(each, *sizes) for each in differences]
        rows = pd.DataFrame(pairs, columns=["first", "second"])
        rows[["difference", "low", "high", "p_value"]] = tests
        ends = rows[["low", "high"]].clip(smallest - largest, largest - smallest)
        return rows.assign(**ends, p_holm=intervals.adjust_for_number(rows["p_value"]))

    def _compare_once(self, metric, first, second):
        """Return difference, interval and p-value of two pipelines on a single test part."""
        (one, groups), (other, _) = (self._folds[name][0] for name in (first, second))
        if metric != "roc_auc" or (self.pos_name is None and len(self.labels) > 2):
            codes = pd.factorize(groups)[0]
            return intervals.jackknife_test(one, other, codes, METRICS.index(metric))
        position = self.shown_classes[0]
        pools = [self.pooled(name) for name in (first, second)]
        scores = [pool.scores[:, position] for pool in pools]
        return intervals.delong_test(pools[0].target == position, *scores, groups)

    def by_subgroup(self, pipeline: str | None = None) -> pd.DataFrame:
        """Return the scores of each subgroup.

        Parameters
        ----------
        pipeline : str, default=None
            Name of the pipeline; None if there is only one.

        Returns
        -------
        DataFrame
            One row per column of the `subgroups` that `evaluate` got, and value of it: ``column``,
            ``value``, ``n``, the number of samples, or of groups if these were judged;
            ``n_groups``; the columns of `to_frame` for accuracy, sensitivity, specificity and ROC
            AUC; and ``below``, the metrics whose whole interval is below the score of all samples,
            separated by commas. The test parts of all folds are pooled, for both: a subgroup may be
            too small for scores by fold.

        Raises
        ------
        ValueError
            If there is no such pipeline, or `pipeline` is None and there are several.
        """
        rows = self._rows(pipeline)
        columns = [name for name in rows if name not in RESERVED and not name.startswith(SCORES)]
        columns = [name for name in columns if rows[name].nunique() > 1]

        def score(part):
            scores = replace(self, predictions=part, scores=self._score(part), chance=None)
            return scores.to_frame().iloc[0]

        rows = rows.assign(fold=0)
        whole = score(rows)
        shown = [f"{metric}{end}" for metric in _SUBGROUP for end in ("", "_low", "_high")]
        found = []
        for column in columns:
            for value, part in rows.groupby(column, sort=True):
                row = score(part)
                below = ", ".join(m for m in _SUBGROUP if row[f"{m}_high"] < whole[m])
                sizes = {"n": part["index"].nunique(), "n_groups": part["group"].nunique()}
                place = {"column": column, "value": value}
                found.append(place | sizes | row[shown].to_dict() | {"below": below})
        return pd.DataFrame(found)

    def _score(self, predictions):
        """Return the scores by fold of some predictions."""
        positive = None if self.pos_name is None else self.shown_classes[0]
        arguments = self.labels, self.target_names, positive
        parts = predictions.groupby(_PLACE, sort=False)
        return pd.DataFrame([score_fold(part, *arguments) for _, part in parts])

    def calibration(self) -> pd.DataFrame:
        """Return slope and intercept of the calibration of probabilities.

        Returns
        -------
        DataFrame
            One row per pipeline that has probabilities and class that curves are about:
            ``pipeline``, ``class``; ``slope``, 1 if perfect, below 1 if probabilities are too
            extreme; ``intercept``, 0 if perfect, above 0 if probabilities are too low on average;
            and the ends of their 95% intervals, ``slope_low`` and so on. NaN if they cannot be
            estimated. The test parts of all folds are pooled.

        References
        ----------
        .. [1] Van Calster B, et al. Calibration: the Achilles heel of predictive analytics. BMC
           Medicine 17 (2019) 230, doi:10.1186/s12916-019-1466-7.
        """
        found = []
        for name in self.pipeline_names:
            pool = self.pooled(name)
            for i in self.shown_classes if pool.kind == "probability" else ():
                groups = self._rows(name)["group"].to_numpy()
                line = intervals.calibration_line(pool.target == i, pool.scores[:, i], groups)
                found.append({"pipeline": name, "class": self.target_names[i]} | line)
        return pd.DataFrame(found)

    def to_json(self, path: PathLike | None = None) -> str | None:
        """Return or write the whole result as JSON.

        Parameters
        ----------
        path : str or os.PathLike, default=None
            The file to write. None returns the text.

        Returns
        -------
        str or None
            An object with the attributes of the evaluation, ``summary``, and ``table``, a list of
            pipeline, metric, mean, std, low and high. Tables are objects of columns; NaN and
            infinity are null. Values without a JSON type, such as an estimator chosen by a search,
            become their text.
        """
        table = self._intervals().rename_axis(index="pipeline", columns=["metric", None])
        table = table.stack("metric", future_stack=True).reset_index()
        found = {part.name: getattr(self, part.name) for part in fields(self)}
        found |= {"table": table, "summary": self.summary}
        found["chance"] = None if self.chance is None else json.loads(self.chance.to_json())
        text = json.dumps(found, default=_plain)
        found = json.loads(text, parse_constant=lambda name: None)  # NaN and infinity
        return _write(json.dumps(found, ensure_ascii=False, indent=1), path)

    def to_latex(self, path: PathLike | None = None) -> str | None:
        r"""Return or write the table of a paper, in LaTeX with the package booktabs.

        Parameters
        ----------
        path : str or os.PathLike, default=None
            The file to write. None returns the text.

        Returns
        -------
        str or None
            One row per pipeline, or per pipeline and class if there are two classes and none is the
            positive one; chance is the last row. Columns are the printed metrics, as mean and 95%
            interval. Names are escaped. The caption states the protocol, and where it is so, that
            groups are not patients, and that parameters were chosen.

        Examples
        --------
        >>> from featbus import evaluate
        >>> from sklearn.svm import SVC
        >>> X, y = [[i] for i in range(40)], [0, 1] * 20
        >>> text = evaluate({"C & D": SVC()}, X, y, groups=range(40)).to_latex()
        >>> print(text.splitlines()[0])
        \begin{table}[tb]
        >>> r"C \& D" in text
        True
        """
        n_splits = len(self.predictions[["repeat", "fold"]].drop_duplicates())
        how = "one split" if self.is_once else f"means over {n_splits} splits"
        how += " into training and test part" + ", which share no group" * self.has_groups
        how += ", parameters chosen within each training part" if len(self.best_params) else ""
        note = f" ({self.groups_note})" if self.has_groups and self.groups_note else ""
        text = self._shown(format_interval).to_latex(
            escape=True,
            column_format="l" * (1 + self.shows_both) + "c" * len(_SHOWN),
            multirow=False,
            index_names=False,
            caption=f"{self._size}{note}: {'models fitted before' if self.is_prefit else how},"
            f" with 95\\% intervals ({self._method}){self._about}.",
            label="tab:evaluation",
            position="tb",
        )
        return _write(text, path)

    def to_checklist(
        self, name: str, path: PathLike | None = None, *, audit: AuditReport | None = None
    ) -> pd.DataFrame:
        """Return a checklist for publications, filled with the evidence of this run.

        Parameters
        ----------
        name : {"CLAIM", "TRIPOD+AI", "METRICS"}
            The 2024 update of CLAIM [1]_, for artificial intelligence in medical imaging; TRIPOD+AI
            [2]_, for prediction models; METRICS [3]_, for radiomics.
        path : str or os.PathLike, default=None
            A CSV file to write, too.
        audit : AuditReport, default=None
            The result of `featbus.audit` for the same images.

        Returns
        -------
        DataFrame
            One row per item of the list: ``item``, its number; ``topic``, in our words; the
            ``evidence``, or "the authors must state"; ``where`` it stands in the report of
            `to_html`. Evidence is what the run itself shows, nothing about the clinical setting.

        Raises
        ------
        ValueError
            If there is no such checklist.

        References
        ----------
        .. [1] Tejani AS et al. Checklist for Artificial Intelligence in Medical Imaging (CLAIM):
           2024 Update. Radiology: Artificial Intelligence 6 (2024) e240300,
           doi:10.1148/ryai.240300.
        .. [2] Collins GS et al. TRIPOD+AI statement: updated guidance for reporting clinical
           prediction models that use regression or machine learning methods. BMJ 385 (2024)
           e078378, doi:10.1136/bmj-2023-078378.
        .. [3] Kocak B et al. METhodological RadiomICs Score (METRICS): a quality scoring tool for
           radiomics research endorsed by EuSoMII. Insights into Imaging 15 (2024) 8,
           doi:10.1186/s13244-023-01572-w.
        """
        table = fill_checklist(self, name, audit)
        if path is not None:
            _write(table.map(escape_formula).to_csv(index=False), path)
        return table

    def to_html(
        self,
        path: PathLike,
        *,
        images: Images | None = None,
        audit: AuditReport | None = None,
        title: str | None = None,
    ) -> None:
        """Write a report: one HTML file with tables and figures, for any browser.

        Parameters
        ----------
        path : str or os.PathLike
            The file to write. An existing file is replaced in one step at the end.
        images : batch of images, default=None
            The images of the rows of `X`, in the same order, see :ref:`images`. Paths are read one
            at a time. The report shows those with the most confident errors.
        audit : AuditReport, default=None
            The result of `featbus.audit` for the same images.
        title : str, default=None
            Title of the report.

        Raises
        ------
        ValueError
            If there are fewer images than samples, or an image is invalid.
        OSError
            If the file cannot be written, or an image cannot be read.
        """
        write_report(self, path, images=images, audit=audit, heading=title)

    def plot(self, name: str) -> Figure:
        """Draw a figure.

        Parameters
        ----------
        name : str
            "confusion_matrices", "roc", "precision_recall", "calibration", "decision_curve" or
            "intervals".

        Returns
        -------
        matplotlib.figure.Figure
            The figure. It is not managed by pyplot: it needs no closing, and ``savefig`` writes it.

        Raises
        ------
        ValueError
            If there is no such figure, or no pipeline has the probabilities that it needs.
        """
        return plot(self, name)

    def confusion_matrix(self, pipeline: str | None = None) -> pd.DataFrame:
        """Return the confusion matrix over the test parts of all folds and repeats.

        Parameters
        ----------
        pipeline : str, default=None
            Name of the pipeline; None if there is only one.

        Returns
        -------
        DataFrame of int of shape (n_classes, n_classes)
            True classes are rows, predicted classes are columns.

        Raises
        ------
        ValueError
            If there is no such pipeline, or `pipeline` is None and there are several.
        """
        rows = self._rows(pipeline)
        counts = confusion_matrix(rows["target"], rows["predicted"], labels=self.labels)
        true, predicted = (pd.Index(self.target_names, name=name) for name in ("true", "predicted"))
        return pd.DataFrame(counts, index=true, columns=predicted)

    def _table(self):
        """Return the printed table, cells as text."""
        return self._shown(lambda row: "{mean:.2f} ± {std:.2f}".format(**row).replace(" ± nan", ""))

    def _shown(self, make_cell):
        """Return a table of the printed metrics; cells are made of mean, std, low and high."""
        frame = self._class_intervals() if self.shows_both else self._intervals()
        cells = {}
        for metric in _SHOWN:
            name = title(metric, self.pos_name if is_of_class(metric, len(self.labels)) else None)
            cells[name] = [make_cell(row) for _, row in frame[metric].iterrows()]
        return pd.DataFrame(cells, frame.index).rename_axis(index={"pipeline": None})

    def _notes(self):
        spread = "Mean ± standard deviation over the folds"
        spread = "Scores of one test part" if self.is_once else spread
        notes = [f"{spread}{self._about}. to_frame() and the report add metrics and 95% intervals."]
        return [*notes, *filter(None, [self.doubt])]

    @property
    def doubt(self) -> Any:
        """Which pipelines are not clearly better than chance, a sentence; empty if all are."""
        frame, found = self.to_frame(), []
        for name in self.pipeline_names if self.chance is not None else ():
            unclear = [
                TITLES[metric]
                for metric in ("balanced_accuracy", "roc_auc")
                if frame.loc[name, f"{metric}_low"] <= frame.loc[CHANCE, metric]  # not NaN
            ]
            found += [f"{name} ({', '.join(unclear)})"] if unclear else []
        return f"Not clearly better than chance: {'; '.join(found)}." if found else ""

    @property
    def _about(self):
        """Return what metrics are about if there is no positive class, as text."""
        if self.shows_both:
            return "; each class against the rest"
        return "; means over the classes, each against the rest" if self.pos_name is None else ""

    @property
    def _method(self):
        """Return how intervals are computed, as text."""
        by = "groups" if self.has_groups else "images"
        enlarged = "" if self.is_prefit else ", enlarged for the training images"
        return f"Wilson's, with Student's t and the jackknife variance over {by}{enlarged}"

    @property
    def _size(self):
        """Return the numbers of images and of groups as text."""
        rows = self.predictions.drop_duplicates("index")
        n_groups = rows["group"].nunique()
        if self.by == "group":
            return f"{n_groups} groups of {rows['n_images'].sum()} images"
        unknown = ", each counted as its own patient"
        return f"{len(rows)} images{f' of {n_groups} groups' if self.has_groups else unknown}"

    @property
    def summary(self) -> Any:
        """What was asked of how many groups, the score, chance, and what is doubtful: a str."""
        return self._summarize()

    def _summarize(self, audit=None):
        """Return `summary`, and with an audit its outcome."""
        frame, names = self._intervals(), self.pipeline_names
        metric = "roc_auc" if frame.loc[names, ("roc_auc", "mean")].notna().any() else "accuracy"
        best = frame.loc[names, (metric, "mean")].idxmax()
        score = format_interval(frame.loc[best, metric]).replace("(", "(95% interval ")
        about = (self.pos_name or MEAN) if is_of_class(metric, len(self.labels)) else None
        *first, last = self.target_names
        text = f"Asked to tell {', '.join(first)} and {last} apart in {self._size}, {best}"
        text += f", the best of {len(names)} pipelines," if len(names) > 1 else ""
        text += f" reaches {title(metric, about)} {score}"
        unseen = f" on {self.by}s that it was not trained on"
        text += ", fitted before" if self.is_prefit else unseen
        if self.chance is not None:
            text += f"; chance has {frame.loc[CHANCE, (metric, 'mean')]:.2f}"
        doubts = self._doubts(audit)
        return f"{text}; doubtful: {'; '.join(doubts)}." if doubts else f"{text}."

    def _doubts(self, audit=None):
        """Return what is doubtful about the scores, a list of phrases."""
        rows = self.predictions.drop_duplicates("index")
        codes = np.searchsorted(self.labels, rows["target"])
        groups = rows["group"].to_numpy() if self.has_groups else None
        few = intervals.describe_few_groups(codes, groups, self.target_names)
        failed = "" if audit is None or audit.outcome == "passed" else f"audit {audit.outcome}"
        # The number of images says the rest of the note.
        found = [self.groups_note.partition(":")[0], few, self.doubt, failed]
        return [f"{text[0].lower()}{text[1:].rstrip('.')}" for text in found if text]
