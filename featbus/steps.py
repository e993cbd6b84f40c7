"""Composites: which steps an estimator has, what they learn and read, and which makes rows.

The only module that knows `Pipeline` (scikit-learn's and imbalanced-learn's), `FeatureUnion`,
`ColumnTransformer`, `VotingClassifier`, `FrozenEstimator`, searches and featbus's own wrappers, and
that a step can be ``"passthrough"`` or ``"drop"``.
"""

from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import get_tags

from featbus.base import FeatureExtractor, ImageEstimator, ImageTransformer


def steps_of(estimator):
    """Return the steps directly inside an estimator.

    Parameters
    ----------
    estimator : object
        An estimator; anything else has no steps.

    Returns
    -------
    list of (str, estimator)
        Names and steps, in the order in which they run; fitted ones if the estimator keeps them
        separately. Steps that are ``"drop"``, ``"passthrough"`` or None are left out.
    """
    return [(name, step) for name, step in _parts(estimator) if not _is_placeholder(step)]


def _parts(estimator):
    """Return names and steps inside an estimator, placeholders included."""
    if isinstance(estimator, Pipeline):
        return estimator.steps
    if isinstance(estimator, FeatureUnion):
        return estimator.transformer_list
    if isinstance(estimator, ColumnTransformer):
        unfitted = [*estimator.transformers, ("remainder", estimator.remainder, None)]
        found = vars(estimator).get("transformers_", unfitted)
        return [(name, transformer) for name, transformer, _ in found]
    if isinstance(estimator, VotingClassifier):
        fitted = vars(estimator).get("named_estimators_", {})
        return [(name, fitted.get(name, step)) for name, step in estimator.estimators]
    name = _wrapped_name(estimator)
    if name is None:
        return []
    fitted = "best_estimator_" if is_search(estimator) else f"{name}_"
    return [(name, vars(estimator).get(fitted, getattr(estimator, name)))]


def _is_placeholder(step):
    return step is None or (isinstance(step, str) and step in ("drop", "passthrough"))


def _wrapped_name(estimator):
    """Return the name of the parameter that holds what an estimator wraps, or None."""
    if isinstance(estimator, FrozenEstimator) or is_search(estimator):
        return "estimator"
    return getattr(type(estimator), "_wraps", None)


def unwrap(estimator):
    """Return the estimator inside any number of wrappers: `FrozenEstimator`, `FeatureBus`, search.

    Parameters
    ----------
    estimator : object
        An estimator.

    Returns
    -------
    object
        The innermost estimator, fitted if the wrapper holds a fitted one.
    """
    while _wrapped_name(estimator) is not None:
        ((_, estimator),) = _parts(estimator)
    return estimator


def all_steps(estimator):
    """Find the steps inside an estimator, and those inside them.

    Parameters
    ----------
    estimator : estimator
        The estimator.

    Yields
    ------
    estimator
        The estimator itself, and all its steps: fitted ones if it keeps them separately.
    """
    yield estimator
    for _, step in steps_of(estimator):
        yield from all_steps(step)


def walk(value, parent=None):
    """Find the estimators inside an estimator, a list or a dict.

    Parameters
    ----------
    value : object
        Where to look.
    parent : estimator, default=None
        The estimator whose parameter `value` is.

    Yields
    ------
    (estimator, estimator or None)
        An estimator, itself first, and the one whose parameter it is. Only parameters are searched,
        not fitted attributes, and nothing inside a `FrozenEstimator`.
    """
    inner = ()
    if is_estimator(value):
        yield value, parent
        if not isinstance(value, FrozenEstimator):
            inner, parent = value.get_params(deep=False).values(), value
    elif isinstance(value, (list, tuple, dict)):
        inner = value.values() if isinstance(value, dict) else value
    for item in inner:
        yield from walk(item, parent)


def is_estimator(value):
    """Return whether an object is an estimator.

    Parameters
    ----------
    value : object
        Anything.

    Returns
    -------
    bool
        True if its class has the method `get_params`.
    """
    return hasattr(type(value), "get_params")


def check_all_parameters(estimator):
    """Check the parameters of all featbus steps inside an estimator.

    Parameters
    ----------
    estimator : estimator
        One of them, or a composite.

    Raises
    ------
    InvalidParameterError
        If one is invalid.
    """
    for step in all_steps(estimator):
        # Asked of the class: a FrozenEstimator delegates the attributes of the estimator inside.
        check = getattr(type(step), "_check_parameters", None)
        if check is not None:
            check(step)


def learns(transformer):
    """Return whether a transformer learns from the data in `fit`.

    Parameters
    ----------
    transformer : estimator or str
        A transformer, or "passthrough" or "drop".

    Returns
    -------
    bool
        False if it is frozen, or if it, or every step inside it, is stateless according to its tag
        `requires_fit`.
    """
    if _is_placeholder(transformer) or isinstance(transformer, FrozenEstimator):
        return False
    steps = [] if is_search(transformer) else steps_of(transformer)
    if steps and not isinstance(transformer, ImageEstimator):
        return any(learns(step) for _, step in steps)
    return get_tags(transformer).requires_fit


