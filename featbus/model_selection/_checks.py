"""The checks of an audit, each a row of the report."""

from functools import partial
from inspect import getclosurevars, isfunction
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import is_classifier, is_regressor
from sklearn.feature_selection import SelectorMixin, VarianceThreshold
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.validation import _is_fitted

from featbus.groups import GROUPS_UNKNOWN, merge_labelings
from featbus.model_selection._shortcuts import CONTENT
from featbus.steps import all_steps, is_estimator, is_resampler, learns, steps_of, unwrap, walk

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
    steps = all_steps(estimator)
    counts = [np.max(getattr(step, name, 0)) for step in steps for name in _COUNTS]
    return int(max(counts)) or None


def _uses_labels(estimator):
    """Return whether an estimator learns from classes or values; masks of images do not count."""
    if isinstance(estimator, SelectorMixin):
        return not isinstance(estimator, VarianceThreshold)
    return is_classifier(estimator) or is_regressor(estimator) or hasattr(estimator, "classes_")


def check_shortcuts(shortcuts):
    """Yield a check for each shortcut; content is a note."""
    for row in shortcuts.itertuples():
        is_content = row.shortcut in CONTENT
        check = row.shortcut if is_content else f"shortcut: {row.shortcut}"
        if np.isnan(row.roc_auc):
            yield Check(check, "ok", "The same in all images, or too few groups or classes.")
            continue
        finding = (
            f"Alone it reaches ROC AUC {row.roc_auc:.2f} ({row.low:.2f} to {row.high:.2f}); "
            f"with permuted labels {row.baseline:.2f}, up to {min(row.baseline_high, 1):.2f}."
        )
        severity, remedy = "ok", ""
        if row.roc_auc > row.baseline_high:
            severity = "note" if is_content else "warning"
            remedy = "Find its cause. A model can learn it instead of the disease."
        elif row.baseline_high >= 1 and row.roc_auc >= _STRONG:
            severity = "note"
            remedy = "Too few groups for a test. Compare the classes yourself, or audit more."
        yield Check(check, severity, finding, remedy=remedy)
