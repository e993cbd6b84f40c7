"""The result of an evaluation."""

from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from featbus.evaluation._plots import plot_confusion_matrices

_TITLES = {
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "f1": "F1",
    "roc_auc": "ROC AUC",
}


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
        One row per pipeline and fold: ``pipeline``, ``fold``, ``accuracy``, ``sensitivity``,
        ``specificity``, ``precision``, ``f1``, ``roc_auc``; see `confusion_metrics`.
    predictions : DataFrame
        One row per pipeline and tested sample: ``pipeline``, ``index`` (position in `X`), ``fold``,
        ``group`` (the index where there are no groups), ``target``, ``predicted`` (labels as in
        `y`), and for each class ``probability_<name>``, or ``decision_<name>`` for classifiers
        that have decision values only.
    labels : ndarray of shape (n_classes,)
        The classes, sorted.
    target_names : list of str
        Their names.
    pos_name : str or None
        Name of the class that the metrics are about; None where they are the mean over all.
    protocol : str
        What was evaluated, and how.

    See Also
    --------
    evaluate : Cross-validate pipelines.
    """

    scores: pd.DataFrame
    predictions: pd.DataFrame
    labels: np.ndarray
    target_names: list
    pos_name: str | None
    protocol: str

    def to_frame(self):
        """Return mean and standard deviation over the folds.

        Returns
        -------
        DataFrame
            One row per pipeline; columns (metric, "mean") and (metric, "std"), whose divisor is the
            number of folds less one.
        """
        folds = self.scores.drop(columns="fold").groupby("pipeline", sort=False)
        return folds.agg(["mean", "std"]).rename_axis(None)

    def confusion_matrix(self, pipeline=None):
        """Return the confusion matrix over the test parts of all folds.

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
        names = list(self.predictions["pipeline"].unique())
        if pipeline is None and len(names) == 1:
            pipeline = names[0]
        if pipeline not in names:
            raise ValueError(f"pipeline is {pipeline!r}, expected one of {names}.")
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
        names = self.predictions["pipeline"].unique()
        return plot_confusion_matrices({name: self.confusion_matrix(name) for name in names})

    def _table(self):
        """Return the table as text cells."""
        frame = self.to_frame()
        return pd.DataFrame(
            {
                title: [_cell(mean, std) for mean, std in frame[metric].to_numpy()]
                for metric, title in _TITLES.items()
            },
            index=frame.index,
        )

    def _notes(self):
        if self.pos_name is None:
            about = "mean over the classes, each against the rest"
        else:
            about = f"{self.pos_name} against the rest"
        spread = "Mean ± standard deviation over the folds."
        return [self.protocol, f"{spread} All but the accuracy: {about}."]

    def __repr__(self):
        return "\n".join([self._table().to_string(), "", *self._notes()])

    def _repr_html_(self):
        notes = "".join(f"<p>{escape(note)}</p>" for note in self._notes())
        return f"{self._table().to_html()}{notes}"
