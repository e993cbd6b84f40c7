"""Features by name: of extractors, of networks and of recipes."""

from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from featbus import recipes
from featbus.bus import FeatureBus
from featbus.feature_extraction import (
    GLCM,
    GLRLM,
    GLSZM,
    HOG,
    LBP,
    DeepFeatures,
    IntensityStatistics,
    ShapeStatistics,
)
from featbus.parameters import InvalidParameterError
from featbus.preprocessing import Resize
from featbus.steps import learns
from featbus.wording import either, named

_HOG_SIZE = 224  # images of one size have rows of one length
_EXTRACTORS = {
    "glcm": GLCM,
    "glrlm": GLRLM,
    "glszm": GLSZM,
    "hog": lambda: make_pipeline(
        Resize(_HOG_SIZE), HOG(pixels_per_cell=(32, 32), cells_per_block=(2, 2))
    ),
    "intensity": IntensityStatistics,
    "lbp": LBP,
    "shape": ShapeStatistics,
}
_DEEP = "deep:"


def named_features(names, weights="imagenet", backbone_options=None):
    """Return the extractors of these names as one transformer.

    Parameters
    ----------
    names : list of str
        "glcm", "glrlm", "glszm", "hog", "intensity", "lbp", "shape", or "deep:" and the name of a
        network.
    weights : "imagenet", path-like or None, default="imagenet"
        Weights of the networks.
    backbone_options : dict, default=None
        Options of the networks.

    Returns
    -------
    FeatureUnion
        The extractors, in the order of the names.

    Raises
    ------
    InvalidParameterError
        If a name is unknown or occurs twice, or weights or options have no network.
    """
    unknown = [name for name in names if name not in _EXTRACTORS and not name.startswith(_DEEP)]
    found = sorted({*unknown} & {*recipes.list_recipes()["name"]})
    if found:
        raise InvalidParameterError(
            f"{named('features')} is {list(names)}, expected names of extractors; {found[0]!r} is "
            f"a recipe: pass {either(f'features={found[0]!r}', f'--recipe {found[0]}')} instead."
        )
    if unknown or len(set(names)) < len(names):
        raise InvalidParameterError(
            f"{named('features')} is {list(names)}, expected different names among "
            f"{sorted(_EXTRACTORS)} and 'deep:NETWORK', such as 'deep:mobilenet_v2'."
        )
    has_network = any(name.startswith(_DEEP) for name in names)
    if not has_network and (backbone_options or weights != "imagenet"):
        raise InvalidParameterError(
            f"weights is {str(weights)!r} and backbone_options is {backbone_options!r}, and "
            f"features {list(names)} has no network, expected one: 'deep:mobilenet_v2'."
        )
    return FeatureUnion(
        [(name, _extractor(name, weights, backbone_options)) for name in names],
        verbose_feature_names_out=False,
    )


def _extractor(name, weights, backbone_options):
    if not name.startswith(_DEEP):
        return _EXTRACTORS[name]()
    backbone = name.removeprefix(_DEEP)
    return DeepFeatures(backbone, weights=weights, backbone_options=backbone_options or None)


def make_recipe(name, weights, backbone_options, options, **others):
    """Make a recipe whose options may be None.

    Parameters
    ----------
    name : str
        The recipe, see `featbus.recipes.list_recipes`.
    weights : "imagenet", path-like or None
        Weights of its network.
    backbone_options : dict or None
        Options of its network.
    options : dict or None
        Its other options.
    **others : dict
        ``memory``, ``n_jobs`` and ``random_state``.

    Returns
    -------
    Pipeline
        See `featbus.recipes.make_recipe`.
    """
    others["weights"] = weights
    if backbone_options:
        others["backbone_options"] = backbone_options
    taken = sorted({*others, "backbone_options", "memory", "n_jobs"} & {*(options or {})})
    if taken:
        raise InvalidParameterError(
            f"{named('options')} has {taken[0]!r}, expected options of the recipe that have no "
            f"parameter of their own. Use {named(taken[0])}."
        )
    recipe = recipes.make_recipe(name, **others, **(options or {}))
    if backbone_options and not has_backbone(recipe):
        raise InvalidParameterError(
            f"backbone_options is {backbone_options}, and the recipe has no network, expected none."
        )
    return recipe


def has_backbone(recipe):
    """Tell whether a recipe has a network with a name.

    Parameters
    ----------
    recipe : Pipeline
        The recipe.

    Returns
    -------
    bool
        Whether any step's ``backbone`` is not None.
    """
    return any(
        name.rpartition("__")[2] == "backbone" and value is not None
        for name, value in recipe.get_params().items()
    )


def features_of_recipe(recipe):
    """Return the steps of a recipe from image to row.

    Parameters
    ----------
    recipe : Pipeline
        The recipe, unfitted.

    Returns
    -------
    transformer
        The steps, without the bus around them.

    Raises
    ------
    InvalidParameterError
        If the recipe learns its features from the classes or masks.
    """
    found = recipes.recipe_features(recipe)
    if learns(found):
        raise InvalidParameterError(
            "features is a recipe whose features are learned in training, expected one whose "
            "features are the same for any data. Use train, or name the features one by one."
        )
    if isinstance(found, FeatureBus):
        return found.transformer
    return Pipeline([(step, _without_bus(inner)) for step, inner in found.steps])


def _without_bus(step):
    return step.transformer if isinstance(step, FeatureBus) else step


def as_transformer(features, weights="imagenet", backbone_options=None, options=None):
    """Return the transformer that `features` stands for.

    Parameters
    ----------
    features : str, list of str or transformer
        A recipe, names of extractors, or the transformer itself.
    weights : "imagenet", path-like or None, default="imagenet"
        Weights of the networks.
    backbone_options : dict, default=None
        Options of the networks.
    options : dict, default=None
        Other options of the recipe.

    Returns
    -------
    transformer
        From images to rows; it learns nothing.

    Raises
    ------
    InvalidParameterError
        If the transformer learns from the data, see `named_features` and `features_of_recipe`, too.
    """
    if isinstance(features, str):
        return features_of_recipe(make_recipe(features, weights, backbone_options, options))
    if options:
        raise InvalidParameterError(f"options is {options!r}, expected None without a recipe.")
    if not hasattr(features, "transform"):
        return named_features(list(features), weights, backbone_options)
    if backbone_options or weights != "imagenet":
        raise InvalidParameterError(
            f"weights is {str(weights)!r} and backbone_options is {backbone_options!r}, expected "
            "'imagenet' and None for a transformer: they are parameters of its own."
        )
    if learns(features):
        raise InvalidParameterError(
            f"features is {type(features).__name__}, which learns from the data, expected a "
            "transformer that does not. Fit it and wrap it in sklearn.frozen.FrozenEstimator."
        )
    return features
