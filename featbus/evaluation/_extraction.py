"""The steps from image to row that pipelines begin with: split off, and computed once for all."""

from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline

from featbus.bus import FeatureBus, FingerprintError, fingerprint
from featbus.steps import split_extraction


def extract(pipelines, X, memory, n_jobs, verbose):
    """Compute the rows of all images, once for all pipelines that begin with the same steps.

    Parameters
    ----------
    pipelines : dict of str to estimator
        The pipelines to evaluate.
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
        The rest of each pipeline, and its input: `X` itself if the pipeline does not begin with
        such steps.
    """
    known, found = {}, {}
    for name, pipeline in pipelines.items():
        # What a fitted estimator has learned does not count: a clone is fitted in each fold.
        pipeline = clone(pipeline)
        steps, rest = split_extraction(pipeline)
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
    """Return a key that equal steps share; None if their rows cannot be shared."""
    if not steps:
        return None
    try:
        return fingerprint(make_pipeline(*(step for _, step in steps))), repr(_output(steps))
    except FingerprintError:
        return None


def _output(steps):
    """Return the configuration of `set_output`, or {}."""
    return getattr(steps[-1][1], "_sklearn_output_config", {})


def _bus(steps, memory, n_jobs, verbose):
    """Return a `FeatureBus` of the steps; if there is one already, it gets the memory."""
    if len(steps) == 1 and isinstance(steps[0][1], FeatureBus):
        bus = clone(steps[0][1])
        return bus.set_params(memory=memory) if bus.memory is None else bus
    features = clone(steps[0][1] if len(steps) == 1 else Pipeline(steps))
    bus = FeatureBus(features, memory=memory, n_jobs=n_jobs, verbose=verbose)
    return bus.set_output(**_output(steps)) if _output(steps) else bus
