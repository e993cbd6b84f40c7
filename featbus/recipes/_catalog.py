"""Recipes by name."""

from __future__ import annotations

from difflib import get_close_matches
from inspect import signature
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from featbus.networks import BACKBONES
from featbus.parameters import InvalidParameterError
from featbus.recipes._breast_ultrasound import breast_ultrasound_features
from featbus.recipes._enhanced import enhanced_crop
from featbus.recipes._fine_tuned import fine_tuned_ultrasound
from featbus.recipes._fusion import fusion
from featbus.recipes._intensity import mobilenet_intensity
from featbus.recipes._mammogram import mammogram_svm
from featbus.recipes._two_taps import two_tap_mobilenet
from featbus.recipes._unet_crop import small_cnn, unet_crop
from featbus.wording import either, options_argument

if TYPE_CHECKING:
    from typing import Any

    from sklearn.pipeline import Pipeline

    from featbus.bus._store import FeatureStore
    from featbus.typing import PathLike


class _Recipe(NamedTuple):
    """A factory, what it makes, the images that it is for, and what was published."""

    factory: object
    description: str
    images: str
    paper: str


_RECIPES = [
    _Recipe(
        mammogram_svm,
        "breast without muscle, six orientations, VGG16 or InceptionV3, SVM",
        "mammograms",
        "accuracy 0.978 (VGG16), 0.929 (InceptionV3)",
    ),
    _Recipe(
        two_tap_mobilenet,
        "maps C4 and C5 of MobileNetV3Small, frozen or trained, SVM",
        "breast ultrasound",
        "accuracy 0.96",
    ),
    _Recipe(
        mobilenet_intensity,
        "MobileNetV2 and intensity statistics, SVM",
        "breast ultrasound",
        "accuracy 0.82 (three classes)",
    ),
    _Recipe(
        enhanced_crop,
        "enhance, despeckle, segment, crop, ResNet101, SVM",
        "breast ultrasound",
        "accuracy 0.97 to 0.99",
    ),
    _Recipe(
        unet_crop,
        "MobileNet on the image and on the crop of a U-Net, SVM",
        "breast ultrasound, with masks",
        "accuracy 0.98 (VGG16), 0.95 (InceptionV3), 0.90 (MobileNet)",
    ),
    _Recipe(
        small_cnn,
        "small convolutional network without pretraining, SVM",
        "breast ultrasound",
        "accuracy 0.54",
    ),
    _Recipe(
        breast_ultrasound_features,
        "network, HOG, LBP, texture, intensity; vote of logistic regression and SVM",
        "breast ultrasound",
        "",
    ),
    _Recipe(
        fine_tuned_ultrasound,
        "the same features and a network trained further, logistic regression",
        "breast ultrasound",
        "",
    ),
    _Recipe(
        fusion,
        "network, HOG, LBP, texture, intensity; selection; SVM, forest, KNN, XGBoost or their vote",
        "any",
        "",
    ),
]
_BY_NAME = {recipe.factory.__name__: recipe for recipe in _RECIPES}


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
    rows = [(name, *recipe[1:]) for name, recipe in _BY_NAME.items()]
    return pd.DataFrame(rows, columns=["name", *_Recipe._fields[1:]])


def _advise_network(option, value, known):
    """Return how to pass an option of networks, if it is one and the recipe has a network."""
    if "backbone_options" in known and any(option in row.options for row in BACKBONES.values()):
        given = options_argument("backbone_options", {option: value})
        return f" For an option of the network, pass {given}."
    return ""


def make_recipe(
    name: str,
    *,
    weights: PathLike | None = "imagenet",
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
    **options: Any,
) -> Pipeline:
    """Make the pipeline of a published system, unfitted.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    name : str
        A name that `list_recipes` has. It is also that of the function in ``featbus.recipes`` that
        documents the recipe.
    weights : "imagenet", path or None, default="imagenet"
        Weights of the network.
    memory : str, os.PathLike, FeatureStore or None, default=None
        Where `featbus.FeatureBus` keeps the rows.
    n_jobs : int or None, default=None
        Number of batches of images at a time.
    random_state : int, default=0
        Seed of everything random.
    **options : dict
        Further parameters of the recipe, such as `backbone`.

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
    if not isinstance(name, str) or name not in _BY_NAME:
        near = get_close_matches(str(name), _BY_NAME, n=1)
        raise InvalidParameterError(
            f"{either('name', '--recipe')} is {name!r}, expected one of {list(_BY_NAME)}."
            + (f" Did you mean {near[0]!r}?" if near else "")
        )
    factory = _BY_NAME[name].factory
    options |= {"memory": memory, "n_jobs": n_jobs, "random_state": random_state}
    known = list(signature(factory).parameters)
    if "weights" in known or weights != "imagenet":
        options["weights"] = weights
    for option, value in options.items():
        if option not in known:
            raise InvalidParameterError(
                f"{option} is {value!r}, and the recipe {name!r} has no such parameter: expected "
                f"some of {known}." + _advise_network(option, value, known)
            )
    return factory(**options)