def reads_plainly(transformer):
    """Return whether a transformer reads paths as `featbus.io.read_image` does by default.

    Parameters
    ----------
    transformer : estimator
        From images, or paths, to images or rows.

    Returns
    -------
    bool
        True if all steps that may see a path do: then a path can be read before.
    """
    steps = steps_of(transformer)
    if isinstance(transformer, Pipeline):
        return bool(steps) and reads_plainly(steps[0][1])
    if steps:
        return all(reads_plainly(step) for _, step in steps)
    return all(
        getattr(type(transformer), name, None) is getattr(ImageEstimator, name)
        for name in ("_read", "_iter_images")
    )


def is_search(estimator):
    """Return whether an estimator is a `GridSearchCV` or another search.

    Parameters
    ----------
    estimator : object
        An estimator.

    Returns
    -------
    bool
        True if it is.
    """
    return isinstance(estimator, BaseSearchCV)


def search_in(estimator):
    """Return the search that an estimator is, or ends in.

    Parameters
    ----------
    estimator : estimator
        A search, a pipeline or any other estimator.

    Returns
    -------
    estimator or None
        The search.
    """
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    return last if is_search(last) else None


def is_resampler(estimator):
    """Return whether an estimator is a sampler of imbalanced-learn.

    Parameters
    ----------
    estimator : object
        An estimator.

    Returns
    -------
    bool
        True for SMOTE and other samplers; False for pipelines that contain one.
    """
    return hasattr(estimator, "fit_resample") and not isinstance(estimator, Pipeline)


def _makes_rows(step):
    """Return whether a step makes a row of each image on its own."""
    while isinstance(step, FrozenEstimator):
        step = step.estimator
    if isinstance(step, Pipeline):
        return 0 < _count_extracting(step) == len(step.steps)
    if isinstance(step, FeatureUnion):
        parts = steps_of(step)
        return bool(parts) and all(_makes_rows(part) for _, part in parts)
    return isinstance(step, ImageEstimator) and not isinstance(step, ImageTransformer)


def _count_extracting(pipeline):
    """Return the number of steps that a pipeline takes from images to rows, or 0."""
    for count, (_, step) in enumerate(pipeline.steps, start=1):
        if _makes_rows(step):
            return count
        if not (_is_placeholder(step) or isinstance(unwrap(step), ImageTransformer)):
            break
    return 0


def split_extraction(estimator):
    """Split a pipeline, or that of a search, after the steps from image to row.

    Parameters
    ----------
    estimator : estimator
        A classifier, usually a pipeline.

    Returns
    -------
    steps : list of (str, transformer)
        The steps; empty if there are none, if some learn, or if their parameters are searched.
    rest : estimator
        The remaining estimator, which expects rows.
    """
    pipeline = estimator.estimator if is_search(estimator) else estimator
    steps = pipeline.steps[: _count_extracting(pipeline)] if isinstance(pipeline, Pipeline) else []
    if not 0 < len(steps) < len(pipeline.steps) or any(learns(step) for _, step in steps):
        return [], estimator
    rest = pipeline[len(steps) :]
    if not is_search(estimator):
        return steps, rest
    if _searched_steps(estimator) & {name for name, _ in steps}:
        return [], estimator
    return steps, clone(estimator).set_params(estimator=rest)


def _searched_steps(search):
    """Return the names of the steps that have parameters which a search chooses."""
    space = getattr(search, "param_grid", None) or getattr(search, "param_distributions", {})
    spaces = [space] if hasattr(space, "keys") else space
    return {name.partition("__")[0] for part in spaces for name in part}


def extractions(transformer):
    """Return the steps and the extractor behind each block of a transformer's columns.

    Parameters
    ----------
    transformer : estimator
        A fitted extractor, or a composite of image steps, extractors and steps that keep columns.

    Returns
    -------
    list of (list of estimator, FeatureExtractor)
        The steps that an image passes through and the extractor, in the order of the columns.

    Raises
    ------
    ValueError
        If some columns do not come from an extractor.
    """
    before = []
    for step in _in_a_row(transformer):
        inner = unwrap(step)
        if isinstance(inner, FeatureExtractor):
            return [(before, inner)]
        if isinstance(inner, (FeatureUnion, ColumnTransformer)):
            parts = [part for _, part in _parts(inner) if part is not None and part != "drop"]
            found = [extraction for part in parts for extraction in extractions(part)]
            return [([*before, *steps], last) for steps, last in found]
        before.append(step)
    raise ValueError(
        f"{transformer!r} has columns that cannot be traced back to pixels, expected an extractor, "
        "or a FeatureBus, Pipeline or FeatureUnion of extractors."
    )


def _in_a_row(estimator):
    """Return the steps that run one after another, those of pipelines inside pipelines too."""
    inner = unwrap(estimator)
    if not isinstance(inner, Pipeline):
        return [estimator]
    return [found for _, step in steps_of(inner) for found in _in_a_row(step)]
