"""Recipes by name."""

from __future__ import annotations

from dataclasses import fields
from inspect import getdoc, signature
from typing import TYPE_CHECKING

import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from featbus.base import ImageTransformer
from featbus.bus import FeatureBus
from featbus.parameters import InvalidParameterError
from featbus.recipes import _recipes
from featbus.recipes._recipes import Shared
from featbus.steps import walk

if TYPE_CHECKING:
    from typing import Any

# The images that each recipe is for, and the score that was published.
_RECIPES = {
    _recipes.mammogram_svm: ("mammograms", "accuracy 0.978 (VGG16), 0.929 (InceptionV3)"),
    _recipes.two_tap_mobilenet: ("breast ultrasound", "accuracy 0.96"),
    _recipes.mobilenet_intensity: ("breast ultrasound", "accuracy 0.82 (three classes)"),
    _recipes.enhanced_crop: ("breast ultrasound", "accuracy 0.97 to 0.99"),
    _recipes.unet_crop: (
        "breast ultrasound, with masks",
        "accuracy 0.98 (VGG16), 0.95 (InceptionV3), 0.90 (MobileNet)",
    ),
    _recipes.small_cnn: ("breast ultrasound", "accuracy 0.54"),
    _recipes.breast_ultrasound_features: ("breast ultrasound", ""),
    _recipes.fine_tuned_ultrasound: ("breast ultrasound", ""),
    _recipes.fusion: ("any", ""),
}
_BY_NAME = {recipe.__name__: recipe for recipe in _RECIPES}


def list_recipes() -> pd.DataFrame:
    """List the recipes.

    Read more in the :ref:`User Guide <recipes>`.

    Returns
    -------
    DataFrame
        A row per recipe: ``name``, ``description``, ``images`` and ``paper``, the score of the
        published system where there is one. The user guide says what it is worth.

    See Also
    --------
    make_recipe : Make one of them.

    Examples
    --------
    >>> from featbus.recipes import list_recipes
    >>> list_recipes()["name"].tolist()[:3]
    ['mammogram_svm', 'two_tap_mobilenet', 'mobilenet_intensity']
    """
    rows = [(name, _describe(recipe), *_RECIPES[recipe]) for name, recipe in _BY_NAME.items()]
    return pd.DataFrame(rows, columns=["name", "description", "images", "paper"])


def _describe(recipe):
    """Return the first line of a recipe's documentation, after the images that it is for."""
    return getdoc(recipe).splitlines()[0].partition(": ")[2].rstrip(".")


def make_recipe(name: str, **options: Any) -> Pipeline:
    """Make the pipeline of a published system, unfitted.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    name : str
        A name that `list_recipes` has. The function of this name in ``featbus.recipes`` documents
        the recipe.
    **options : dict
        Further parameters of the recipe, such as `backbone`. Those that almost all recipes have:

        backbone_options : dict or None, default=None
            Options of the network's architecture, see `featbus.DeepFeatures`.
        weights : "imagenet", path or None, default="imagenet"
            Weights of the network.
        memory : str, os.PathLike, FeatureStore or None, default=None
            Where `featbus.FeatureBus` keeps the rows.
        n_jobs : int or None, default=None
            Number of batches of images at a time.
        random_state : int, default=0
            Seed of everything random.

    Returns
    -------
    Pipeline
        From images, or their paths, to classes and probabilities. Nothing is loaded yet.

    Raises
    ------
    ValueError
        If there is no such recipe, it has no such option, or an option is invalid.

    See Also
    --------
    list_recipes : The names.
    recipe_features : The part of a recipe from images to rows.
    featbus.evaluate : Cross-validate recipes.

    Examples
    --------
    >>> from featbus.recipes import make_recipe
    >>> recipe = make_recipe("mobilenet_intensity", backbone_options={"alpha": 0.35})
    >>> list(recipe.named_steps)
    ['features', 'classifier']
    """
    if name not in _BY_NAME:
        raise InvalidParameterError(f"name is {name!r}, expected one of {list(_BY_NAME)}.")
    known = {*signature(_BY_NAME[name]).parameters, *(field.name for field in fields(Shared))}
    for option in sorted({*options} - known):
        raise InvalidParameterError(
            f"{option} is {options[option]!r}, and the recipe {name!r} has no such parameter: "
            f"expected some of {sorted(known - {'shared'})}."
        )
    return _BY_NAME[name](**options)


def recipe_features(recipe: Pipeline) -> FeatureBus | Pipeline:
    """Return the part of a recipe from images to rows, for a table of features.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    recipe : Pipeline
        What `make_recipe` returned.

    Returns
    -------
    FeatureBus or Pipeline
        Unfitted: the recipe's `featbus.FeatureBus`, after the image steps before it, if there are
        any. Samplers are omitted.

    Raises
    ------
    ValueError
        If there is no `featbus.FeatureBus` in `recipe`.

    See Also
    --------
    make_recipe : Make a recipe.

    Examples
    --------
    >>> from featbus import make_breast_ultrasound
    >>> from featbus.recipes import make_recipe, recipe_features
    >>> images = make_breast_ultrasound(4, random_state=0).images
    >>> features = recipe_features(make_recipe("fusion", backbone=None))
    >>> features.fit_transform(images).shape
    (4, 1485)
    """
    bus = next((step for step, _ in walk(recipe) if isinstance(step, FeatureBus)), None)
    if bus is None:
        raise InvalidParameterError(
            f"recipe is {type(recipe).__name__}, expected a pipeline with a FeatureBus, as "
            "make_recipe returns it."
        )
    before = [step for step in recipe.steps if isinstance(step[1], ImageTransformer)]
    return clone(Pipeline([*before, ("features", bus)]) if before else bus)
