"""The result of a comparison of protocols."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from featbus.evaluation._metrics import METRICS, TITLES, is_of_class, title
from featbus.evaluation._plots import COLORS, GRAY, STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = ["accuracy", "balanced_accuracy", "roc_auc"]
_ROW = 0.56  # height of a row of the figure, in inches


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
        frame = self.to_frame()
        table = pd.DataFrame({"protocol": frame.index, "leak": [*self.leaks.values()]})
        table["n_samples"] = [len(each.predictions) for each in self.evaluations.values()]
        for metric in METRICS:
            for part in ("mean", "low", "high"):
                name = metric if part == "mean" else f"{metric}_{part}"
                table[name] = frame[metric, part].to_numpy()
        return table

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
        gain = best["mean"] - honest["mean"]
        text = TITLES[metric] if metric.endswith("auc") else TITLES[metric].lower()
        start = f"Honest {text}: {_interval(honest)}. The same features and classifier "
        where = "by a random split" if name == "random split" else f"with {name}"
        if gain <= 0:
            return f"{start}get no more by any protocol that leaks: {_interval(best)} {where}."
        is_clear = best["low"] > honest["high"]
        end = " from the protocol alone" if is_clear else ", though the intervals overlap"
        return f"{start}reach {_interval(best)} {where}: {gain:+.2f}{end}."

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
        with rc_context(STYLE):
            figure = Figure(figsize=(8.2, 0.95 + _ROW * len(scores)), layout="constrained")
            axis = figure.subplots()
            _draw_rows(axis, scores, self.leaks)
            _draw_gap(axis, scores)
            positive = next(iter(self.evaluations.values())).pos_name
            about = positive if is_of_class(metric, 2) else None
            axis.set_xlabel(f"{title(metric, about)}, mean over the folds and 95% interval")
        return figure

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


def _draw_rows(axis, scores, leaks):
    """Draw the score of each protocol, and write its name and its leak to the left."""
    honest, aside = scores.iloc[0], axis.get_yaxis_transform()
    axis.axvspan(honest["low"], honest["high"], color=COLORS[0], alpha=0.1, linewidth=0)
    axis.axvline(honest["mean"], color=COLORS[0], linewidth=0.8, linestyle=(0, (4, 3)))
    for row, (name, score) in enumerate(scores.iterrows()):
        color, marker, weight = (COLORS[1], "D", None) if row else (COLORS[0], "o", "bold")
        leak = leaks[name] if row else "no leak"
        axis.hlines(row, score["low"], score["high"], color=color, linewidth=2.2)
        axis.plot(score["mean"], row, marker, color=color, markersize=6 if row else 7)
        text = {"transform": aside, "fontweight": weight}
        axis.text(1.02, row, _interval(score), color=color, va="center", **text)
        axis.text(-0.02, row - 0.03, name, ha="right", va="bottom", **text)
        text = {"transform": aside, "fontsize": 7.5, "color": "#606060"}
        axis.text(-0.02, row + 0.06, leak, ha="right", va="top", **text)
    left, right = scores["low"].min(), scores["high"].max()
    margin = 0.06 * max(right - left, 0.05)
    axis.set(xlim=(left - margin, right + margin), ylim=(len(scores) - 0.4, -0.5), yticks=[])
    axis.spines["left"].set_visible(False)
    axis.grid(axis="x", color=GRAY, alpha=0.25, linewidth=0.6)


def _draw_gap(axis, scores):
    """Mark the difference of the highest score and the honest one."""
    honest, row = scores["mean"].iloc[0], int(np.argmax(scores["mean"]))
    highest = scores["mean"].iloc[row]
    if row == 0:
        return
    at = row - 0.36
    style = {"arrowstyle": "<->", "color": GRAY, "shrinkA": 0, "shrinkB": 0, "linewidth": 1}
    axis.annotate("", (highest, at), (honest, at), arrowprops=style)
    is_clear = scores["low"].iloc[row] > scores["high"].iloc[0]
    text = f"{highest - honest:+.2f}{' by protocol' if is_clear else ', intervals overlap'}"
    axis.text((honest + highest) / 2, at - 0.06, text, ha="center", va="bottom", color="#404040")
