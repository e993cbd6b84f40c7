"""The result of an audit."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class AuditReport:
    """What `audit` found.

    Printing it shows the checks. `audit` makes it; its parameters are also its attributes.

    Read more in the :ref:`User Guide <audit>`.

    Parameters
    ----------
    checks : DataFrame
        One row per check: ``check``; ``severity``, one of "leak", "warning", "note" and "ok";
        ``finding``; ``count``, the number of images, splits or steps concerned; ``remedy``, empty
        if there is nothing to do.
    shortcuts : DataFrame
        One row per shortcut: ``shortcut``; ``roc_auc`` of its predictions with the 95 % interval
        ``low`` to ``high``; ``baseline``, the mean over permuted labels, and ``baseline_high``, the
        bound that no shortcut exceeds in 97 % of the permutations. NaN where there is nothing to
        learn from. The last row is the content by place, which is not a shortcut.
    images : dict of str to ndarray of int
        The positions of the images that each check found.
    near_duplicates : ndarray of int of shape (n_images,)
        The group of copies of each image: those of `find_near_duplicates`, joined with exact ones.
    suggested_groups : ndarray of int of shape (n_images,)
        The given groups joined with `near_duplicates`. Keep images of the same group on the same
        side of every split.
    protocol : str
        What was audited.
    groups_note : str
        Why the groups are unreliable: unknown, or not patients. Part of the verdict. Empty if they
        are reliable.

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
    groups_note: str = ""

    @property
    def passed(self) -> Any:
        """Whether no leak was found, a bool."""
        return not (self.checks["severity"] == "leak").any()

    @property
    def outcome(self) -> str:
        """ "failed" with a leak, "incomplete" with unreliable groups, otherwise "passed": a str."""
        if not self.passed:
            return "failed"
        return "incomplete" if self.groups_note else "passed"

    @property
    def verdict(self) -> str:
        """The number of leaks and of warnings, and what is doubtful about groups, a str."""
        found = self.checks["severity"].value_counts()
        text = f"leaks: {found.get('leak', 0)}, warnings: {found.get('warning', 0)}"
        return f"{text}; {self.groups_note}" if self.groups_note else text

    def to_frame(self) -> pd.DataFrame:
        """Return the checks.

        Returns
        -------
        DataFrame
            A copy of `checks`.
        """
        return self.checks.copy()

    def to_dict(self) -> dict:
        """Return the report in plain types, for example for JSON.

        Returns
        -------
        dict
            ``passed``, ``outcome``, ``verdict``, ``protocol``, ``groups_note``, ``checks`` and
            ``shortcuts`` (lists with one dict per row, None for NaN), ``images``,
            ``near_duplicates`` and ``suggested_groups`` (lists).
        """
        shortcuts = self.shortcuts.astype(object).where(self.shortcuts.notna(), None)
        summary = ("passed", "outcome", "verdict", "protocol", "groups_note")
        return {name: getattr(self, name) for name in summary} | {
            "checks": self.checks.to_dict("records"),
            "shortcuts": shortcuts.to_dict("records"),
            "images": {name: found.tolist() for name, found in self.images.items()},
            "near_duplicates": self.near_duplicates.tolist(),
            "suggested_groups": self.suggested_groups.tolist(),
        }

    def __repr__(self):
        lines = [fill(f"Audit {self.outcome}: {self.verdict}", 100), fill(self.protocol, 100), ""]
        for check in self.checks.itertuples():
            lines.append(f"{check.severity:9}{check.check}")
            lines += [_indent(text) for text in (check.finding, check.remedy) if text]
        return "\n".join(lines)

    def _repr_html_(self):
        title = f"<b>Audit {self.outcome}: {escape(self.verdict)}</b><br>{escape(self.protocol)}"
        with pd.option_context("display.max_colwidth", None):  # no text is cut
            table = self.checks.to_html(index=False, justify="left", border=0)
        return f'<p>{title}</p><div style="text-align:left">{table}</div>'


def _indent(text):
    return fill(text, 100, initial_indent=" " * 9, subsequent_indent=" " * 9)
