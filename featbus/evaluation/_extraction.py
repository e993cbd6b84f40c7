"""The steps from image to row that pipelines begin with: taken off, and computed once for all."""

from sklearn.base import clone
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.utils import get_tags

from featbus.base import FeatureExtractor, ImageTransformer
from featbus.bus import FeatureBus, FingerprintError, fingerprint


def is_search(estimator):
    """Tell whether an estimator is a GridSearchCV or one of its kin."""
    return isinstance(estimator, BaseSearchCV)


def search_in(estimator):
    """Return the search that an estimator is, or whose last step it is; else None."""
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    return last if is_search(last) else None


def _gives_images(step):
    return isinstance(step, ImageTransformer) and not get_tags(step).requires_fit


def _gives_rows(step):
    """Tell whether a step makes a row of an image, and learns nothing."""
    if isinstance(step, FeatureUnion):
        parts = [part for _, part in step.transformer_list if part != "drop"]
        return bool(parts) and all(map(_gives_rows, parts))
    if isinstance(step, Pipeline):
        return n_extracting(step) == len(step.steps)
    return isinstance(step, (FeatureBus, FeatureExtractor)) and not get_tags(step).requires_fit


def n_extracting(pipeline):
    """Return the number of steps that a pipeline takes from images to rows; 0 if some learn."""
    for count, (_, step) in enumerate(pipeline.steps, start=1):
        if _gives_rows(step):
            return count
        if not _gives_images(step):
            break
    return 0


def _searched(search):
    """Return the names of the steps whose parameters are searched."""
    space = getattr(search, "param_grid", None) or getattr(search, "param_distributions", {})
    spaces = [space] if hasattr(space, "keys") else space
    return {name.partition("__")[0] for part in spaces for name in part}


def split_off(estimator):
    """Take the steps from image to row off a pipeline, or off that of a search.

    Parameters
    ----------
    estimator : estimator
        What is to be evaluated.

    Returns
    -------
    steps : list of (str, transformer)
        The steps; empty where there are none, where some learn, or where parameters of theirs are
        searched.
    rest : estimator
        What remains, which wants rows.
    """
    pipeline = estimator.estimator if is_search(estimator) else estimator
    if not isinstance(pipeline, Pipeline):
        return [], estimator
    count = n_extracting(pipeline)
    steps = pipeline.steps[:count]
    searched = _searched(estimator) if is_search(estimator) else set()
    if count == len(pipeline.steps) or searched & {name for name, _ in steps}:
        return [], estimator
    if is_search(estimator):
        return steps, clone(estimator).set_params(estimator=pipeline[count:])
    return steps, pipeline[count:]


def extract(pipelines, X, memory, n_jobs, verbose):
    """Compute the rows of all images once, as far as pipelines begin with the same steps.

    Parameters
    ----------
    pipelines : dict of str to estimator
        What is to be evaluated.
    X : batch of images, or rows
        What they are evaluated on.
    memory : path, FeatureStore or None
        Where `FeatureBus` keeps the rows.
    n_jobs : int or None
        Number of batches of images at a time.
    verbose : bool
        Whether to show progress.

    Returns
    -------
    dict of str to (estimator, rows)
        What is left of each pipeline, and what it gets; those without such steps get `X`.
    """
    known, found = {}, {}
    for name, pipeline in pipelines.items():
        steps, rest = split_off(pipeline)
        key = _key(steps)
        if key is None:
            found[name] = pipeline, X
            continue
        if key not in known:
            try:
                known[key] = _bus(steps, memory, n_jobs, verbose).fit_transform(X)
            except Exception as error:
                error.add_note(f"In the steps from images to rows of {name!r}.")
                raise
        found[name] = rest, known[key]
    return found


def _key(steps):
    """Return what tells rows from others; None if they cannot be shared."""
    if not steps:
        return None
    try:
        return fingerprint(make_pipeline(*(step for _, step in steps))), repr(_output(steps))
    except FingerprintError:
        return None


def _output(steps):
    """Return what `set_output` was told, or {}."""
    return getattr(steps[-1][1], "_sklearn_output_config", {})


def _bus(steps, memory, n_jobs, verbose):
    if len(steps) == 1 and isinstance(steps[0][1], FeatureBus):
        bus = clone(steps[0][1])
        return bus.set_params(memory=memory) if bus.memory is None else bus
    features = clone(steps[0][1] if len(steps) == 1 else Pipeline(steps))
    bus = FeatureBus(features, memory=memory, n_jobs=n_jobs, verbose=verbose)
    return bus.set_output(**_output(steps)) if _output(steps) else bus
