"""The part of a recipe from images to rows."""

from __future__ import annotations

from sklearn.base import clone
from sklearn.pipeline import Pipeline

from featbus.bus import FeatureBus
from featbus.parameters import InvalidParameterError
from featbus.steps import is_resampler, steps_of


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
        any. Samplers are left out.

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
    steps = _up_to_rows(recipe)
    if not steps or not isinstance(steps[-1][1], FeatureBus):
        raise InvalidParameterError(
            f"recipe is {type(recipe).__name__}, expected a pipeline with a FeatureBus, as "
            "make_recipe returns it."
        )
    return clone(steps[0][1] if len(steps) == 1 else Pipeline(steps))


def _up_to_rows(estimator):
    """Return the steps up to the first `FeatureBus`, samplers left out; all if there is none."""
    found = []
    for name, step in steps_of(estimator):
        if isinstance(step, FeatureBus):
            return [*found, (name, step)]
        inner = getattr(step, "estimator", None)
        if isinstance(inner, Pipeline):  # calibrated
            return found + _up_to_rows(inner)
        if not is_resampler(step):
            found.append((name, step))
    return found
