"""The main job from end to end: images, features, classifiers, cross-validation, files."""

from __future__ import annotations

import os
import warnings
from numbers import Integral
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.model_selection import PredefinedSplit
from sklearn.utils import Bunch

from featbus.bus import FeatureBus
from featbus.commands import _data
from featbus.commands._files import compute_rows, write_table, written_together
from featbus.datasets import describe_dataset, load_dataset, make_breast_ultrasound
from featbus.evaluation import evaluate
from featbus.evaluation._metrics import TITLES
from featbus.feature_extraction import DeepFeatures
from featbus.groups import GroupsWarning
from featbus.parameters import Interval, InvalidParameterError, check_parameters
from featbus.recipes import balancing_pipelines, classifier_pipelines, fused_features
from featbus.recipes._recipes import INPUT_SIZE, LAYERS, POOLING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Literal

    from featbus.evaluation._evaluation import Evaluation
    from featbus.typing import PathLike

__all__ = ["run_demo"]

_FIGURE, _BALANCING, _REPORT = "confusion_matrices.png", "balancing.csv", "report.html"
_STORE = "features.sqlite"
_FEWEST = 8  # KNN looks at 15 images, after SMOTE has made classes equal
_CONSTRAINTS = _data.CONSTRAINTS | {
    "backbone": [str, None],
    "input_size": [Interval(Integral, 32, None, closed="left"), None],
}


def run_demo(
    data: PathLike | None = None,
    *,
    groups: PathLike | pd.DataFrame | None = None,
    backbone: str | None = None,
    backbone_options: dict[str, Any] | None = None,
    weights: PathLike | None = "imagenet",
    layers: str | Sequence[str] | None = None,
    pooling: str | Sequence[str] | None = None,
    input_size: int | None = None,
    output: PathLike = "featbus-demo",
    n_jobs: int | None = None,
    cv: Any = None,
    strict: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    pos_label: str | int | None = None,
    random_state: int = 0,
    verbose: bool = True,
) -> Evaluation:
    """Compare four classifiers on the fused features of a data set.

    The features are histograms of oriented gradients, local binary patterns, texture and intensity
    statistics of the resized images and, with a backbone, those of a frozen network. SVM, random
    forest, KNN and XGBoost are trained on them, with SMOTE inside the training folds, and evaluated
    by stratified cross-validation that keeps groups together. Where classes differ in size, a
    logistic regression with SMOTE, with class weights and with neither shows what balancing does.

    Read more in the :ref:`User Guide <getting_started>`.

    Parameters
    ----------
    data : path-like, default=None
        Folder of BUSI, of mini-MIAS, or with one folder per class, see `load_dataset`. None makes
        240 synthetic breast ultrasound images.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_dataset`. mini-MIAS and the synthetic images have
        groups of their own: the patients. Where they are unknown, every image counts as its own
        patient, with a warning.
    backbone : str, default=None
        Name of a network for `DeepFeatures`; None uses no network.
    backbone_options : dict, default=None
        Options of the network, such as ``{"alpha": 0.35}``.
    weights : "imagenet", path-like or None, default="imagenet"
        Weights of the network.
    layers : str or sequence of str, default=None
        Where the network's features are taken, see `DeepFeatures`. None: ``("C3", "C4", "C5")``.
    pooling : str or sequence of str, default=None
        How its feature maps become numbers, see `DeepFeatures`. None: ``("avg", "max")``.
    input_size : int, default=None
        Size in pixels that images are stretched to, 32 or more. None: 224.
    output : path-like, default="featbus-demo"
        Folder for ``confusion_matrices.png``, ``predictions.csv``, ``scores.csv``, ``report.html``
        and, where classes differ in size, ``balancing.csv``. It is created if needed, and existing
        files of these names are replaced. The predictions name the images relative to `data`; a
        text that a spreadsheet would take for a formula begins with an apostrophe.
        ``features.sqlite`` there stores the features, so that the next run on the same images only
        fits the classifiers.
    n_jobs : int, default=None
        Number of parallel fits, and of batches in parallel, see `joblib.Parallel`.
    cv : int or splitter, default=None
        Folds, see `featbus.evaluate`. None uses the split that the folders give, see
        `load_image_folder`, or five folds.
    strict : bool, default=False
        Whether files that are not images are an error, rather than skipped with a warning.
    on_error : {"raise", "skip"}, default="raise"
        Whether images that cannot be read are an error, which lists all of them, or are left out.
        What is printed says how many and which.
    pos_label : str or int, default=None
        The class that scores are about, by the name of its folder; 1 is the folder ``1``. None
        guesses it from the names of two classes, see `featbus.evaluate`.
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
    ImageErrors
        If images cannot be read and `on_error` is "raise". The features of the others are in the
        store.
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
    On the command line: ``featbus demo --data scans --groups groups.csv``

    >>> from featbus.demo import run_demo
    >>> result = run_demo("Dataset_BUSI_with_GT", groups="groups.csv")  # doctest: +SKIP
    """
    check_parameters(_CONSTRAINTS, locals())
    cv = _reusable(cv, on_error)
    output = Path(output)
    deep = _deep_features(backbone, backbone_options, weights, layers, pooling, input_size)
    size = input_size or INPUT_SIZE
    say = _data.show if verbose else _data.hide
    images = "240 synthetic ultrasound images" if data is None else f"the images in {data}"
    say(
        f"Computes features of {images}, cross-validates classifiers on them, and writes "
        f"scores and a report to {output}{os.sep}",
        "Takes about a minute for 240 images, longer for more, or with a network.",
        "",
    )
    dataset = _load(data, groups, strict, random_state)
    pos_label = _data.find_class(pos_label, dataset.target_names)
    _check(dataset, cv, random_state)
    output.mkdir(parents=True, exist_ok=True)
    say(*filter(None, [describe_dataset(dataset), _data.describe_split(cv, dataset)]))

    # Features are computed once for all folds and classifiers. This cannot leak, because the
    # extractors learn nothing from the data: a row depends on its image alone. The steps that learn
    # (scaler, PCA, SMOTE, classifier) come after the bus and are fitted on training folds only.
    start = perf_counter()
    features = fused_features(deep=deep, size=size)
    settings = {"memory": output / _STORE, "n_jobs": n_jobs, "verbose": verbose}
    rows, bus = compute_rows(features, dataset.images, **settings)
    say(f"Features: {rows.shape[1]} columns, {perf_counter() - start:.1f} s")
    if bus.errors_:
        dataset = _data.leave_out(dataset, bus.errors_, on_error, verbose)
        _check(dataset, cv, random_state)

    bus = FeatureBus(features, memory=output / _STORE)
    parts = {"features": bus, "random_state": random_state}
    options = {"cv": _data.choose_cv(cv, dataset), "pos_label": pos_label, "n_jobs": n_jobs}
    options |= {"random_state": random_state, "verbose": verbose}
    result = _evaluate(classifier_pipelines(**parts), dataset, options)
    result = _data.add_notes(result, dataset, cv)
    say("", result, "")
    balancing = None
    if len(set(np.bincount(dataset.target))) > 1:
        say("What balancing does to a logistic regression, means over the folds:")
        balancing = _evaluate(balancing_pipelines(**parts), dataset, options)
        say(f"{_describe_balancing(balancing)}\n")
    title = f"Four classifiers on {dataset.name}"
    names = _write_files(output, result, balancing, dataset.images, data, title)
    say(f"Wrote {', '.join(names)} to {output}{os.sep}; {_STORE} there stores the features")
    say(f"Open {output / _REPORT} next: scores with their intervals, figures, images.")
    return result


