"""The checks of an audit, each a row of the report."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from featbus.groups import GROUPS_UNKNOWN
from featbus.model_selection._pipelines import fitted_steps, misplaced_samplers
from featbus.model_selection._shortcuts import CONTENT

_SHARE = 0.1
_SPLIT_BY_GROUPS = "Split by groups: use suggested_groups of this report."
_STRONG = 0.9  # ROC AUC of a shortcut that is worth a look, even without proof


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
        """Return the test images whose label is in their training part too, and one such pair."""
        leaking = np.zeros(len(self.names), dtype=bool)
        pair = None
        for train, test in self.splits:
            others = np.setdiff1d(train, test)
            found = test[np.isin(labels[test], labels[others])]
            leaking[found] = True
            if pair is None and found.size:
                pair = found[0], others[labels[others] == labels[found[0]]][0]
        return np.flatnonzero(leaking), pair

    def such_as(self, pair):
        """Format a pair of images as an example."""
        return "" if pair is None else f", such as {self.names[pair[0]]} and {self.names[pair[1]]}"


def _ok_unless(images, check, severity, finding, remedy=_SPLIT_BY_GROUPS):
    """Return a check that fails if it found images."""
    if len(images) == 0:
        return Check(check, "ok", "None.")
    return Check(check, severity, finding, len(images), remedy, tuple(images))


def check_copies(folds, copies):
    """Yield checks of whether the training part has copies of test images."""
    exact, pair = folds.find_leaks(copies.exact)
    found = f"{len(exact)} test image(s) are also in their training part, pixel by pixel"
    finding = f"{found}{folds.such_as(pair)}."
    yield _ok_unless(exact, "exact copies across folds", "leak", finding)
    near, pair = folds.find_leaks(copies.near)
    found = f"{len(near)} test image(s) have a copy or near-duplicate in their training part"
    finding = f"{found}{folds.such_as(pair)}."
    yield _ok_unless(near, "near-duplicates across folds", "leak", finding)
    changed, pair = folds.find_leaks(copies.changed)
    # A copy of a copy of a test image leaks, too, even if the one in between is in no part.
    joined, chain = folds.find_leaks(copies.joined())
    changed = np.union1d(changed, np.setdiff1d(joined, near))
    found = f"{len(changed)} test image(s) have such a copy in their training part"
    finding = f"{found}{folds.such_as(pair or chain)}."
    remedy = f"Augment only inside the training fold. {_SPLIT_BY_GROUPS}"
    check = "mirrored, turned or inverted copies across folds"
    yield _ok_unless(changed, check, "leak", finding, remedy)


def check_overlap(folds):
    """Check whether a split has an image in both parts."""
    both = [np.intersect1d(train, test) for train, test in folds.splits]
    both = np.unique(np.concatenate(both))
    finding = f"{len(both)} image(s) are in both the training and the test part of a split."
    check = "training part apart from test part"
    return _ok_unless(both, check, "leak", finding, "Use another splitter.")


def check_groups_apart(folds, groups):
    """Check whether groups are kept together."""
    check = "groups across folds"
    remedy = "Pass groups=, such as the patients."
    if groups is None:
        return Check(check, "warning", f"{GROUPS_UNKNOWN.capitalize()}.", remedy=remedy)
    if len(np.unique(groups)) == len(groups):
        return Check(check, "warning", "Every group has a single image.", remedy=remedy)
    leaking, pair = folds.find_leaks(groups)
    finding = f"{len(leaking)} test image(s) have images of their group in the training part"
    remedy = f"{_SPLIT_BY_GROUPS} cv=5 keeps them together."
    return _ok_unless(leaking, check, "leak", f"{finding}{folds.such_as(pair)}.", remedy)


def check_labels(folds, copied, codes, labels):
    """Check whether copies have the same class."""
    check = "labels of duplicates"
    mixed = pd.Series(codes).groupby(copied).transform("nunique").to_numpy() > 1
    found = np.flatnonzero(mixed)
    if not found.size:
        return Check(check, "ok", "Copies and near-duplicates agree.")
    other = np.flatnonzero((copied == copied[found[0]]) & (codes != codes[found[0]]))[0]
    classes = f"{labels[codes[found[0]]]} and {labels[codes[other]]}"
    finding = (
        f"{len(found)} image(s) have a near-duplicate of another class"
        f"{folds.such_as((found[0], other))} ({classes})."
    )
    remedy = "Look at them: one of the labels is wrong, or the images are not duplicates."
    return _ok_unless(found, check, "warning", finding, remedy)


def check_balance(folds, codes, labels):
    """Check the classes in each part of the splits against those of all images."""
    check, classes = "classes of folds", np.arange(len(labels))
    shares = np.bincount(codes) / len(codes)
    lacking, worst = [], 0.0
    for fold, (train, test) in enumerate(folds.splits):
        if not (np.isin(classes, codes[train]).all() and np.isin(classes, codes[test]).all()):
            lacking.append(fold)
        part = np.bincount(codes[test], minlength=len(labels)) / len(test)
        worst = max(worst, np.abs(part - shares).max())
    spread = f"The share of a class in a test part differs by up to {100 * worst:.0f} points."
    if lacking:
        finding = f"The splits {lacking} lack a class in a part. {spread}"
        return Check(check, "warning", finding, len(lacking), "Use fewer folds.")
    if worst > _SHARE:
        return Check(check, "note", spread, remedy="Use stratified folds, or fewer.")
    return Check(check, "ok", spread)


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
    yield _check_fitted(fitted_steps(pipeline), n_images)


def _check_fitted(fitted, n_images):
    """Check for steps that learned before the folds; those that are held are not fitted again."""
    check = "steps fitted before the folds"
    if not fitted:
        return Check(check, "ok", "None.")
    held = [step for step in fitted if step.held]
    from_all = any(step.n_samples == n_images for step in held)
    unknown = any(step.n_samples is None and step.uses_labels for step in held)
    finding = f"{', '.join(map(_describe_step, fitted))}: learned before the folds"
    finding += f"; there are {n_images} images: all of them." if from_all else "."
    remedy = (
        "Pass them unfitted, with images or rows that none of them has transformed. Frozen steps, "
        "and those in functions, must have learned from other patients; the attribute n_samples_ "
        "says from how many samples."
    )
    return Check(check, "leak" if from_all or unknown else "warning", finding, len(fitted), remedy)


def _describe_step(step):
    text = step.name + (f" ({step.held})" if step.held else "")
    if step.n_samples is not None:
        return f"{text} from {step.n_samples} samples"
    unknown = step.held and step.uses_labels
    return f"{text} from labels and an unknown number of samples" if unknown else text


def check_shortcuts(shortcuts):
    """Yield a check for each shortcut; content is a note."""
    for row in shortcuts.itertuples():
        is_content = row.shortcut in CONTENT
        check = row.shortcut if is_content else f"shortcut: {row.shortcut}"
        if np.isnan(row.roc_auc):
            yield Check(check, "ok", "The same in all images, or a class has a single group.")
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
