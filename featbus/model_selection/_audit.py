"""The audit of a data set, its folds and its pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from inspect import getclosurevars, isfunction
from numbers import Integral
from shutil import get_terminal_size
from textwrap import fill
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import is_classifier, is_regressor
from sklearn.feature_selection import SelectorMixin, VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import _is_fitted

from featbus.groups import (
    GROUPS_FOUND,
    GROUPS_UNKNOWN,
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
from featbus.model_selection._copies import find_matches
from featbus.model_selection._measures import measure_image, measure_mask
from featbus.model_selection._near_duplicates import map_images
from featbus.model_selection._scenes import describe_scene
from featbus.model_selection._shortcuts import COLUMNS, CONTENT, draw_groups, score_shortcuts
from featbus.parameters import N_JOBS, HasMethods, Interval, SequenceOf, check_parameters
from featbus.steps import all_steps, is_estimator, is_resampler, learns, steps_of, unwrap, walk
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


_SPLIT_BY_GROUPS = "Split by groups: use suggested_groups of this report."
_STRONG = 0.9  # ROC AUC of a shortcut that is worth a look, even without proof

# Attributes in which scikit-learn's estimators store how many samples they were fitted on.
_COUNTS = ("n_samples_seen_", "n_samples_", "n_samples_fit_", "_n_samples")
# Their steps are fitted in place, where `walk` finds them.
_FITTED_IN_PLACE = (Pipeline, FeatureUnion)


class Check(NamedTuple):
    """A row of the report, and the images that it concerns."""

    check: str
    severity: str
    finding: str
    count: int = 0
    remedy: str = ""
    images: tuple = ()


class Folds(NamedTuple):
    """The splits, and the names of the images in messages."""

    splits: list
    names: list

    def find_leaks(self, labels):
        """Return the test images whose label is in their training part."""
        leaking = [test[np.isin(labels[test], labels[train])] for train, test in self.splits]
        return np.unique(np.concatenate(leaking))

    def ok_unless(self, images, check, severity, what, remedy=_SPLIT_BY_GROUPS):
        """Return a check that fails if it found images."""
        if len(images) == 0:
            return Check(check, "ok", "None.")
        finding = f"{len(images)} image(s) {what}, such as {self.names[images[0]]}."
        return Check(check, severity, finding, len(images), remedy, tuple(images))


def check_copies(folds, exact, near, changed):
    """Yield checks of whether the training part has copies of test images."""
    images, check = folds.find_leaks(exact), "exact copies across folds"
    yield folds.ok_unless(images, check, "leak", "are in the training part, pixel by pixel")
    found, check = folds.find_leaks(near), "near-duplicates across folds"
    yield folds.ok_unless(found, check, "leak", "have a near-duplicate in the training part")
    # A copy of a copy of a test image leaks, too, even if the one in between is in no part.
    joined = np.setdiff1d(folds.find_leaks(merge_labelings(near, changed)), found)
    found = np.union1d(folds.find_leaks(changed), joined)
    remedy = f"Augment only inside the training fold. {_SPLIT_BY_GROUPS}"
    check = "mirrored, turned or inverted copies across folds"
    yield folds.ok_unless(found, check, "leak", "have such a copy in the training part", remedy)


def check_groups_apart(folds, groups):
    """Check whether groups are kept together."""
    check = "groups across folds"
    remedy = "Pass groups=, such as the patients."
    if groups is None:
        return Check(check, "warning", f"{GROUPS_UNKNOWN.capitalize()}.", remedy=remedy)
    if len(np.unique(groups)) == len(groups):
        return Check(check, "warning", "Every group has a single image.", remedy=remedy)
    what = "have images of their group in the training part"
    remedy = f"{_SPLIT_BY_GROUPS} cv=5 keeps them together."
    return folds.ok_unless(folds.find_leaks(groups), check, "leak", what, remedy)


def check_labels(folds, copied, codes):
    """Check whether copies have the same class."""
    n_classes = pd.Series(codes).groupby(copied).transform("nunique").to_numpy()
    what = "have a near-duplicate of another class"
    remedy = "Look at them: one of the labels is wrong, or the images are not duplicates."
    found = np.flatnonzero(n_classes > 1)
    return folds.ok_unless(found, "labels of duplicates", "warning", what, remedy)


def check_pipeline(pipeline, n_images):
    """Yield checks of the pipeline's samplers and fitted steps."""
    if pipeline is None:
        yield Check("pipeline", "note", "No pipeline was given.", remedy="Pass pipeline=.")
        return
    samplers = [type(sampler).__name__ for sampler in misplaced_samplers(pipeline)]
    check = "samplers in the training fold"
    if samplers:
        finding = (
            f"{', '.join(samplers)}: not a step of an imblearn pipeline, and so not confined to "
            "the training part."
        )
        remedy = "Make it a step of imblearn.pipeline.Pipeline."
        yield Check(check, "leak", finding, len(samplers), remedy)
    else:
        yield Check(check, "ok", "None elsewhere.")
    yield _check_fitted(find_fitted_steps(pipeline), n_images)


