"""The audit of a data set, its folds and its pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from numbers import Integral
from shutil import get_terminal_size
from textwrap import fill
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils import check_consistent_length, check_random_state

from featbus.groups import (
    GROUPS_FOUND,
    N_FOLDS,
    Groups,
    check_folds,
    check_groups,
    check_target,
    describe_samples,
    find_doubt,
    make_splits,
    merge_labelings,
)
from featbus.images import as_batch, name_image
from featbus.io import read_mask
from featbus.masks import inside_mask
from featbus.model_selection import _checks
from featbus.model_selection._copies import find_matches
from featbus.model_selection._measures import measure_image, measure_mask
from featbus.model_selection._near_duplicates import map_images
from featbus.model_selection._scenes import describe_scene
from featbus.model_selection._shortcuts import COLUMNS, draw_groups, score_shortcuts
from featbus.parameters import N_JOBS, HasMethods, Interval, SequenceOf, check_parameters
from featbus.typing import Images

_PARAMETER_CONSTRAINTS = {
    "pipeline": [HasMethods("get_params"), SequenceOf(HasMethods("get_params")), dict, None],
    "cv": ["cv_object"],
    "target_names": ["array-like", None],
    "max_images": [Interval(Integral, 1, None, closed="left"), None],
    "random_state": ["random_state"],
    "n_jobs": N_JOBS,
    "verbose": ["verbose"],
}


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
        lines = [_fill(f"Audit {self.outcome}: {self.verdict}"), _fill(self.protocol), ""]
        for check in self.checks.itertuples():
            lines.append(f"{check.severity:9}{check.check}")
            lines += [_fill(text, " " * 9) for text in (check.finding, check.remedy) if text]
        return "\n".join(lines)

    def _repr_html_(self):
        title = f"<b>Audit {self.outcome}: {escape(self.verdict)}</b><br>{escape(self.protocol)}"
        return f"<p>{title}</p>{self.checks.style.hide().format(escape='html').to_html()}"


def _fill(text, indent=""):
    width = min(100, get_terminal_size((100, 0)).columns)
    return fill(text, width, initial_indent=indent, subsequent_indent=indent)


def audit(
    images: Images,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    cv: Any = 5,
    pipeline: Any = None,
    masks: Images | None = None,
    target_names: Sequence[str] | None = None,
    max_images: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> AuditReport:
    """Look for what inflates scores: leaks between folds, and shortcuts to the label.

    No model of the image content is trained, and the pipeline is not run.

    Read more in the :ref:`User Guide <audit>`.

    Parameters
    ----------
    images : batch of images
        See :ref:`images`. Paths are read one at a time; 33 kB per image are written to temporary
        files.
    y : array_like of shape (n_images,)
        The classes; integers or strings.
    groups : array_like of shape (n_images,), default=None
        Images that belong together, such as those of one patient. None: unknown; the report says
        so.
    cv : int, splitter or iterable of (train, test), default=5
        The folds to audit. An int specifies the number of stratified, shuffled folds, which keep
        groups together: the same folds as in `evaluate`. None: five folds.
    pipeline : estimator or list of estimator, default=None
        The estimator to cross-validate, or the steps of a workflow in order.
    masks : sequence of length n_images, default=None
        The mask of each image, as in the data sets' ``masks``: a tuple of paths, an array, or None
        for an image without a mask other than its own, if it is a masked array. They are read one
        at a time, with their image.
    target_names : sequence of str of length n_classes, default=None
        Names of the classes in the report, in the order of the sorted labels.
    max_images : int, default=None
        The largest number of images to read. None reads all. Of more, whole groups are sampled, at
        least one; if groups are unknown, single images, which misses copies. The folds are those of
        all images, and the check of groups is about all; other checks are about images that were
        read, and the others count as copies of none.
    random_state : int, RandomState instance or None, default=0
        Seed of the folds and of all random draws.
    n_jobs : int or None, default=None
        Number of threads that read images, see `joblib.Parallel`.
    verbose : bool, default=False
        Whether to show progress bars, if on a terminal.

    Returns
    -------
    AuditReport
        A table of checks, the verdict `passed`, and `suggested_groups` to split by.

    Raises
    ------
    ImageError
        If images or masks are invalid; the message names the images, all of them.
    ValueError
        If lengths do not match, `y` has a single class, a class has fewer groups than folds, a
        group or label is missing, or a parameter is invalid.

    See Also
    --------
    find_near_duplicates : Group copies and near-copies.
    evaluate : Cross-validate with groups kept together.

    Notes
    -----
    The :ref:`user guide <audit>` lists all checks and explains how shortcuts are measured.

    Examples
    --------
    >>> from featbus import audit, make_breast_ultrasound
    >>> data = make_breast_ultrasound(40, weights=[1, 1, 0], random_state=0)
    >>> images = [*data.images, data.images[0]]
    >>> report = audit(images, [*data.target, data.target[0]])
    >>> report.passed
    False
    >>> report.to_frame().query("severity == 'leak'")["check"].tolist()
    ['exact copies across folds', 'near-duplicates across folds']
    >>> audit(images, [*data.target, data.target[0]], groups=report.suggested_groups).passed
    True
    """
    check_parameters(_PARAMETER_CONSTRAINTS, locals())
    cv = N_FOLDS if cv is None else cv
    images = as_batch(images)
    check_consistent_length(images, y, groups, masks)
    _, labels, codes = check_target(y)
    note, groups = find_doubt(groups), check_groups(groups)
    names = labels if target_names is None else np.asarray(target_names)
    check_consistent_length(labels, names)
    check_folds(names[codes], groups, cv)
    rng = check_random_state(random_state)
    splits = make_splits(cv, codes, codes, groups, rng)
    folds = _checks.Folds(splits, [name_image(item, index) for index, item in enumerate(images)])
    numbers = np.arange(len(images)) if groups is None else pd.factorize(groups)[0]
    most = len(images) if max_images is None else max_images
    chosen = np.flatnonzero(draw_groups(numbers, most, check_random_state(random_state)))
    masks = [None] * len(images) if masks is None else list(masks)
    options = {"chosen": chosen.tolist(), "n_jobs": n_jobs, "verbose": verbose}
    found, alike = [], np.tile(-1 - np.arange(len(images)), (3, 1))  # each like no other
    seen = _set_aside(map_images(_measure, images, images, masks, **options), found)
    alike[1:, chosen] = find_matches(seen, n_jobs=n_jobs)
    digests, measures = zip(*found)
    alike[0, chosen] = pd.factorize(np.array(digests, dtype=object))[0]
    measures = pd.DataFrame(np.array(measures), columns=COLUMNS)
    copied = merge_labelings(*alike[1:])
    suggested = copied if groups is None else merge_labelings(groups, copied)
    shortcuts = score_shortcuts(
        measures, codes[chosen], suggested[chosen], random_state=rng, verbose=verbose
    )
    samples = describe_samples(codes, names, groups)
    kind = "single images, which misses copies" if groups is None else "whole groups"
    drawn = f"{len(chosen):,} of {len(codes):,} images, {kind}, sampled with seed {random_state}"
    drawn = f" Pixels: {drawn}." if len(chosen) < len(codes) else ""
    doubt = f"{note.capitalize()}. " if note and groups is not None else ""
    checks = [
        *_checks.check_copies(folds, *alike),
        _checks.check_groups_apart(folds, groups),
        _checks.check_labels(folds, copied, codes),
        *_checks.check_pipeline(pipeline, len(codes)),
        *_checks.check_shortcuts(shortcuts),
    ]
    return AuditReport(
        checks=pd.DataFrame(checks, columns=_checks.Check._fields).drop(columns="images"),
        shortcuts=shortcuts,
        images={check.check: np.array(check.images, np.intp) for check in checks},
        near_duplicates=Groups(copied, GROUPS_FOUND),
        suggested_groups=Groups(suggested, GROUPS_FOUND if note else ""),
        protocol=f"{doubt}{samples}; splits: {len(splits)}.{drawn}",
        groups_note=note,
    )


def _set_aside(seen, kept):
    """Yield the scenes of what `_measure` returned, and append the rest to a list."""
    for scene, *rest in seen:
        kept.append(rest)
        yield scene


def _measure(image, item, mask):
    """Return the scene of an image, the digest of its pixels, and its measures by `COLUMNS`."""
    inside = read_mask(mask, image.shape)
    inside = inside_mask(image) if inside is None else inside
    digest = joblib.hash(np.ascontiguousarray(np.ma.getdata(image)))
    measures = measure_image(item, image) | measure_mask(inside)
    return describe_scene(image), digest, np.array([measures.get(x, np.nan) for x in COLUMNS])
