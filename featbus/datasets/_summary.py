"""What is said of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from featbus.groups import GROUPS_UNKNOWN

if TYPE_CHECKING:
    from sklearn.utils import Bunch


def count_images(dataset: Bunch) -> dict[str, int]:
    """Return the number of images of each class.

    Read more in the :ref:`User Guide <datasets>`.

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

    Read more in the :ref:`User Guide <datasets>`.

    Parameters
    ----------
    dataset : Bunch
        A data set with a ``name``, as `load_dataset` returns.

    Returns
    -------
    str
        Its name, and the number of images, groups, and images of each class. Groups may be
        unknown.
    """
    classes = ", ".join(f"{name} {count}" for name, count in count_images(dataset).items())
    images = f"{dataset.name}: {len(dataset.images)} images"
    if dataset.groups is None:
        return f"{images} ({classes}), {GROUPS_UNKNOWN}"
    kind = f" of {dataset.groups_of}" if "groups_of" in dataset else ""
    return f"{images} in {len(np.unique(dataset.groups))} groups{kind} ({classes})"
