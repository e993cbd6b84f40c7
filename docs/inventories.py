"""The names of other projects that these pages link to, as inventories of intersphinx.

An inventory names the page of each object. Other projects publish theirs, but a build without a
network could not read them. Those that are written here hold the names in `PROJECTS` only. Each is
looked up in the installed package. To link to another name, add it.
"""

import inspect
import pkgutil
import zlib

# For each project: its title, the address of its documentation, the page of a name, and the names.
# In the page, `owner` is the class of a method, and otherwise the name itself.
PROJECTS = {
    "python": (
        "Python",
        "https://docs.python.org/3/",
        "library/{module}.html#{name}",
        [
            "functools.lru_cache",
            "io.BytesIO",
            "os.PathLike",
            "pathlib.Path",
            "pathlib.PurePosixPath",
        ],
    ),
    "numpy": (
        "NumPy",
        "https://numpy.org/doc/stable/",
        "reference/generated/{owner}.html#{name}",
        ["numpy.ndarray", "numpy.random.Generator", "numpy.random.RandomState"],
    ),
    "pandas": (
        "pandas",
        "https://pandas.pydata.org/docs/",
        "reference/api/{owner}.html#{name}",
        ["pandas.DataFrame", "pandas.NA", "pandas.Series"],
    ),
    "sklearn": (
        "scikit-learn",
        "https://scikit-learn.org/stable/",
        "modules/generated/{owner}.html#{name}",
        [
            "sklearn.cluster.MiniBatchKMeans",
            "sklearn.compose.ColumnTransformer",
            "sklearn.decomposition.IncrementalPCA",
            "sklearn.dummy.DummyClassifier",
            "sklearn.ensemble.VotingClassifier",
            "sklearn.feature_selection.VarianceThreshold",
            "sklearn.frozen.FrozenEstimator",
            "sklearn.impute.SimpleImputer",
            "sklearn.linear_model.SGDClassifier",
            "sklearn.metrics.confusion_matrix",
            "sklearn.model_selection.GridSearchCV",
            "sklearn.model_selection.GroupKFold",
            "sklearn.model_selection.StratifiedGroupKFold",
            "sklearn.model_selection.TunedThresholdClassifierCV",
            "sklearn.model_selection.cross_validate",
            "sklearn.pipeline.FeatureUnion",
            "sklearn.pipeline.Pipeline",
            "sklearn.pipeline.Pipeline.set_output",
            "sklearn.preprocessing.FunctionTransformer",
            "sklearn.preprocessing.StandardScaler",
            "sklearn.svm.SVC",
            "sklearn.utils.Bunch",
        ],
    ),
    "skimage": (
        "scikit-image",
        "https://scikit-image.org/docs/stable/",
        "api/{module}.html#{name}",
        [
            "skimage.exposure.adjust_gamma",
            "skimage.exposure.equalize_hist",
            "skimage.feature.daisy",
            "skimage.feature.hog",
            "skimage.feature.local_binary_pattern",
            "skimage.filters.threshold_local",
            "skimage.measure.regionprops",
            "skimage.util.img_as_float",
        ],
    ),
    "imblearn": (
        "imbalanced-learn",
        "https://imbalanced-learn.org/stable/",
        "references/generated/{owner}.html#{name}",
        ["imblearn.over_sampling.SMOTE", "imblearn.pipeline.Pipeline"],
    ),
    "joblib": (
        "joblib",
        "https://joblib.readthedocs.io/en/stable/",
        "generated/{owner}.html#{name}",
        ["joblib.Parallel", "joblib.parallel_config"],
    ),
}

# Keras has pages of several objects, with anchors of its own.
KERAS = {
    "keras.Model": "models/model/#model-class",
    "keras.Model.save_weights": (
        "models/model_saving_apis/weights_saving_and_loading/#saveweights-method"
    ),
}


def write_inventories(folder):
    """Write the inventories, and return the setting ``intersphinx_mapping``.

    Parameters
    ----------
    folder : pathlib.Path
        Where to write them.

    Returns
    -------
    dict of str to tuple
        The address and the inventory of each project.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for key, (title, address, page, names) in PROJECTS.items():
        lines = [_line(name, _find_page(name, page)) for name in names]
        mapping[key] = (address, _write(folder / f"{key}.inv", title, lines))
    lines = [f"{name} py:class 1 {page} -" for name, page in KERAS.items()]
    mapping["keras"] = ("https://keras.io/api/", _write(folder / "keras.inv", "Keras", lines))
    return mapping


def _find_page(name, page):
    above = name.rpartition(".")[0]
    is_method = inspect.isclass(pkgutil.resolve_name(above))
    module = above.rpartition(".")[0] if is_method else above
    return page.format(name=name, owner=above if is_method else name, module=module)


def _line(name, page):
    """Return the line of an inventory: name, kind, priority, page and the text of links."""
    value = pkgutil.resolve_name(name)
    kind = "class" if inspect.isclass(value) else "function" if callable(value) else "data"
    return f"{name} py:{kind} 1 {page} -"


def _write(path, title, lines):
    header = (
        f"# Sphinx inventory version 2\n# Project: {title}\n# Version: \n"
        "# The remainder of this file is compressed using zlib.\n"
    )
    body = "".join(f"{line}\n" for line in lines)
    path.write_bytes(header.encode() + zlib.compress(body.encode()))
    return str(path)