def _deep_features(backbone, backbone_options, weights, layers, pooling, input_size):
    if backbone is not None:
        return DeepFeatures(
            backbone,
            layers=LAYERS if layers is None else layers,
            pooling=POOLING if pooling is None else pooling,
            input_size=input_size or INPUT_SIZE,
            backbone_options=backbone_options,
            weights=weights,
        )
    given = {"weights": None if weights == "imagenet" else weights}
    given |= {"backbone_options": backbone_options, "layers": layers, "pooling": pooling}
    given = [f"{name}={value!r}" for name, value in given.items() if value]
    if given:
        raise InvalidParameterError(
            "backbone is None, expected the name of a network, such as 'mobilenet_v2', for "
            f"{' and '.join(given)}."
        )
    return None


def _load(data, groups, strict, random_state):
    if data is not None:
        return load_dataset(data, groups=groups, strict=strict)
    if groups is not None:
        raise InvalidParameterError(
            f"groups is {str(groups)!r}, expected None: the synthetic images come with groups, the "
            "patients."
        )
    dataset = make_breast_ultrasound(240, random_state=random_state)
    return Bunch(name="Synthetic breast ultrasound", **dataset)


def _reusable(cv, on_error):
    """Return folds that can be asked twice; refuse positions of images that may be left out."""
    if cv is None or isinstance(cv, Integral):
        return cv
    by_position = not hasattr(cv, "split") or isinstance(cv, PredefinedSplit)
    if by_position and on_error == "skip":
        raise InvalidParameterError(
            f"cv is {cv!r} and on_error is 'skip', expected a number or another splitter: "
            "positions change when images are left out. Use on_error='raise'."
        )
    return cv if hasattr(cv, "split") else list(cv)


def _check(dataset, cv, random_state):
    """Refuse data that cannot be evaluated, before features are computed."""
    folds = _data.choose_cv(cv, dataset)
    for train, _ in _data.make_folds(dataset, folds, random_state):
        counts = np.bincount(dataset.target[train], minlength=len(dataset.target_names))
        if counts.min() < _FEWEST:
            name = dataset.target_names[counts.argmin()]
            raise ValueError(
                f"Found a training part with {counts.min()} images of the class {name!r}, expected "
                f"{_FEWEST} or more: SMOTE and KNN look at neighbors. Add images."
            )


def _evaluate(pipelines, dataset, options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GroupsWarning)  # the loader has warned
        return evaluate(
            pipelines,
            dataset.images,
            dataset.target,
            groups=dataset.groups,
            target_names=dataset.target_names,
            **options,
        )


def _describe_balancing(result):
    """Return a table of the metrics that balancing changes, and of those that it does not."""
    metrics = ["accuracy", "balanced_accuracy", "roc_auc", "brier"]
    means = result.scores.groupby("pipeline", sort=False)[metrics].mean()
    return means.rename_axis(None).rename(columns=TITLES).round(3).to_string()


def _write_files(output, result, balancing, images, data, title):
    """Write the figure, the tables and the report, all or none; return the first ones' names."""
    tables = {"predictions.csv": _named_predictions(result, images, data)}
    tables["scores.csv"] = result.scores
    if balancing is not None:
        tables[_BALANCING] = balancing.scores
    names = [_FIGURE, *tables, _REPORT]
    with written_together(*(output / name for name in names)) as folder:
        result.plot("confusion_matrices").savefig(folder / _FIGURE, format="png", dpi=150)
        for name, table in tables.items():
            write_table(table, folder / name)
        result.to_html(folder / _REPORT, images=images, title=title)
    if balancing is None:
        (output / _BALANCING).unlink(missing_ok=True)  # of other images
    return names[:-1]


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
    return predictions