def _check_fitted(fitted, n_images):
    """Check for steps that learned before the folds; clones keep what held steps learned."""
    check = "steps fitted before the folds"
    if not fitted:
        return Check(check, "ok", "None.")
    texts, is_leak = [], False
    for step, held in fitted:
        n_samples = _count_samples(step)
        texts.append(f"{type(step).__name__}{held} from {n_samples or 'an unknown number of'}")
        uses_labels = any(map(_uses_labels, all_steps(step)))
        is_leak |= bool(held) and (n_samples == n_images or (uses_labels and n_samples is None))
    finding = f"Learned before the folds: {', '.join(texts)} samples; there are {n_images} images."
    remedy = (
        "Pass them unfitted, with images or rows that none of them has transformed. Frozen steps, "
        "and those in functions, must have learned from other patients; the attribute n_samples_ "
        "says from how many samples."
    )
    return Check(check, "leak" if is_leak else "warning", finding, len(fitted), remedy)


def misplaced_samplers(pipeline):
    """Find samplers that would resample more than the training part.

    Parameters
    ----------
    pipeline : estimator or list
        The pipeline, or the steps of a workflow in order.

    Returns
    -------
    list of estimator
        Samplers that are not a step of an imbalanced-learn pipeline, except those inside another
        sampler, or inside an ensemble classifier that resamples in `fit`.
    """
    return [
        estimator
        for estimator, parent in walk(pipeline)
        if is_resampler(estimator) and not _may_hold_sampler(parent)
    ]


def _may_hold_sampler(parent):
    if isinstance(parent, Pipeline):
        return hasattr(type(parent), "fit_resample")
    return parent is not None and (is_resampler(parent) or is_classifier(parent))


def find_fitted_steps(pipeline):
    """Find estimators that were fitted before the first fold.

    Parameters
    ----------
    pipeline : estimator or list
        The pipeline, or the steps of a workflow in order.

    Returns
    -------
    list of (estimator, str)
        Each estimator that has learned from data, and why no clone of the pipeline fits it again:
        " (frozen)" or " (in a function)"; else empty.
    """
    steps = [estimator for estimator, _ in walk(pipeline)]
    values = [value for step in steps for value in step.get_params(deep=False).values()]
    held = {id(item): item for value in values for item in _inside(value) if is_estimator(item)}
    found = [
        (step, " (frozen)" * isinstance(step, FrozenEstimator))
        for step in steps
        if not isinstance(step, _FITTED_IN_PLACE)
    ]
    found += [(step, " (in a function)") for step in held.values()]
    return [(unwrap(step), how) for step, how in found if _has_learned(step)]


def _inside(value):
    """Return what a function refers to, which `sklearn.base.clone` copies as it is."""
    inside = [value]
    if isinstance(value, partial):
        inside = [value.func, *value.args, *value.keywords.values()]
    elif isfunction(value):
        used = getclosurevars(value)
        inside = [*used.nonlocals.values(), *used.globals.values()]
    # An estimator that is a parameter itself is cloned.
    return [getattr(item, "__self__", None if item is value else item) for item in inside]


