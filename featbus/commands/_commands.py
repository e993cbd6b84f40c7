"""The commands: their signatures and documentation, from which the command line is made.

Importing this file imports nothing heavy, so that ``featbus train --help`` answers at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Literal

# The command line resolves all types, and importing these classes takes seconds.
DataFrame = Evaluation = AuditReport = FeatureStore = ProtocolComparison = Any
PathLike = str | os.PathLike


def _call(module, name, parameters):
    """Check the parameters of a command, and call its function in a private module."""
    from featbus.commands._data import CONSTRAINTS
    from featbus.parameters import check_parameters

    check_parameters(CONSTRAINTS, parameters)
    command = getattr(import_module(f"featbus.commands.{module}"), name)
    return command(SimpleNamespace(**parameters))


def extract(
    data: PathLike | Sequence[PathLike],
    features: str | Sequence[str] = "intensity,lbp,glcm",
    *,
    masks: PathLike | None = None,
    groups: PathLike | DataFrame | None = None,
    output: PathLike | None = None,
    weights: PathLike | None = "imagenet",
    backbone_options: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    memory: PathLike | FeatureStore | None = None,
    strict: bool = False,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> DataFrame:
    """Compute the features of images, one row per image, with what is known about each.

    Read more in the :ref:`User Guide <command_line>`.

    Parameters
    ----------
    data : path-like or sequence of path-like
        A data set, see `load_dataset`; a folder of images of unknown class; or files, see
        `load_images`.
    features : str or sequence of str, default="intensity,lbp,glcm"
        Names of extractors, separated by commas: glcm, glrlm, glszm, hog (on images stretched to
        224 x 224 pixels), intensity, lbp, shape (requires masks), and deep:NETWORK, such as
        deep:mobilenet_v2. Or the name of a recipe, see `featbus.recipes.list_recipes`, whose steps
        from image to row are used.
    masks : path-like, default=None
        Where the masks are, see `load_image_folder`: a suffix, such as ``"_mask"``, or a folder.
        Only pixels inside the mask are used; an image without a mask, or with an empty one, has no
        features. None uses whole images.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_image_folder`.
    output : path-like, default=None
        A ``.parquet``, ``.csv`` or ``.npz`` file to write: all of it at the end, or nothing. An
        existing file is replaced. None writes nothing, and prints the table if `verbose`. Parquet
        requires the extra ``featbus[parquet]``.
    weights : "imagenet", path-like or None, default="imagenet"
        Weights of the networks, see `DeepFeatures`.
    backbone_options : dict, default=None
        Options of the networks, such as ``{"alpha": 0.35}``.
    options : dict, default=None
        Other options of the recipe, see `featbus.recipes.make_recipe`.
    memory : path-like, FeatureStore or None, default=None
        The file that stores rows. The same command continues after an interruption, and later runs
        compute only new rows.
    strict : bool, default=False
        Whether files that are not images are an error, rather than skipped with a warning.
    n_jobs : int, default=None
        Number of batches of images at a time, see `FeatureBus`.
    verbose : bool, default=False
        Whether to show a progress bar, and at the end the images without features.

    Returns
    -------
    DataFrame
        One row per image. First, where known: ``path``, relative to the folder, or to the folder
        that all files have in common; ``group``; ``class``; ``split``, the part of the given
        split: "train", "validation" or "test"; ``mask``, the files of the mask,
        separated by semicolons; ``spacing_row`` and ``spacing_column``, millimeters between pixels,
        see `featbus.io.read_spacing`; ``error``, None or the reason why there are no features. Then
        one column per feature, NaN after an error.

    Raises
    ------
    FileNotFoundError
        If a folder does not exist.
    ImportError
        If a Parquet file is wanted and pyarrow is not installed.
    InvalidParameterError
        If a parameter is invalid.
    ValueError
        If there are no images, or no image has features; see the loaders, too.

    See Also
    --------
    featbus.FeatureBus.to_parquet : More rows than memory can hold.
    featbus.datasets.load_dataset : Which folders are data sets.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skimage.io import imsave
    >>> from featbus import make_breast_ultrasound
    >>> from featbus.commands import extract
    >>> root = Path(tempfile.mkdtemp())
    >>> for number, image in enumerate(make_breast_ultrasound(3, random_state=0).images):
    ...     imsave(root / f"{number}.png", image)
    >>> extract(root, ["intensity", "lbp"]).shape
    (3, 40)
    """
    return _call("_extract", "extract", locals())


def train(
    data: PathLike,
    *,
    recipe: str,
    output: PathLike,
    masks: PathLike | None = None,
    groups: PathLike | DataFrame | None = None,
    cv: int | None = None,
    strict: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    pos_label: str | int | None = None,
    weights: PathLike | None = "imagenet",
    backbone_options: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    embed: bool = True,
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
    verbose: bool = False,
) -> tuple[Evaluation, AuditReport]:
    """Evaluate a recipe by cross-validation, fit it on all images, and save the model.

    Read more in the :ref:`User Guide <command_line>`.

    Parameters
    ----------
    data : path-like
        Folder of BUSI, of mini-MIAS, or with one folder per class, see `load_dataset`.
    recipe : str
        Name of the recipe, see `featbus.recipes.list_recipes`.
    output : path-like
        The model file to write, ``model.skops``. The report of the evaluation,
        ``model.report.html``, and its scores by fold, ``model.scores.csv``, are written beside it.
        All appear together at the end; until then, existing files of these names stay.
    masks : path-like, default=None
        Where the masks are, see `load_dataset`, for recipes that learn where lesions are.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_dataset`. Where they are unknown, every image counts
        as its own patient, with a warning.
    cv : int, default=None
        Number of folds of the cross-validation. None uses the split that the folders give, see
        `load_image_folder`, or five folds.
    strict : bool, default=False
        Whether files that are not images are an error, rather than skipped with a warning.
    on_error : {"raise", "skip"}, default="raise"
        Whether images that cannot be read are an error, which lists all of them, or are left out.
        What is printed and written says how many.
    pos_label : str or int, default=None
        The class that scores are about, by the name of its folder; 1 is the folder ``1``. None
        guesses it from the names of two classes, see `featbus.evaluate`.
    weights : "imagenet", path-like or None, default="imagenet"
        Weights of the recipe's network.
    backbone_options : dict, default=None
        Options of the network, such as ``{"alpha": 0.35}``.
    options : dict, default=None
        Other options of the recipe, see `featbus.recipes.make_recipe`.
    embed : bool, default=True
        Whether the file contains the networks' weights, see `featbus.save`.
    memory : path-like, FeatureStore or None, default=None
        The file that stores rows of features, for the next run. None stores them in a temporary
        file, so that the folds and the final fit share them.
    n_jobs : int, default=None
        Number of parallel fits, and of batches of images in parallel.
    random_state : int, default=0
        Seed of the folds and of the recipe.
    verbose : bool, default=False
        Whether to print the data set, the audit's verdict, progress, scores and files.

    Returns
    -------
    evaluation : Evaluation
        The evaluation of the recipe. The model is in the file: ``featbus.load(output)``.
    report : AuditReport
        The audit of the data.

    Raises
    ------
    ImageError
        If images cannot be read; the message names all of them. Or if one cannot be used.
    FileNotFoundError
        If a folder does not exist.
    ValueError
        If a parameter is invalid, or the data cannot be used, see `load_dataset` and
        `featbus.evaluate`.

    See Also
    --------
    evaluate : The evaluation alone.
    predict : Use the model.
    featbus.save : The format of the file.

    Notes
    -----
    The scores are those of the cross-validation. The saved model is fitted on all images, and has
    no scores of its own: its scores on these images would mean nothing.

    Examples
    --------
    >>> from featbus.commands import train
    >>> evaluation, report = train(  # doctest: +SKIP
    ...     "scans", recipe="mobilenet_intensity", output="model.skops", groups="groups.csv"
    ... )
    """
    return _call("_train", "train", locals())


def evaluate(
    data: PathLike,
    *,
    recipe: str,
    output: PathLike | None = None,
    masks: PathLike | None = None,
    groups: PathLike | DataFrame | None = None,
    cv: int | None = None,
    strict: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    pos_label: str | int | None = None,
    weights: PathLike | None = "imagenet",
    backbone_options: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
    verbose: bool = False,
) -> Evaluation:
    """Evaluate a recipe by cross-validation that keeps groups together.

    Read more in the :ref:`User Guide <command_line>`.

    Parameters
    ----------
    data : path-like
        Folder of BUSI, of mini-MIAS, or with one folder per class, see `load_dataset`.
    recipe : str
        Name of the recipe, see `featbus.recipes.list_recipes`.
    output : path-like, default=None
        The report to write, an ``.html`` file. An existing file is replaced. None writes nothing.
    masks : path-like, default=None
        Where the masks are, see `load_dataset`, for recipes that learn where lesions are.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_dataset`. Where they are unknown, every image counts
        as its own patient, with a warning.
    cv : int, default=None
        Number of folds of the cross-validation. None uses the split that the folders give, see
        `load_image_folder`, or five folds.
    strict : bool, default=False
        Whether files that are not images are an error, rather than skipped with a warning.
    on_error : {"raise", "skip"}, default="raise"
        Whether images that cannot be read are an error, which lists all of them, or are left out.
        What is printed and written says how many.
    pos_label : str or int, default=None
        The class that scores are about, by the name of its folder; 1 is the folder ``1``. None
        guesses it from the names of two classes, see `featbus.evaluate`.
    weights : "imagenet", path-like or None, default="imagenet"
        Weights of the recipe's network.
    backbone_options : dict, default=None
        Options of the network, such as ``{"alpha": 0.35}``.
    options : dict, default=None
        Other options of the recipe, see `featbus.recipes.make_recipe`.
    memory : path-like, FeatureStore or None, default=None
        The file that stores rows of features, for the next run.
    n_jobs : int, default=None
        Number of parallel fits, and of batches of images in parallel.
    random_state : int, default=0
        Seed of the folds and of the recipe.
    verbose : bool, default=False
        Whether to print the data set, the audit's verdict, progress, scores and files.

    Returns
    -------
    Evaluation
        The result.

    Raises
    ------
    ImageError
        If images cannot be read; the message names all of them. Or if one cannot be used.
    FileNotFoundError
        If a folder does not exist.
    ValueError
        If a parameter is invalid, or the data cannot be used.

    See Also
    --------
    train : Also fit and save the model.
    featbus.evaluate : Any pipelines on any images.

    Examples
    --------
    >>> from featbus.commands import evaluate
    >>> result = evaluate(  # doctest: +SKIP
    ...     "scans", recipe="mobilenet_intensity", output="report.html", groups="groups.csv"
    ... )
    """
    return _call("_train", "evaluate", locals())


def predict(
    model: Any,
    data: PathLike | Sequence[PathLike],
    output: PathLike | None = None,
    *,
    strict: bool = False,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> DataFrame:
    """Predict the classes of images.

    Read more in the :ref:`User Guide <command_line>`.

    Parameters
    ----------
    model : path-like or estimator
        The file that `train` or `featbus.save` wrote, or a fitted classifier of images.
    data : path-like or sequence of path-like
        A folder of images, in subfolders or not, or files, see `load_images`.
    output : path-like, default=None
        A ``.csv`` or ``.parquet`` file to write: all of it at the end, or nothing. An existing file
        is replaced. None writes nothing, and prints the table if `verbose`.
    strict : bool, default=False
        Whether files that are not images are an error, rather than skipped with a warning.
    n_jobs : int, default=None
        Number of batches of images at a time, see `FeatureBus`; for models that begin with steps
        from image to row.
    verbose : bool, default=False
        Whether to show a progress bar, and at the end the images without a prediction.

    Returns
    -------
    DataFrame
        One row per image: ``path``, relative to the folder, or to the folder that all files have in
        common; ``predicted``, the name of the class; ``probability_<class>`` for each class, if the
        classifier has probabilities; ``error``, None or the reason why there is no prediction.

    Raises
    ------
    FileNotFoundError
        If the model or a folder does not exist.
    ValueError
        If there are no images, no image has a prediction, or a parameter is invalid. If the file is
        no model, see `featbus.load`.

    See Also
    --------
    train : Makes models.

    Examples
    --------
    >>> from featbus.commands import predict
    >>> table = predict("model.skops", "new patients")  # doctest: +SKIP
    >>> table["predicted"].tolist()  # doctest: +SKIP
    ['benign', 'malignant']
    """
    return _call("_predict", "predict", locals())


def honesty(
    data: PathLike,
    output: PathLike = "featbus-honesty",
    *,
    features: str | Sequence[str] = "hog,intensity,lbp",
    masks: PathLike | None = None,
    groups: PathLike | DataFrame | None = None,
    n_copies: int = 2,
    dihedral: Literal[2, 6, 8] | None = None,
    cv: int = 5,
    strict: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    pos_label: str | int | None = None,
    weights: PathLike | None = "imagenet",
    backbone_options: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
    verbose: bool = False,
) -> ProtocolComparison:
    """Score the same features and SVM by the honest protocol, and by those that leak.

    Read more in the :ref:`User Guide <command_line>`.

    Parameters
    ----------
    data : path-like
        Folder of BUSI, of mini-MIAS, or with one folder per class, see `load_dataset`.
    output : path-like, default="featbus-honesty"
        Folder for ``honesty.csv``, the table, and ``honesty.png``, the picture. It is created if
        needed, and existing files of these names are replaced. ``features.sqlite`` there stores the
        features for the next run.
    features : str or sequence of str, default="hog,intensity,lbp"
        Names of extractors, separated by commas, or the name of a recipe, see `extract`.
    masks : path-like, default=None
        Where the masks are, see `load_dataset`, so that they are not taken for images. They are not
        used.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_dataset`. Where they are unknown, near-duplicates
        are looked for, and the result says so.
    n_copies : int, default=2
        Number of copies of each image.
    dihedral : {None, 2, 6, 8}, default=None
        Flips and quarter turns instead of random changes, see `featbus.ImageAugmenter`.
    cv : int, default=5
        Number of folds. A split that the folders give is not used: all images are split.
    strict : bool, default=False
        Whether files that are not images are an error, rather than skipped with a warning.
    on_error : {"raise", "skip"}, default="raise"
        Whether images that cannot be used are an error, which lists all of them, or are left out.
        What is printed says how many.
    pos_label : str or int, default=None
        The class that scores are about, by the name of its folder; 1 is the folder ``1``. None
        guesses it from the names of two classes, see `featbus.evaluate`.
    weights : "imagenet", path-like or None, default="imagenet"
        Weights of the networks.
    backbone_options : dict, default=None
        Options of the networks, such as ``{"alpha": 0.35}``.
    options : dict, default=None
        Other options of the recipe, see `featbus.recipes.make_recipe`.
    n_jobs : int, default=None
        Number of parallel fits, and of batches of images in parallel.
    random_state : int, default=0
        Seed of the copies, of the folds and of SMOTE.
    verbose : bool, default=False
        Whether to print the data set, progress, the result and files.

    Returns
    -------
    ProtocolComparison
        The result.

    Raises
    ------
    ImageError
        If images cannot be used; the message names all of them.
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If a parameter is invalid, or the data cannot be used.

    See Also
    --------
    featbus.compare_protocols : The protocols, and other classifiers.
    audit : Look for leaks in the data.

    Examples
    --------
    >>> from featbus.commands import honesty
    >>> result = honesty("Dataset_BUSI_with_GT", groups="groups.csv")  # doctest: +SKIP
    """
    return _call("_audit", "honesty", locals())


def audit(
    data: PathLike,
    output: PathLike | None = None,
    *,
    masks: PathLike | None = None,
    groups: PathLike | DataFrame | None = None,
    cv: int | None = None,
    strict: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    n_jobs: int | None = None,
    random_state: int = 0,
    verbose: bool = False,
) -> AuditReport:
    """Look for leaks between folds, and for shortcuts to the label, in a folder of images.

    Read more in the :ref:`User Guide <command_line>`.

    Parameters
    ----------
    data : path-like
        Folder of BUSI, of mini-MIAS, or with one folder per class, see `load_dataset`.
    output : path-like, default=None
        A ``.csv`` file to write: the suggested groups, as a table for `groups`. None writes
        nothing.
    masks : path-like, default=None
        Where the masks are, see `load_dataset`.
    groups : path-like or DataFrame, default=None
        Which images belong together, see `load_dataset`. Where they are unknown, every image counts
        as its own patient, with a warning.
    cv : int, default=None
        Number of folds. None audits the split that the folders give, or five folds.
    strict : bool, default=False
        Whether files that are not images are an error, rather than skipped with a warning.
    on_error : {"raise", "skip"}, default="raise"
        Whether images that cannot be read, or whose mask cannot, are an error, which lists all of
        them, or are left out. The report says how many and which.
    n_jobs : int, default=None
        Number of threads that read images.
    random_state : int, default=0
        Seed of the folds and of all random draws.
    verbose : bool, default=False
        Whether to show progress, the report, and the files with leaks.

    Returns
    -------
    AuditReport
        What was found.

    Raises
    ------
    ImageError
        If images or masks cannot be read; the message names all of them.
    FileNotFoundError
        If a folder does not exist.
    ValueError
        If a parameter is invalid, or the data cannot be used.

    See Also
    --------
    featbus.audit : Audit any images, and a pipeline.

    Examples
    --------
    >>> from featbus.commands import audit
    >>> report = audit("scans", "groups.csv")  # doctest: +SKIP
    """
    return _call("_audit", "audit", locals())
