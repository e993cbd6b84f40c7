"""The main job from end to end: images, features, classifiers, cross-validation, files."""

from __future__ import annotations

import os
from contextlib import ExitStack
from numbers import Integral
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import pandas as pd
from sklearn.base import clone
from sklearn.utils import Bunch

from featbus.bus import FeatureBus
from featbus.datasets import (
    describe_dataset,
    load_dataset,
    make_breast_ultrasound,
    positive_class,
)
from featbus.evaluation import evaluate
from featbus.feature_extraction import DeepFeatures
from featbus.files import escape_formula, written_whole
from featbus.parameters import N_JOBS, Interval, InvalidParameterError, check_parameters
from featbus.recipes import classifier_pipelines, fused_features

if TYPE_CHECKING:
    from typing import Any

    from featbus.evaluation._evaluation import Evaluation
    from featbus.typing import PathLike

__all__ = ["run_demo"]

_FILES = ("confusion_matrices.png", "predictions.csv", "scores.csv")
_STORE = "features.sqlite"
_PATH = [str, os.PathLike]
_CONSTRAINTS = {
    "data": [*_PATH, None],
    "groups": [*_PATH, pd.DataFrame, None],
    "backbone": [str, None],
    "backbone_options": [dict, None],
    "weights": [*_PATH, None],
    "output": _PATH,
    "n_jobs": N_JOBS,
    "cv": ["cv_object"],
    "random_state": [Interval(Integral, 0, None, closed="left")],
    "verbose": ["boolean"],
}


def run_demo(
    data: PathLike | None = None,
    *,
    groups: PathLike | pd.DataFrame | None = None,
    backbone: str | None = None,
    backbone_options: dict | None = None,
    weights: PathLike | None = "imagenet",
    output: PathLike = "featbus-demo",
    n_jobs: int | None = None,
    cv: Any = 5,
    random_state: int = 0,
    verbose: bool = True,
) -> Evaluation:
    """Compare four classifiers on the fused features of a data set.

    The features are histograms of oriented gradients, local binary patterns and intensity
    statistics of the resized images and, with a backbone, those of a frozen network. SVM, random
    forest, KNN and XGBoost are trained on them, with SMOTE inside the training folds, and evaluated
    by stratified cross-validation that keeps groups together.

    Parameters
    ----------
    data : path-like, default=None
        Folder of BUSI, of mini-MIAS, or with one folder per class, see `load_dataset`. None makes
        240 synthetic breast ultrasound images.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_busi` and `load_image_folder`. mini-MIAS and the
        synthetic images have groups of their own: the patients.
    backbone : str, default=None
        Name of a network for `DeepFeatures`; None uses no network.
    backbone_options : dict, default=None
        Options of the network, such as ``{"alpha": 0.35}``.
    weights : "imagenet", path-like or None, default="imagenet"
        Weights of the network.
    output : path-like, default="featbus-demo"
        Folder for ``confusion_matrices.png``, ``predictions.csv`` and ``scores.csv``. It is created
        if needed, and existing files of these names are replaced. The
        predictions name the images relative to `data`; a text that a spreadsheet would take for a
        formula begins with an apostrophe. ``features.sqlite`` there stores
        the features, so that the next run on the same images only fits the classifiers.
    n_jobs : int, default=None
        Number of parallel fits, and of batches in parallel, see `joblib.Parallel`.
    cv : int or splitter, default=5
        Folds, see `featbus.evaluate`.
    random_state : int, default=0
        Seed of the synthetic images, the folds, SMOTE and the classifiers.
    verbose : bool, default=True
        Whether to print the data set, progress, results and files.

    Returns
    -------
    Evaluation
        The scores and predictions.

    Raises
    ------
    ValueError
        If a parameter is invalid or the data cannot be read.
    OSError
        If a folder or file is missing or cannot be written.

    See Also
    --------
    featbus.recipes.fused_features : The features.
    featbus.recipes.classifier_pipelines : The classifiers.
    featbus.evaluate : The cross-validation.

    Examples
    --------
    >>> from featbus.demo import run_demo
    >>> result = run_demo("Dataset_BUSI_with_GT", groups="groups.csv")  # doctest: +SKIP
    """
    check_parameters(_CONSTRAINTS, locals())
    say = print if verbose else _say_nothing
    output = Path(output)
    features = fused_features(deep=_deep_features(backbone, backbone_options, weights))
    dataset = _load(data, groups, random_state)
    output.mkdir(parents=True, exist_ok=True)
    say(describe_dataset(dataset))

    # Features are computed once for all folds and classifiers. This cannot leak, because the
    # extractors learn nothing from the data: a row depends on its image alone. The steps that learn
    # (scaler, PCA, SMOTE, classifier) come after the bus and are fitted on training folds only.
    start = perf_counter()
    bus = FeatureBus(features, memory=output / _STORE, n_jobs=n_jobs)
    rows = clone(bus).set_params(verbose=verbose).fit_transform(dataset.images)
    say(f"Features: {rows.shape[1]} columns, {perf_counter() - start:.1f} s")

    result = evaluate(
        classifier_pipelines(features=bus.set_params(n_jobs=None), random_state=random_state),
        dataset.images,
        dataset.target,
        groups=dataset.groups,
        cv=cv,
        target_names=dataset.target_names,
        pos_label=positive_class(dataset.target_names),
        random_state=random_state,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    say(f"\n{result}\n")
    _write_files(output, result, dataset.images, data)
    say(f"Wrote {', '.join(_FILES)} to {output}{os.sep}; {_STORE} there stores the features")
    return result


def _say_nothing(text):
    pass


def _deep_features(backbone, backbone_options, weights):
    if backbone is not None:
        return DeepFeatures(backbone, backbone_options=backbone_options, weights=weights)
    if backbone_options or weights not in ("imagenet", None):
        raise InvalidParameterError(
            f"backbone is None, expected the name of a network, such as 'mobilenet_v2', for "
            f"weights={str(weights)!r} and backbone_options={backbone_options!r}."
        )
    return None


def _load(data, groups, random_state):
    if data is not None:
        return load_dataset(data, groups=groups)
    if groups is not None:
        raise InvalidParameterError(
            f"groups is {str(groups)!r}, expected None: the synthetic images come with groups, the "
            "patients."
        )
    dataset = make_breast_ultrasound(240, random_state=random_state)
    return Bunch(name="Synthetic breast ultrasound", **dataset)


def _write_files(output, result, images, data):
    """Write the figure and the tables: all or none of them."""
    with ExitStack() as stack:
        paths = [stack.enter_context(written_whole(output / name)) for name in _FILES]
        result.plot("confusion_matrices").savefig(paths[0], format="png", dpi=150)
        _named_predictions(result, images, data).to_csv(paths[1], index=False)
        result.scores.to_csv(paths[2], index=False)


def _named_predictions(result, images, data):
    """Return the predictions with the names of the classes, and the files of the images if any."""
    names = dict(zip(result.labels, result.target_names))
    predictions = result.predictions.copy()
    for column in ("target", "predicted"):
        predictions[column] = predictions[column].map(names)
    if isinstance(images[0], str):
        # Relative to the data set: folders above it may say whose it is.
        files = [
            Path(os.path.relpath(images[index], data)).as_posix() for index in predictions["index"]
        ]
        predictions.insert(2, "image", files)
    return predictions.map(escape_formula)
