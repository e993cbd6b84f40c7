"""The result of a comparison of protocols."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from featbus.evaluation._metrics import METRICS, TITLES, format_interval
from featbus.evaluation._plots import COLORS, GRAY, STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = ["accuracy", "balanced_accuracy", "roc_auc"]


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
        frame = self.to_frame().drop(columns="std", level=1)
        frame.columns = [f"{metric}_{part}".removesuffix("_mean") for metric, part in frame]
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
        text += f"classifier reach {format_interval(best)} by the protocol {name!r}"
        gain, is_clear = best["mean"] - honest["mean"], best["low"] > honest["high"]
        if gain <= 0:
            return f"{text}, the best one that leaks: no more."
        end = " from the protocol alone" if is_clear else ", though the intervals overlap"
        return f"{text}: {gain:+.2f}{end}."

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
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        scores = self._scores(metric)
        rows, honest = range(len(scores)), scores.iloc[0]
        with rc_context(STYLE):
            figure = Figure(figsize=(8.2, 0.95 + 0.56 * len(scores)), layout="constrained")
            axis = figure.subplots()
            axis.axvspan(honest["low"], honest["high"], color=COLORS[0], alpha=0.1, linewidth=0)
            axis.axvline(honest["mean"], color=COLORS[0], linewidth=0.8, linestyle="--")
            colors = [COLORS[0], *[COLORS[1]] * (len(scores) - 1)]
            axis.hlines(rows, scores["low"], scores["high"], colors=colors, linewidth=2.2)
            axis.scatter(scores["mean"], rows, color=colors)
            for row, (_, score) in enumerate(scores.iterrows()):
                place = {"transform": axis.get_yaxis_transform(), "va": "center"}
                axis.text(1.02, row, format_interval(score), **place)
            labels = [f"{name}\n(leak: {self.leaks[name]})" for name in scores.index]
            axis.set_yticks(rows, labels)
            axis.invert_yaxis()
            axis.grid(axis="x", color=GRAY, alpha=0.25, linewidth=0.6)
            axis.set_xlabel(f"{TITLES[metric]}, mean over the folds and 95% interval")
        return figure

    def _table(self):
        """Return the printed table, cells as text."""
        frame = self.to_frame()
        table = pd.DataFrame(index=frame.index)
        for metric in _SHOWN:
            table[TITLES[metric]] = [format_interval(row) for _, row in frame[metric].iterrows()]
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
