"""From images to a table of features."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from featbus import feature_extraction, recipes
from featbus.bus import FeatureBus
from featbus.commands import _data, _files
from featbus.commands._data import DataFrame, FeatureStore
from featbus.networks import import_keras
from featbus.parameters import InvalidParameterError
from featbus.preprocessing import Resize
from featbus.steps import check_all_parameters, learns, walk
from featbus.typing import PathLike

_EXTRACTORS = {
    "birads": feature_extraction.BIRADSFeatures(),
    "fourier": feature_extraction.FourierEnergy(),
    "fractal": feature_extraction.FractalDimension(),
    "glcm": feature_extraction.GLCM(),
    "gldzm": feature_extraction.GLDZM(),
    "glrlm": feature_extraction.GLRLM(),
    "glszm": feature_extraction.GLSZM(),
    "hog": feature_extraction.HOG(pixels_per_cell=(32, 32), cells_per_block=(2, 2)),
    "intensity": feature_extraction.IntensityStatistics(),
    "ivh": feature_extraction.IntensityVolumeHistogram(),
    "lbp": feature_extraction.LBP(),
    "ngldm": feature_extraction.NGLDM(),
    "ngtdm": feature_extraction.NGTDM(),
    "shape": feature_extraction.ShapeStatistics(),
    "zernike": feature_extraction.ZernikeMoments(),
}
_DEEP = "deep:"


def extract(
    data: PathLike | Sequence[PathLike],
    features: str | Sequence[str] = "intensity,lbp,glcm",
    *,
    masks: PathLike | None = None,
    classes: str | Sequence[str] | None = None,
    groups: PathLike | DataFrame | None = None,
    output: PathLike | None = None,
    weights: PathLike | None = "imagenet",
    backbone_options: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    memory: PathLike | FeatureStore | None = None,
    strict: bool = False,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> DataFrame:
    """Compute the features of images, one row per image, with what is known about each.

    Read more in the :ref:`User Guide <command_line>`.

    Parameters
    ----------
    data : path-like or sequence of path-like
        A data set, see `load_dataset`; a folder of images of unknown class; or several files and
        folders of these, see `load_images`.
    features : str or sequence of str, default="intensity,lbp,glcm"
        Names of extractors, separated by commas: birads (requires masks), fourier, fractal, glcm,
        gldzm, glrlm, glszm, hog (on images stretched to 224 x 224 pixels), intensity, ivh (the
        intensity-volume histogram), lbp, ngldm, ngtdm, shape (requires masks), zernike, and
        deep:NETWORK, such as deep:mobilenet_v2. Or the name of a recipe, see
        `featbus.recipes.list_recipes`, whose steps from image to row are used. In Python, also a
        transformer from images to rows that needs no training.
    masks : path-like, default=None
        Where the masks are, see `load_image_folder`: a suffix, such as ``"_mask"``, or a folder.
        Only pixels inside the mask are used, except by birads; an image without a mask, or with an
        empty one, has no features. None uses whole images.
    classes : str or sequence of str, default=None
        The classes whose images are used, by the names of their folders, separated by commas, such
        as ``"benign,malignant"`` for those of BUSI that have a lesion. None uses all.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_image_folder`.
    output : path-like, default=None
        A ``.parquet`` or ``.csv`` file to write: all of it at the end, or nothing. An existing file
        is replaced. None writes nothing, and prints the table if `verbose`. Parquet requires the
        extra ``featbus[parquet]``.
    weights : "imagenet", path-like or None, default="imagenet"
        Weights of the networks, see `DeepFeatures`.
    backbone_options : dict, default=None
        Options of the networks, such as ``{"alpha": 0.35}``.
    options : dict, default=None
        Parameters of the one extractor named, such as ``{"bin_width": 0.1}`` of glcm, see the class
        in ``featbus``; or other options of the recipe, see `featbus.recipes.make_recipe`.
    memory : path-like, FeatureStore or None, default=None
        The file that stores rows. The same command continues after an interruption, and later runs
        compute only new rows.
    strict : bool, default=False
        Whether files that are not images are an error, rather than skipped with a warning.
    n_jobs : int, default=None
        Number of batches of images at a time, see `FeatureBus`.
    verbose : bool, default=False
        Whether to show a progress bar, and at the end the images without features.

    Returns
    -------
    DataFrame
        One row per image. First, where known: ``path``, relative to the folder, or to the folder
        that all files have in common; ``group``; ``class``; ``split``, the part of the given
        split: "train", "validation" or "test"; ``origin``, what the groups are if they are not
        patients, such as "near-duplicates"; ``side`` and ``view`` of a mammogram; ``mask``, the
        names of its mask files, separated by semicolons; ``spacing_row`` and ``spacing_column``,
        millimeters between pixels, see `featbus.io.read_spacing`; ``error``, None or the reason why
        there are no features. Then one column per feature, NaN after an error.

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
    On the command line: ``featbus extract scans --groups groups.csv -o features.csv``

    >>> import tempfile
    >>> from pathlib import Path
    >>> from skimage.io import imsave
    >>> from featbus import make_breast_ultrasound
    >>> from featbus.commands import extract
    >>> root = Path(tempfile.mkdtemp())
    >>> for number, image in enumerate(make_breast_ultrasound(3, random_state=0).images):
    ...     imsave(root / f"{number}.png", image)
    >>> extract(root, ["intensity", "lbp"]).shape
    (3, 40)
    """
    options = _data.check_options(locals())
    _files.check_output(output, ".csv", ".parquet")
    transformer = make_transformer(options)
    items, info = _files.open_images(options)
    if classes is not None:
        kept = _data.find_images(info.get("class", ()), classes)
        items, info = [items[i] for i in kept], info.loc[kept].reset_index(drop=True)
    if "class" not in info:
        options.say("The class of the images is unknown: found no folders of classes alone.")
    settings = {"memory": memory, "n_jobs": n_jobs, "verbose": verbose}
    rows, bus = _files.compute_rows(transformer, items, **settings)
    features = pd.DataFrame(rows, columns=bus.get_feature_names_out())
    table = pd.concat([_files.add_errors(info, bus.errors_), features], axis=1)
    _files.finish_table(table, options, f"{rows.shape[1]} features", table)
    if "class" in info and "group" not in info:
        options.say(
            "Groups unknown: images that belong together must not be split. To group copies: "
            f"featbus audit {str(data)!r} --output groups.csv; then --groups groups.csv."
        )
    return table


def make_transformer(options):
    """Return the transformer from images to rows named by ``features``; it learns nothing."""
    names = options.features
    if names in (known := recipes.list_recipes()["name"].tolist()):
        return _recipe_transformer(make_recipe(names, options, memory=options.memory))
    if isinstance(names, str):
        names = [name.strip() for name in names.split(",")]
    if options.options and (hasattr(names, "transform") or len(names) > 1):
        raise InvalidParameterError(
            f"options is {options.options}, expected none: one of features, named alone, or a "
            "recipe takes options. In Python, pass a transformer that has these parameters."
        )
    if hasattr(names, "transform"):
        return names
    unknown = [name for name in names if name not in _EXTRACTORS and not name.startswith(_DEEP)]
    if unknown or not names or len(set(names)) < len(names):
        near = get_close_matches("".join(unknown[:1]), [*_EXTRACTORS, *known], n=1)
        raise InvalidParameterError(
            f"features is {names}, expected different names among {sorted(_EXTRACTORS)} and "
            f"'deep:NETWORK', such as 'deep:mobilenet_v2', or the name of one recipe: {known}."
            + "".join(f" Did you mean {name!r}?" for name in near)
        )
    if {"birads", "shape"} & {*names} and options.masks is None:
        raise InvalidParameterError(f"masks is None, expected masks: {names} need regions.")
    extractors = [(name, _make_extractor(name, options)) for name in names]
    return FeatureUnion(extractors, verbose_feature_names_out=False)


def _make_extractor(name, options):
    given = {"weights": options.weights, "backbone_options": options.backbone_options}
    deep = feature_extraction.DeepFeatures
    extractor = _EXTRACTORS.get(name) or deep(name.removeprefix(_DEEP), **given)
    extractor = clone(extractor).set_params(**options.options or {})
    # HOG takes images of one size, whose rows have one length.
    return make_pipeline(Resize(224), extractor) if name == "hog" else extractor


def _recipe_transformer(recipe):
    """Return the steps of a recipe from image to row, without the bus around them."""
    found = recipes.recipe_features(recipe)
    if learns(found):
        raise InvalidParameterError(
            "features is a recipe that learns its features, expected one that does not: use train."
        )
    if isinstance(found, FeatureBus):
        return found.transformer
    *steps, (name, bus) = found.steps
    return Pipeline([*steps, (name, bus.transformer)])


def make_recipe(name, options, **others):
    """Make a recipe with the options that the user gave, and `others`, such as ``memory``.

    Networks that cannot be loaded are refused here, before anything takes time.
    """
    recipe = recipes.make_recipe(name, **others | list_given(options))
    check_all_parameters(recipe)
    try:
        for source in find_networks(recipe):
            source.check_weights()
            if "keras" in source.engines and find_spec("keras") is None:
                import_keras()  # it says what to install
    except (OSError, ImportError) as error:
        raise type(error)(f"{error} The recipe handcrafted needs no network.") from error
    return recipe


def find_networks(estimator):
    """Return where the networks inside an estimator come from; none is loaded."""
    found = (step._source() for step, _ in walk(estimator) if hasattr(step, "_source"))
    return list(dict.fromkeys(found))


def list_given(options):
    """Return the options of the recipe that the user gave."""
    given = dict(options.options or {})
    if options.weights != "imagenet":  # the default, also of recipes without a network
        given["weights"] = options.weights
    if options.backbone_options:
        given["backbone_options"] = options.backbone_options
    return given
