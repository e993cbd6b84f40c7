"""From a folder of images to what leaks are worth."""

from __future__ import annotations

import os
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from sklearn.utils import Bunch

from featbus.augmentation import DIHEDRAL
from featbus.bus import FeatureBus
from featbus.datasets import describe_dataset
from featbus.evaluation import compare_protocols
from featbus.files import written_whole
from featbus.images import ImageErrors
from featbus.model_selection import find_near_duplicates
from featbus.parameters import (
    N_JOBS,
    HasMethods,
    Interval,
    Options,
    SequenceOf,
    check_parameters,
)
from featbus.workflow._checks import check_data, find_class
from featbus.workflow._features import as_transformer
from featbus.workflow._images import PATH, load_labeled
from featbus.workflow._left_out import (
    ON_ERROR,
    add_notes,
    describe_left_out,
    fill_store,
    leave_out,
    list_left_out,
)
from featbus.workflow._notes import note_groups, say_nothing
from featbus.workflow._tables import write_table

if TYPE_CHECKING:
    from typing import Any, Literal

    from featbus.evaluation import ProtocolComparison
    from featbus.typing import PathLike

_TABLE, _FIGURE, _STORE = "honesty.csv", "honesty.png", "features.sqlite"
_CONSTRAINTS = {
    "data": PATH,
    "output": PATH,
    "features": [str, SequenceOf(str), HasMethods("transform")],
    "masks": [*PATH, None],
    "groups": [*PATH, pd.DataFrame, None],
    "n_copies": [Interval(Integral, 0, None, closed="left")],
    "dihedral": [Options(Integral, DIHEDRAL.keys()), None],
    "cv": [Interval(Integral, 2, None, closed="left")],
    "strict": ["boolean"],
    "on_error": ON_ERROR,
    "pos_label": [str, Integral, None],
    "weights": [*PATH, None],
    "backbone_options": [dict, None],
    "options": [dict, None],
    "n_jobs": N_JOBS,
    "random_state": [Interval(Integral, 0, None, closed="left")],
    "verbose": ["boolean"],
}


def measure_leaks(
    data: PathLike,
    output: PathLike = "featbus-honesty",
    *,
    features: Any = ("hog", "intensity", "lbp"),
    masks: PathLike | None = None,
    groups: PathLike | pd.DataFrame | None = None,
    n_copies: int = 2,
    dihedral: Literal[2, 6, 8] | None = None,
    cv: int = 5,
    strict: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    pos_label: str | int | None = None,
    weights: PathLike | None = "imagenet",
    backbone_options: dict | None = None,
    options: dict | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
    verbose: bool = False,
) -> ProtocolComparison:
    """Score the same features and SVM by the honest protocol, and by those that leak.

    Read more in the :ref:`User Guide <command_line>`.

    Parameters
    ----------
    data : path-like
        Folder of BUSI, of mini-MIAS, or with one folder per class, see `load_dataset`.
    output : path-like, default="featbus-honesty"
        Folder for ``honesty.csv``, the table, and ``honesty.png``, the picture. It is created if
        needed, and existing files of these names are replaced. ``features.sqlite`` there stores the
        features for the next run.
    features : sequence of str, str or transformer, default=("hog", "intensity", "lbp")
        Names of extractors, the name of a recipe whose features are used, or a transformer, see
        `extract_features`.
    masks : path-like, default=None
        Where the masks are, see `load_dataset`, so that they are not taken for images. They are not
        used.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_dataset`. Where they are unknown, near-duplicates
        are looked for, and the result says so.
    n_copies : int, default=2
        Number of copies of each image.
    dihedral : {None, 2, 6, 8}, default=None
        Flips and quarter turns instead of random changes, see `featbus.ImageAugmenter`.
    cv : int, default=5
        Number of folds. A split that the folders give is not used: all images are split.
    strict : bool, default=False
        Whether files that are no images are an error, instead of left out with a warning.
    on_error : {"raise", "skip"}, default="raise"
        Whether images that cannot be used are an error, which lists all of them, or are left out.
        What is printed says how many.
    pos_label : str or int, default=None
        The class that scores are about, by the name of its folder; 1 is the folder ``1``. None
        guesses it from the names of two classes, see `featbus.evaluate`.
    weights : "imagenet", path-like or None, default="imagenet"
        Weights of the networks.
    backbone_options : dict, default=None
        Options of the networks, such as ``{"alpha": 0.35}``.
    options : dict, default=None
        Other options of the recipe, see `featbus.recipes.make_recipe`.
    n_jobs : int, default=None
        Number of parallel fits, and of batches of images in parallel.
    random_state : int, default=0
        Seed of the copies, of the folds and of SMOTE.
    verbose : bool, default=False
        Whether to print the data set, progress, the result and files.

    Returns
    -------
    ProtocolComparison
        The result.

    Raises
    ------
    ImageError
        If images cannot be used; the message names all of them.
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If a parameter is invalid, or the data cannot be used.

    See Also
    --------
    featbus.compare_protocols : The protocols, and other classifiers.
    audit_folder : Look for leaks in the data.

    Examples
    --------
    >>> from featbus.workflow import measure_leaks
    >>> result = measure_leaks("Dataset_BUSI_with_GT", groups="groups.csv")  # doctest: +SKIP
    """
    settings = dict(locals())
    check_parameters(_CONSTRAINTS, settings)
    say = print if verbose else say_nothing
    output = Path(output)
    transformer = as_transformer(features, weights, backbone_options, options)
    dataset = load_labeled(data, masks, groups, strict)
    positive = find_class(pos_label, dataset.target_names)
    check_data(dataset, cv)
    output.mkdir(parents=True, exist_ok=True)
    dataset = _prepare(transformer, dataset, output / _STORE, settings)
    say(describe_dataset(dataset))
    shared = ("n_copies", "dihedral", "cv", "random_state", "n_jobs", "verbose")
    result = compare_protocols(
        transformer,
        dataset.images,
        dataset.target,
        groups=dataset.groups,
        target_names=dataset.target_names,
        pos_label=positive,
        memory=output / _STORE,
        **{name: settings[name] for name in shared},
    )
    result = add_notes(note_groups(result, dataset), describe_left_out(dataset))
    say(f"\n{result}\n")
    _write_files(result, output)
    say(f"Wrote {_TABLE} and {_FIGURE} to {output}{os.sep}; {_STORE} there stores the features")
    return result


def _prepare(transformer, dataset, memory, settings):
    """Return the images that have features, with groups: if unknown, those of near-duplicates."""
    options = {name: settings[name] for name in ("n_jobs", "verbose")}
    bus = FeatureBus(transformer, memory=memory, **options)
    _, errors = fill_store(bus, dataset.images)
    if errors:
        errors = ImageErrors(errors, len(dataset.images))
        dataset = leave_out(dataset, errors, settings["on_error"])
        if settings["verbose"]:
            print(list_left_out(dataset))
    if dataset.groups is None:
        groups = find_near_duplicates(dataset.images, **options)
        dataset = Bunch(**dataset | {"groups": groups, "groups_of": "near-duplicates"})
    check_data(dataset, settings["cv"])
    return dataset


def _write_files(result, output):
    """Write the table and the figure: both, or neither."""
    with written_whole(output / _FIGURE) as hidden:
        result.plot().savefig(hidden, format="png", dpi=150)
        write_table(result.to_table(), output / _TABLE)
