"""The result of an audit."""

from dataclasses import dataclass
from html import escape
from textwrap import fill

import numpy as np
import pandas as pd

_COLOURS = {"leak": "#c62828", "warning": "#b26a00", "note": "#1565c0", "ok": "#2e7d32"}


@dataclass(frozen=True, eq=False, repr=False)
class AuditReport:
    """What `audit` found.

    Printing it shows the checks. It is made by `audit`, not by hand; its parameters are its
    attributes.

    Parameters
    ----------
    checks : DataFrame
        One row per check: ``check``; ``severity``, one of "leak", "warning", "note" and "ok";
        ``finding``; ``count``, of the images or steps concerned; ``remedy``, empty where all is
        well.
    shortcuts : DataFrame
        One row per shortcut: ``shortcut``, ``roc_auc`` of what it predicts alone with the 95 %
        interval ``low`` to ``high``; with permuted labels the mean ``baseline`` and the 97.5th
        percentile ``baseline_high``. NaN where there is nothing to learn from.
    images : dict of str to ndarray of int
        The positions of the images that a check found, by its name.
    near_duplicates : ndarray of int of shape (n_images,)
        The near-duplicate group of each image, as `find_near_duplicates` finds it.
    suggested_groups : ndarray of int of shape (n_images,)
        The given groups and all copies and near-duplicates joined; look-alikes that are in doubt
        only where most are not. Images with the same number should lie on the same side of every
        split.
    protocol : str
        What was audited.

    See Also
    --------
    audit : Look for leaks and shortcuts.
    """

    checks: pd.DataFrame
    shortcuts: pd.DataFrame
    images: dict
    near_duplicates: np.ndarray
    suggested_groups: np.ndarray
    protocol: str

    @property
    def passed(self):
        """Whether there is no leak, a bool."""
        return not (self.checks["severity"] == "leak").any()

    @property
    def verdict(self):
        """Number of leaks and warnings in words, a str."""
        counts = self.checks["severity"].value_counts()
        leaks, warnings = (_count(counts.get(kind, 0), kind) for kind in ("leak", "warning"))
        return f"{'no leak found' if self.passed else leaks}, {warnings}"

    def to_frame(self):
        """Return the checks.

        Returns
        -------
        DataFrame
            A copy of `checks`.
        """
        return self.checks.copy()

    def to_dict(self):
        """Return the report in plain types, as for JSON.

        Returns
        -------
        dict
            ``passed``, ``verdict``, ``protocol``, ``checks`` and ``shortcuts`` (lists of one dict a
            row, None for NaN), ``images``, ``near_duplicates`` and ``suggested_groups`` (lists).
        """
        shortcuts = self.shortcuts.astype(object).where(self.shortcuts.notna(), None)
        return {
            "passed": self.passed,
            "verdict": self.verdict,
            "protocol": self.protocol,
            "checks": self.checks.to_dict("records"),
            "shortcuts": shortcuts.to_dict("records"),
            "images": {name: found.tolist() for name, found in self.images.items()},
            "near_duplicates": self.near_duplicates.tolist(),
            "suggested_groups": self.suggested_groups.tolist(),
        }

    def __repr__(self):
        lines = [f"Audit: {self.verdict}", fill(self.protocol, 100), ""]
        for check in self.checks.itertuples():
            lines.append(f"{check.severity:9}{check.check}")
            lines += [_indent(text) for text in (check.finding, check.remedy) if text]
        return "\n".join(lines)

    def _repr_html_(self):
        rows = "".join(
            f'<tr><td style="color:{_COLOURS[row.severity]}"><b>{row.severity}</b></td>'
            + "".join(
                f'<td style="text-align:left">{escape(text)}</td>'
                for text in (row.check, row.finding, row.remedy)
            )
            + "</tr>"
            for row in self.checks.itertuples()
        )
        head = "".join(f"<th>{name}</th>" for name in ("severity", "check", "finding", "remedy"))
        return (
            f"<p><b>Audit: {escape(self.verdict)}</b><br>{escape(self.protocol)}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )


def _count(number, what):
    return f"{number} {what}{'' if number == 1 else 's'}"


def _indent(text):
    return fill(text, 100, initial_indent=" " * 9, subsequent_indent=" " * 9)
