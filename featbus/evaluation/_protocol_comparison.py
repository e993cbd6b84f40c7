"""The result of a comparison of protocols."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from featbus.evaluation._metrics import METRICS, TITLES
from featbus.evaluation._protocol_plot import plot_protocols

if TYPE_CHECKING:
    from typing import Any

    from matplotlib.figure import Figure

_SHOWN = ["accuracy", "balanced_accuracy", "roc_auc"]
_PARTS = ["mean", "low", "high"]


def _interval(row):
    return f"{row['mean']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


@dataclass(frozen=True, eq=False, repr=False)
class ProtocolComparison:
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
        What is doubtful about the groups: that they are no patients. Empty if nothing is.

    See Also
    --------
    compare_protocols : Compare protocols.

    Notes
    -----
    Interval and mean are those of `featbus.evaluation.Evaluation`, by the jackknife over the groups
    of the images. They tell how sure a score is, not whether it means anything: that of a leaky
    protocol is a precise answer to the wrong question.
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
            One row per protocol, the honest one first; columns (metric, "mean"), (metric, "std"),
            (metric, "low") and (metric, "high"), see `Evaluation.to_frame`.
        """
        return pd.concat([each.to_frame() for each in self.evaluations.values()])

    def to_table(self) -> pd.DataFrame:
        """Return the scores of all protocols as a plain table, such as for a CSV file.

        Returns
        -------
        DataFrame
            One row per protocol: ``protocol``, ``leak``, ``n_samples`` (tested images, copies and
            synthetic rows), and for each metric its mean and the ends of its 95% interval:
            ``accuracy``, ``accuracy_low``, ``accuracy_high``, ...
        """
        frame = self.to_frame()
        columns = {"protocol": frame.index, "leak": [*self.leaks.values()]}
        columns["n_samples"] = [len(each.predictions) for each in self.evaluations.values()]
        for metric in METRICS:
            for part in _PARTS:
                name = metric if part == "mean" else f"{metric}_{part}"
                columns[name] = frame[metric, part].to_numpy()
        return pd.DataFrame(columns)

    def to_dict(self) -> dict[str, Any]:
        """Return everything in the types of JSON.

        Returns
        -------
        dict
            ``protocol``, ``groups_note``, ``summary`` and ``scores``, the rows of `to_table`; None
            for NaN.
        """
        rows = self.to_table().astype(object)
        scores = rows.where(rows.notna(), None).to_dict("records")
        notes = {"protocol": self.protocol, "groups_note": self.groups_note}
        return notes | {"summary": self.summary(), "scores": scores}

    def summary(self, metric: str = "balanced_accuracy") -> str:
        """Say what the highest score of a leaky protocol is worth.

        Parameters
        ----------
        metric : str, default="balanced_accuracy"
            A metric of `to_frame`; "brier", of which less is better, is none of them.

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
        gain = best["mean"] - honest["mean"]
        text = TITLES[metric] if metric.endswith("auc") else TITLES[metric].lower()
        start = f"Honest {text}: {_interval(honest)}. The same features and classifier "
        where = _in_words(name)
        if gain <= 0:
            return f"{start}get no more by any protocol that leaks: {_interval(best)} {where}."
        end = f"{gain:+.2f} from the protocol alone."
        if best["low"] <= honest["high"]:
            end = f"{gain:+.2f}, though the intervals overlap."
        return f"{start}reach {_interval(best)} {where}: {end}"

    def _scores(self, metric):
        if metric not in METRICS[:-1]:
            raise ValueError(f"metric is {metric!r}, expected one of {METRICS[:-1]}.")
        return self.to_frame()[metric]

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
        about = next(iter(self.evaluations.values())).pos_name
        return plot_protocols(self._scores(metric), self.leaks, metric, about)

    def _table(self):
        """Return the printed table, cells as text."""
        frame = self.to_frame()
        columns = {TITLES[m]: [_interval(row) for _, row in frame[m].iterrows()] for m in _SHOWN}
        table = pd.DataFrame(columns, index=frame.index)
        table.insert(0, "leak", [*self.leaks.values()])
        return table

    def _notes(self):
        return [
            *self.protocol.splitlines(),
            "Mean over the folds and 95% interval.",
            self.summary(),
        ]

    def __repr__(self):
        return "\n".join([self._table().to_string(), "", *self._notes()])

    def _repr_html_(self):
        notes = "".join(f"<p>{escape(note)}</p>" for note in self._notes())
        return f"{self._table().to_html()}{notes}"


def _in_words(name):
    """Return how a sentence says that a protocol is used."""
    return "by a random split" if name == "random split" else f"with {name}"
