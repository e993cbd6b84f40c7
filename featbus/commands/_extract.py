"""From images to a table of features."""

import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from featbus import feature_extraction, recipes
from featbus.bus import FeatureBus
from featbus.commands import _data, _files
from featbus.parameters import InvalidParameterError
from featbus.preprocessing import Resize
from featbus.steps import learns

# HOG takes images of one size, whose rows have one length.
_HOG = feature_extraction.HOG(pixels_per_cell=(32, 32), cells_per_block=(2, 2))
_EXTRACTORS = {
    "glcm": feature_extraction.GLCM(),
    "glrlm": feature_extraction.GLRLM(),
    "glszm": feature_extraction.GLSZM(),
    "hog": make_pipeline(Resize(224), _HOG),
    "intensity": feature_extraction.IntensityStatistics(),
    "lbp": feature_extraction.LBP(),
    "shape": feature_extraction.ShapeStatistics(),
}
_DEEP = "deep:"


def extract(options):
    """Extract features; `featbus.commands.extract` has the documentation."""
    _files.check_output(options.output, ".csv", ".npz", ".parquet")
    transformer = make_transformer(options)
    items, info = _files.open_images(options)
    settings = _data.pick(options, "memory", "n_jobs", "verbose")
    rows, bus = _data.compute_rows(transformer, items, **settings)
    table = add_errors(info, bus.errors_)
    names = bus.get_feature_names_out().tolist()
    table = pd.concat([table, pd.DataFrame(rows, columns=names)], axis=1)
    _files.finish_table(table, options, f"{rows.shape[1]} features", names)
    return table


def add_errors(table, errors):
    """Return a table of images with the column ``error``: None, or the reason."""
    reasons = dict.fromkeys(table.index) | {error.index: error.reason for error in errors}
    return table.assign(error=pd.Series(reasons, dtype=object))


def make_transformer(options):
    """Make the transformer from images to rows, which learns nothing, that a user asked for.

    Parameters
    ----------
    options : SimpleNamespace
        With ``features``, ``weights``, ``backbone_options`` and ``options``.

    Returns
    -------
    transformer
        The steps of a recipe, or a `FeatureUnion` of extractors.

    Raises
    ------
    InvalidParameterError
        If a name is unknown, the recipe learns its features, or an option has no use.
    """
    known, names = recipes.list_recipes()["name"].tolist(), options.features
    if hasattr(names, "transform"):
        return names
    if names in known:
        return _features_of_recipe(make_recipe(names, options))
    if isinstance(names, str):
        names = [name.strip() for name in names.split(",")]
    unknown = [name for name in names if name not in _EXTRACTORS and not name.startswith(_DEEP)]
    if unknown or not names or len(set(names)) < len(names):
        raise InvalidParameterError(
            f"features is {names}, expected different names among {sorted(_EXTRACTORS)} and "
            f"'deep:NETWORK', such as 'deep:mobilenet_v2', or the name of one recipe: {known}."
        )
    given = {"weights": options.weights, "backbone_options": options.backbone_options or None}
    unused = {"options": options.options or None}
    if not any(name.startswith(_DEEP) for name in names):
        unused |= given
    if [value for value in unused.values() if value not in (None, "imagenet")]:
        raise InvalidParameterError(f"features is {names}, which has no use for {unused}.")
    deep = {
        name: feature_extraction.DeepFeatures(name.removeprefix(_DEEP), **given) for name in names
    }
    extractors = [(name, clone(_EXTRACTORS.get(name, deep[name]))) for name in names]
    return FeatureUnion(extractors, verbose_feature_names_out=False)


def _features_of_recipe(recipe):
    """Return the steps of a recipe from image to row, without the bus around them."""
    found = recipes.recipe_features(recipe)
    if learns(found):
        raise InvalidParameterError(
            "features is a recipe whose features are learned in training, expected one whose "
            "features are the same for any data. Use train, or name the features one by one."
        )
    if isinstance(found, FeatureBus):
        return found.transformer
    return Pipeline([(name, without_bus(step, "transformer")) for name, step in found.steps])


def without_bus(step, name="transformer_"):
    """Return what a `FeatureBus` wraps, fitted or not, or a step that is none."""
    return getattr(step, name) if isinstance(step, FeatureBus) else step


def make_recipe(name, options, **others):
    """Make a recipe with the options that the user gave, and `others`, such as ``memory``."""
    if options.weights != "imagenet":  # the default, also of recipes without a network
        others["weights"] = options.weights
    if options.backbone_options:
        others["backbone_options"] = options.backbone_options
    return recipes.make_recipe(name, **others | (options.options or {}))
