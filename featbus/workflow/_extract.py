"""From images to a table of features."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

import pandas as pd

from featbus.bus import FeatureBus, FeatureStore, ImageWarning
from featbus.parameters import (
    N_JOBS,
    HasMethods,
    InvalidParameterError,
    SequenceOf,
    check_parameters,
)
from featbus.wording import argument, named
from featbus.workflow._features import as_transformer
from featbus.workflow._images import DATA, PATH, open_images
from featbus.workflow._tables import check_output, print_failures, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from featbus.typing import PathLike

_SUFFIXES = (".csv", ".npz", ".parquet")
_CONSTRAINTS = {
    "data": DATA,
    "features": [str, SequenceOf(str), HasMethods("transform")],
    "masks": [*PATH, None],
    "groups": [*PATH, pd.DataFrame, None],
    "output": [*PATH, None],
    "weights": [*PATH, None],
    "backbone_options": [dict, None],
    "options": [dict, None],
    "memory": [*PATH, FeatureStore, None],
    "strict": ["boolean"],
    "n_jobs": N_JOBS,
    "verbose": ["boolean"],
}


def extract_features(
    data: PathLike | Sequence[PathLike],
    features: Any = ("intensity", "lbp", "glcm"),
    *,
    masks: PathLike | None = None,
    groups: PathLike | pd.DataFrame | None = None,
    output: PathLike | None = None,
    weights: PathLike | None = "imagenet",
    backbone_options: dict | None = None,
    options: dict | None = None,
    memory: PathLike | FeatureStore | None = None,
    strict: bool = False,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> pd.DataFrame:
    """Compute the features of images, one row per image, with what is known about each.

    Read more in the :ref:`User Guide <command_line>`.

    Parameters
    ----------
    data : path-like or sequence of path-like
        A data set, see `load_dataset`; a folder of images of unknown class; or files, see
        `load_images`.
    features : sequence of str, str or transformer, default=("intensity", "lbp", "glcm")
        Names of extractors: "glcm", "glrlm", "glszm", "intensity", "lbp", "shape" and "hog", the
        last on images stretched to 224 x 224 pixels, the others on images as they are; "deep:" and
        the name of a network, such as "deep:mobilenet_v2". Or the name of a recipe, see
        `featbus.recipes.list_recipes`, whose steps from image to row are used. Or a transformer
        that learns nothing from the data.
    masks : path-like, default=None
        Where the masks are, see `load_image_folder`: a suffix, such as ``"_mask"``, or a folder.
        Only pixels inside the mask are used; an image without a mask, or with an empty one, has no
        features. None uses whole images.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_image_folder`.
    output : path-like, default=None
        A ``.parquet``, ``.csv`` or ``.npz`` file to write: all of it at the end, or nothing. An
        existing file is replaced. None writes nothing. Parquet requires the extra
        ``featbus[parquet]``.
    weights : "imagenet", path-like or None, default="imagenet"
        Weights of the networks, see `DeepFeatures`.
    backbone_options : dict, default=None
        Options of the networks, such as ``{"alpha": 0.35}``.
    options : dict, default=None
        Other options of the recipe, see `featbus.recipes.make_recipe`.
    memory : path-like, FeatureStore or None, default=None
        The file that stores rows. Call this again after an interruption, with the same file, and
        only the missing rows are computed.
    strict : bool, default=False
        Whether files that are no images are an error, instead of left out with a warning.
    n_jobs : int, default=None
        Number of batches of images at a time, see `FeatureBus`.
    verbose : bool, default=False
        Whether to show a progress bar, and at the end the images without features.

    Returns
    -------
    DataFrame
        One row per image. First, where known: ``path``, relative to the folder, or to the folder
        that all files have in common; ``group``; ``class``; ``split``, the part of the given
        split: "train", "validation" or "test"; ``mask``, the files of the mask,
        separated by semicolons; ``spacing_row`` and ``spacing_column``, millimeters between pixels,
        see `featbus.io.read_spacing`; ``error``, None or the reason why there are no features. Then
        one column per feature, NaN after an error.

    Raises
    ------
    FileNotFoundError
        If a folder does not exist.
    ImportError
        If a Parquet file is wanted and pyarrow is not installed.
    InvalidParameterError
        If a parameter is invalid.
    ValueError
        If there are no images, or no image has features; see the loaders, too.

    See Also
    --------
    featbus.FeatureBus.to_parquet : More rows than memory can hold.
    featbus.datasets.load_dataset : Which folders are data sets.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skimage.io import imsave
    >>> from featbus import make_breast_ultrasound
    >>> from featbus.workflow import extract_features
    >>> root = Path(tempfile.mkdtemp())
    >>> for number, image in enumerate(make_breast_ultrasound(3, random_state=0).images):
    ...     imsave(root / f"{number}.png", image)
    >>> extract_features(root, ["intensity", "lbp"]).shape
    (3, 40)
    """
    check_parameters(_CONSTRAINTS, locals())
    check_output(output, _SUFFIXES)
    transformer = as_transformer(features, weights, backbone_options, options)
    is_named = not isinstance(features, str) and not hasattr(features, "transform")
    if masks is None and is_named and "shape" in features:
        raise InvalidParameterError(
            f"{named('features')} has 'shape', which measures lesions, expected masks: a folder, "
            f"or the suffix of those next to their images, such as {argument('masks', '_mask')}."
        )
    items, info = open_images(data, masks, groups, strict=strict)
    bus = FeatureBus(transformer, memory=memory, n_jobs=n_jobs, on_error="nan", verbose=verbose)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImageWarning)  # the table says it
        rows = bus.fit_transform(items)
    info["error"] = _reasons(bus.errors_, len(items))
    table = _join(info, rows, bus)
    if output is not None:
        write_table(table, output, list(table.columns[-rows.shape[1] :]))
    if verbose:
        _report(table, rows.shape[1], output)
    return table


def _reasons(errors, n_images):
    reasons = dict.fromkeys(range(n_images)) | {error.index: error.reason for error in errors}
    return pd.Series(reasons, dtype=object)


def _join(info, rows, bus):
    """Return one table of what is known, and of the features."""
    if hasattr(bus, "get_feature_names_out"):
        names = [str(name) for name in bus.get_feature_names_out()]
    else:
        names = [f"feature_{index}" for index in range(rows.shape[1])]
    taken = sorted({*info.columns} & {*names}) or [name for name in names if names.count(name) > 1]
    if taken:
        raise InvalidParameterError(
            f"Two columns would be called {taken[0]!r}, expected different names. Name the steps "
            "of a FeatureUnion differently, and keep their names: verbose_feature_names_out=True."
        )
    info.insert(len(info.columns) - 1, "error", info.pop("error"))
    return pd.concat([info, pd.DataFrame(rows, columns=names)], axis=1)


def _report(table, n_features, output):
    """Print what was written, and the images without features."""
    failed = table["error"].notna().sum()
    where = "" if output is None else f" in {os.fspath(output)}"
    print(f"{len(table) - failed} of {len(table)} images with {n_features} features{where}")
    print_failures(table)
