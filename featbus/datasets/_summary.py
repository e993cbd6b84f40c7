"""What is said of a data set, and which of its classes is the positive one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.utils import Bunch

_POSITIVE = ("malignant", "abnormal")


def count_images(dataset: Bunch) -> dict[str, int]:
    """Return the number of images of each class.

    Parameters
    ----------
    dataset : Bunch
        A data set, as all loaders return.

    Returns
    -------
    dict of str to int
        In the order of ``target_names``.
    """
    counts = np.bincount(dataset.target, minlength=len(dataset.target_names))
    return dict(zip(dataset.target_names, counts.tolist()))


def describe_dataset(dataset: Bunch) -> str:
    """Describe a data set in one line.

    Parameters
    ----------
    dataset : Bunch
        A data set with a ``name``, as `load_dataset` returns.

    Returns
    -------
    str
        Its name, and the number of images, groups, and images of each class.
    """
    classes = ", ".join(f"{name} {count}" for name, count in count_images(dataset).items())
    n_groups = len(np.unique(dataset.groups))
    groups = f"in {n_groups} groups" if dataset.get("has_groups", True) else "without groups"
    return f"{dataset.name}: {len(dataset.images)} images {groups} ({classes})"


def positive_class(target_names: list[str]) -> str | None:
    """Return the class that metrics are about, for data sets of breast images.

    Parameters
    ----------
    target_names : list of str
        The names of the classes.

    Returns
    -------
    str or None
        "malignant" or "abnormal", in capitals or not, if it is one of two classes; None leaves the
        choice to `featbus.evaluate`.
    """
    if len(target_names) != 2:
        return None
    return next((name for name in target_names if name.lower() in _POSITIVE), None)
