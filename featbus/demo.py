"""The main job from end to end: images, features, classifiers, cross-validation, files."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
from sklearn.base import clone

from featbus.bus import FeatureBus
from featbus.datasets import load_busi, load_image_folder, load_mini_mias, make_breast_ultrasound
from featbus.evaluation import evaluate
from featbus.feature_extraction import DeepFeatures
from featbus.recipes import classifier_pipelines, fused_features

__all__ = ["load_data", "run_demo"]

_STORE = "features.sqlite"
# Of two classes, these are the ones that one looks for.
_POSITIVE = ("malignant", "abnormal")


def run_demo(
    data=None,
    *,
    groups=None,
    backbone=None,
    backbone_options=None,
    weights="imagenet",
    output="featbus-demo",
    n_jobs=None,
    cv=5,
    random_state=0,
    verbose=True,
):
    """Compare four classifiers on the fused features of a data set.

    Resized images give histograms of oriented gradients, local binary patterns, intensity
    statistics and, with a backbone, the features of a frozen network. SVM, random forest, KNN and
    XGBoost learn from them, with SMOTE in the training folds, and are judged by stratified
    cross-validation that keeps groups together.

    Parameters
    ----------
    data : path-like, default=None
        Folder of BUSI, of mini-MIAS, or with one folder per class; which one is seen from what is
        in it. None makes 240 synthetic breast ultrasound images.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_busi` and `load_image_folder`. Mini-MIAS and the
        synthetic images know their patients.
    backbone : str, default=None
        Name of a network for `DeepFeatures`; None takes no network.
    backbone_options : dict, default=None
        Options of the network, such as ``{"alpha": 0.35}``.
    weights : "imagenet", path-like or None, default="imagenet"
        Weights of the network.
    output : path-like, default="featbus-demo"
        Folder for ``confusion_matrices.png``, ``predictions.csv`` and ``scores.csv``. It is made
        if needed, and files of these names are replaced. ``features.sqlite`` there keeps the
        features, so that the next run on the same images starts with the classifiers.
    n_jobs : int, default=None
        Number of parallel fits, and of batches of images, see `joblib.Parallel`.
    cv : int or splitter, default=5
        Folds, see `featbus.evaluate`.
    random_state : int, default=0
        Seed of the synthetic images, the folds, SMOTE and the classifiers.
    verbose : bool, default=True
        Whether to print data, progress, table and files.

    Returns
    -------
    Evaluation
        The scores and predictions.

    Raises
    ------
    ValueError
        If the data cannot be read or options do not go together.
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
    say = print if verbose else _say_nothing
    output = Path(output)
    features = fused_features(deep=_deep_features(backbone, backbone_options, weights))
    if data is None:
        _refuse_groups(groups, "the synthetic images")
        title = "Synthetic breast ultrasound"
        dataset = make_breast_ultrasound(240, random_state=random_state)
    else:
        title, dataset = load_data(data, groups=groups)
    output.mkdir(parents=True, exist_ok=True)
    say(_describe(title, dataset))

    # Each image once, for all folds and classifiers and for the next run. That is honest, because
    # the extractors learn nothing from the data: a row depends on its image alone. What learns (the
    # scaler, PCA, SMOTE, the classifier) stands behind the bus, and sees training folds only.
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
        pos_label=_positive(dataset.target_names),
        random_state=random_state,
        n_jobs=n_jobs,
        verbose=verbose,
    )
    say(f"\n{result}\n")
    names = _write_files(output, result, dataset.images)
    say(f"Wrote {', '.join(names)} to {output}{os.sep}; {_STORE} there keeps the features")
    return result


def _say_nothing(text):
    pass


def _deep_features(backbone, backbone_options, weights):
    if backbone is not None:
        return DeepFeatures(backbone, backbone_options=backbone_options, weights=weights)
    if backbone_options or weights not in ("imagenet", None):
        raise ValueError(
            f"Got weights={str(weights)!r} and backbone_options={backbone_options!r} without a "
            "backbone, expected the name of their network too, such as 'mobilenet_v2'."
        )
    return None


def load_data(data, *, groups=None):
    """Load a data set, told by what is in its folder.

    Parameters
    ----------
    data : path-like
        Folder of BUSI, of mini-MIAS, or with one folder per class.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_busi` and `load_image_folder`.

    Returns
    -------
    title : str
        The name of the data set.
    dataset : Bunch
        What its loader returns.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If it cannot be read, or mini-MIAS comes with other groups than its women.

    Examples
    --------
    >>> from featbus.demo import load_data
    >>> title, dataset = load_data("all-mias")  # doctest: +SKIP
    """
    data = Path(data)
    if not data.is_dir():
        raise FileNotFoundError(f"Found no folder {str(data)!r}, expected a folder of images.")
    names = {path.name.lower() for path in data.iterdir()}
    if names & {"info.txt", "all-mias"}:
        _refuse_groups(groups, "mini-MIAS")
        return "Mini-MIAS", load_mini_mias(data)
    if "dataset_busi_with_gt" in names or any(data.glob("benign/benign (*)_mask*")):
        return "BUSI", load_busi(data, groups=groups)
    return data.resolve().name, load_image_folder(data, groups=groups)


def _refuse_groups(groups, title):
    if groups is not None:
        raise ValueError(
            f"Got groups={str(groups)!r}, but {title} come with groups: the patients. Leave it out."
        )


def _describe(title, dataset):
    counts = np.bincount(dataset.target, minlength=len(dataset.target_names))
    classes = ", ".join(f"{name} {count}" for name, count in zip(dataset.target_names, counts))
    n_groups = len(np.unique(dataset.groups))
    return f"{title}: {len(dataset.images)} images in {n_groups} groups ({classes})"


def _positive(target_names):
    """Return the positive class of two; None leaves the choice to `evaluate`."""
    if len(target_names) != 2:
        return None
    return next((name for name in target_names if name in _POSITIVE), None)


def _write_files(output, result, images):
    """Write figure and tables: all or none, and never half of one."""
    with TemporaryDirectory(dir=output, prefix=".part-") as folder:
        folder = Path(folder)
        _write_figure(folder / "confusion_matrices.png", result)
        _named_predictions(result, images).to_csv(folder / "predictions.csv", index=False)
        result.scores.to_csv(folder / "scores.csv", index=False)
        names = sorted(path.name for path in folder.iterdir())
        for name in names:
            os.replace(folder / name, output / name)
    return names


def _write_figure(path, result):
    from matplotlib import pyplot

    figure = result.plot_confusion_matrices()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _named_predictions(result, images):
    """Return the predictions with the classes' names, and the images' paths where they have any."""
    names = dict(zip(result.labels, result.target_names))
    predictions = result.predictions.copy()
    for column in ("target", "predicted"):
        predictions[column] = predictions[column].map(names)
    if isinstance(images[0], str):
        predictions.insert(2, "image", images[predictions["index"]])
    return predictions