def _has_learned(estimator):
    if isinstance(estimator, (FrozenEstimator, *_FITTED_IN_PLACE)):
        return any(_has_learned(step) for _, step in steps_of(estimator))
    is_known = hasattr(estimator, "__sklearn_tags__") and hasattr(estimator, "fit")
    return is_known and learns(estimator) and _is_fitted(estimator)


def _count_samples(estimator):
    """Return how many samples an estimator was fitted on, None if unknown."""
    counts = [np.max(getattr(step, name, 0)) for step in all_steps(estimator) for name in _COUNTS]
    return int(max(counts)) or None


def _uses_labels(estimator):
    """Return whether an estimator learns from classes or values; masks of images do not count."""
    if isinstance(estimator, SelectorMixin):
        return not isinstance(estimator, VarianceThreshold)
    return is_classifier(estimator) or is_regressor(estimator) or hasattr(estimator, "classes_")


def check_shortcuts(shortcuts):
    """Yield a check for each shortcut; content is a note."""
    untested = "The same in all images, or masks in one class alone."
    if shortcuts["roc_auc"].isna().all():  # the content, too, which differs between images
        untested = "Not tested: a class has a single group."
    for row in shortcuts.itertuples():
        is_content = row.shortcut in CONTENT
        check = row.shortcut if is_content else f"shortcut: {row.shortcut}"
        if np.isnan(row.roc_auc):
            yield Check(check, "ok", untested)
            continue
        finding = (
            f"Alone it reaches ROC AUC {row.roc_auc:.2f} ({row.low:.2f} to {row.high:.2f}); "
            f"with permuted labels {row.baseline:.2f}, up to {min(row.baseline_high, 1):.2f}."
        )
        severity, remedy = "ok", ""
        if row.roc_auc > row.baseline_high:
            severity = "note" if is_content else "warning"
            remedy = "Find its cause. A model can learn it instead of the disease."
            finding += " It matters only where the pipeline uses masks." * ("mask" in row.shortcut)
        elif row.baseline_high >= 1 and row.roc_auc >= _STRONG:
            severity = "note"
            remedy = "Too few groups for a test. Compare the classes yourself, or audit more."
        yield Check(check, severity, finding, remedy=remedy)


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
        Why the audit is incomplete: groups that are unknown or not patients, or images that were
        not read. Part of the verdict. Empty if nothing is missing.

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
        """ "failed" with a leak, "incomplete" with a `groups_note`, otherwise "passed": a str."""
        if not self.passed:
            return "failed"
        return "incomplete" if self.groups_note else "passed"

    @property
    def verdict(self) -> str:
        """The number of leaks and of warnings, and why the audit is incomplete, a str."""
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
        least one, however large; if groups are unknown, single images, which misses copies. The
        folds are those of all images, and the check of groups is about all; other checks are about
        images that were read, and the others count as copies of none.
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
    folds = Folds(splits, [name_image(item, index) for index, item in enumerate(images)])
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
    kind = "single images, which misses copies" if groups is None else "whole groups"
    read, drawn = "", ""
    if len(chosen) < len(codes):
        share = f"{len(chosen):,} of {len(codes):,} images"
        read = f"only {share} were read"
        drawn = f" Pixels: {share}, {kind}, sampled with seed {random_state}."
    doubt = f"{note.capitalize()}. " if note and groups is not None else ""
    checks = [
        *check_copies(folds, *alike),
        check_groups_apart(folds, groups),
        check_labels(folds, copied, codes),
        *check_pipeline(pipeline, len(codes)),
        *check_shortcuts(shortcuts),
    ]
    return AuditReport(
        checks=pd.DataFrame(checks, columns=Check._fields).drop(columns="images"),
        shortcuts=shortcuts,
        images={check.check: np.array(check.images, np.intp) for check in checks},
        near_duplicates=Groups(copied, GROUPS_FOUND),
        suggested_groups=Groups(suggested, GROUPS_FOUND if note else ""),
        protocol=f"{doubt}{describe_samples(codes, names, groups)}; splits: {len(splits)}.{drawn}",
        groups_note="; ".join(filter(None, [note, read])),
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
