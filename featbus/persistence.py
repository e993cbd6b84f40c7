"""Save and load: a fitted pipeline, its networks and its card in one file, without pickle."""

from __future__ import annotations

import copy
import io
import json
import os
import re
import shutil
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.neighbors import BallTree, KDTree
from sklearn.tree._tree import Tree
from sklearn.utils.validation import check_is_fitted

from featbus import bus, feature_extraction, preprocessing, sampling, segmentation
from featbus.augmentation import Augmentation
from featbus.feature_extraction import DeepFeatures, FineTunedFeatures
from featbus.files import escape, written_whole
from featbus.model_selection import SelectRobust
from featbus.networks import KerasModel, OnnxModel, cache_dir, check_file, file_digest, find_entry
from featbus.parameters import HasMethods, InvalidParameterError, SequenceOf, check_parameters
from featbus.steps import all_steps, is_resampler
from featbus.typing import PathLike
from featbus.versions import package_versions

__all__ = ["ModelFileError", "load", "read_card", "save", "write_card_html"]

_FORMAT = 2  # goes up whenever other releases of featbus cannot read what is written
_MANIFEST = "featbus.json"
# The digest of a network's file, and the name that it gets where a model is loaded.
_NETWORK = re.compile(
    r"networks/([0-9a-f]{64})/([^\W_][\w .()+-]{0,100}\.(?:weights\.h5|h5|keras|onnx))", re.ASCII
)

# Classes to trust in addition to those of skops and featbus, samplers, splitters and kernels.
_CLASSES = [
    "imblearn.pipeline.Pipeline",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.metrics._scorer._CurveScorer",
    "sklearn.metrics._scorer._Scorer",
    "xgboost.sklearn.XGBClassifier",
]
# Suffixes of scikit-learn's functions to trust: metrics, and scores for feature selection.
_FUNCTIONS = ("_score", "_loss", "_error", "_corrcoef", "_classif", "_regression", "chi2")
_OTHERS = {
    "featbus.evaluation._operating_point.score_specificity": ("FunctionNode",),
    "featbus.recipes._recipes.mutual_information": ("FunctionNode",),
    "numpy.dtype": ("DTypeNode",),
    "sklearn.tree._tree.Tree": ("TreeNode",),
    "sklearn.utils._bunch.Bunch": ("DictNode",),
}

# Parameters that name a file or folder of this machine.
_PLACES = {"memory", "checkpoint"}
# Attributes that only `fit` needs: requested metadata, optimizers, scorers and splits.
_ONLY_TO_FIT = ("_metadata_request", "_optimizer", "_checked_cv_orig", "scorer_")
# Parameters and attributes that name a method for scikit-learn to call, and the methods allowed.
_NAMES_OF_METHODS = re.compile(r"_?(?:response|stack|chain)_method_?")
_METHODS = {"auto", "decision_function", "predict", "predict_log_proba", "predict_proba", None}
_TREES = {"kd_tree": KDTree, "ball_tree": BallTree}

_NOTE = (
    "Not a medical device, and not for clinical use: trained on the data described here, for "
    "research. Scores on other images, devices and patients will differ."
)
_ADDED = {"classes", "steps", "networks", "versions", "saved", "note"}
# An absolute path, or one of a home folder, at the beginning of a word, and none in a URL or tag.
_PATH = re.compile(r"(?:^|[\s\"'`(\[{>=,;|])(?:~?//?[.\w]|~?\\|[A-Za-z]:[\\/]|file:/)")
_PERSONAL = {"accessionnumber", "birthdate", "dateofbirth", "medicalrecordnumber", "patient"}


class ModelFileError(ValueError):
    """A pipeline that cannot be saved, or a file that is refused.

    Read more in the :ref:`User Guide <models>`.

    See Also
    --------
    featbus.save : Raises it.
    featbus.load : Raises it.
    """

    def __init__(self, message: Any) -> None:
        # Names in a file are anybody's text, and a message is printed on a terminal.
        super().__init__(escape(message))


def save(
    pipeline: Any,
    path: PathLike,
    *,
    classes: Sequence[str] | None = None,
    card: dict | None = None,
    embed: bool = True,
    trusted: Sequence[str | type] = (),
) -> None:
    """Save a fitted pipeline in one file, without pickle.

    Read more in the :ref:`User Guide <models>`.

    Parameters
    ----------
    pipeline : estimator
        A fitted estimator of images, usually a pipeline; it stays as it is.
    path : str or os.PathLike
        The file, by convention ``NAME.skops``. It appears whole or not at all.
    classes : sequence of str or None, default=None
        Names of the classes, in the order of ``pipeline.classes_``. None: the classes as text.
    card : dict or None, default=None
        Content of the model card, such as recipe, data set and scores, made of strings, numbers,
        lists and dicts. "classes", "steps", "networks", "versions", "saved" and "note" are added.
    embed : bool, default=True
        Whether to include the networks of `DeepFeatures` and `FineTunedFeatures`. False includes
        only their names and digests, and `load` looks for the weights on its machine. Trained
        weights are always included.
    trusted : sequence of str or type, default=()
        Classes and functions of the pipeline from other packages, or your own: full names or the
        objects themselves. `load` needs the same.

    Raises
    ------
    ModelFileError
        A ValueError: if the pipeline has a part that is not trusted, such as your own function;
        the message names its type. A file is written only if `load` accepts it.
    InvalidParameterError
        If a parameter is invalid, or the card has a path or an attribute of a patient.
    NotFittedError
        If the pipeline is not fitted.

    See Also
    --------
    load : Read the file.
    featbus.persistence.read_card : The model card alone.

    Notes
    -----
    See :ref:`models` for the types that are trusted. Requested metadata, the learned state of
    resamplers and the path of a `FeatureBus`'s store are not saved.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.svm import SVC
    >>> from featbus import LBP, FeatureBus, load, make_breast_ultrasound, save
    >>> data = make_breast_ultrasound(12, random_state=0)
    >>> pipeline = make_pipeline(FeatureBus(LBP()), SVC()).fit(data.images, data.target)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.skops"
    >>> save(pipeline, path, classes=data.target_names)
    >>> bool((load(path).predict(data.images) == pipeline.predict(data.images)).all())
    True
    """
    allowed = {"pipeline": [HasMethods("fit")], "classes": [SequenceOf(str), None]}
    values = {"pipeline": pipeline, "classes": classes, "card": card, "embed": embed}
    check_parameters(allowed | {"card": [dict, None], "embed": ["boolean"]}, values)
    check_is_fitted(pipeline)
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(Path(path).parent)!r}. Make it first.")
    import skops.io

    trusted = set(map(_name, trusted))
    with tempfile.TemporaryDirectory() as folder:
        packer = _Packer(folder, embed)
        try:
            content = skops.io.dumps(_pack(pipeline, packer, trusted))
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                _rebuild(archive, trusted)
        except ModelFileError:
            raise
        except Exception as error:  # what skops and Keras raise depends on the part
            raise ModelFileError(f"the pipeline cannot be saved: {error!r}") from error
        card = _complete_card(card or {}, pipeline, classes, packer.lines, trusted)
        with written_whole(path) as hidden:
            hidden.write_bytes(content)
            with zipfile.ZipFile(hidden, "a") as archive:
                archive.writestr(_MANIFEST, json.dumps({"format": _FORMAT, "card": card}, indent=1))
                for name, source in packer.files.items():
                    archive.write(source, name)


def load(path: PathLike, *, trusted: Sequence[str | type] = ()) -> Any:
    """Load a pipeline that `save` wrote.

    Read more in the :ref:`User Guide <models>`.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    trusted : sequence of str or type, default=()
        Classes and functions that the file may use in addition to those of featbus, scikit-learn
        and imbalanced-learn that the guide lists: full names or the objects themselves. Their code
        is run, so pass only those you trust.

    Returns
    -------
    estimator
        The fitted pipeline. Its networks are loaded when they are first used.

    Raises
    ------
    ModelFileError
        A ValueError: if the file is damaged, has types that are not trusted, was written by a
        release of featbus with another format, or needs weights that are not here; the message
        names them. Nothing in the file is run.
    ImportError
        If a package of the model, such as XGBoost or Keras, is not installed.

    Warns
    -----
    UserWarning
        If another release of featbus or of the package of a trusted type, or another minor version
        of scikit-learn, wrote the file.

    See Also
    --------
    save : Write such a file, with an example.
    featbus.persistence.read_card : The model card alone.
    """
    with _opened(path) as (archive, manifest):
        pipeline = _rebuild(archive, set(map(_name, trusted)))
        _compare_versions(manifest["card"]["versions"], trusted)
        for part in _parts(pipeline):
            if isinstance(part, (DeepFeatures, FineTunedFeatures)):
                for name in ("weights", "backbone"):
                    if member := _NETWORK.fullmatch(str(getattr(part, name))):
                        setattr(part, name, str(_unpack_network(archive, *member.group(0, 1, 2))))
        return pipeline


def read_card(path: PathLike) -> dict:
    """Return the model card of a file; the model is not loaded.

    Read more in the :ref:`User Guide <models>`.

    Parameters
    ----------
    path : str or os.PathLike
        The file that `featbus.save` wrote.

    Returns
    -------
    dict
        The `card` passed to `featbus.save`, plus "classes", "steps", "networks", "versions",
        "saved" (the date) and "note".

    Raises
    ------
    ModelFileError
        A ValueError: if the file is damaged, or has another format.

    See Also
    --------
    featbus.load : The model.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from featbus import LBP, save
    >>> from featbus.persistence import read_card
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "features.skops"
    >>> save(LBP(), path, card={"data set": "none: features without a classifier"})
    >>> sorted(read_card(path))
    ['classes', 'data set', 'networks', 'note', 'saved', 'steps', 'versions']
    """
    with _opened(path) as (_, manifest):
        return manifest["card"]


@contextmanager
def _opened(path):
    """Open a model file; every error inside becomes a `ModelFileError` that names the file."""
    path = os.fspath(path)
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                manifest = json.loads(archive.read(_MANIFEST))
                if manifest["format"] != _FORMAT:
                    writer = manifest.get("featbus") or manifest["card"]["versions"]["featbus"]
                    raise ModelFileError(
                        f"it was written by featbus {writer} in format {manifest['format']}, and "
                        f"this release reads format {_FORMAT}. Train the model again."
                    )
                yield archive, manifest
        except ModelFileError as error:
            raise ModelFileError(f"{path!r}: {error}") from error
        except ImportError as error:
            raise ImportError(f"{path!r} needs a package that is missing: {error}.") from error
        except Exception as error:  # what zipfile, skops and Keras raise depends on the damage
            raise ModelFileError(
                f"{path!r} cannot be read ({error!r:.300}), expected a file of featbus.save."
            ) from error


def _versions(trusted):
    """Return the versions of what numbers depend on, the packages of trusted types included."""
    roots = {_name(item).partition(".")[0] for item in trusted}
    found = {root: getattr(sys.modules.get(root), "__version__", None) for root in roots}
    return package_versions() | {root: str(found[root]) for root in roots if found[root]}


def _compare_versions(found, trusted):
    """Warn if another release of a package, or another minor one of scikit-learn, was used."""
    here = _versions(trusted)
    for name in ("featbus", "scikit-learn", *here.keys() - package_versions()):
        n_parts = 2 if name == "scikit-learn" else None
        if found.get(name, here[name]).split(".")[:n_parts] != here[name].split(".")[:n_parts]:
            warnings.warn(
                f"The model was saved with {name} {escape(found[name])}, and {here[name]} is "
                "installed: its predictions can differ. Compare some with those before.",
                stacklevel=3,
            )


def _name(item):
    return item if isinstance(item, str) else f"{item.__module__}.{item.__name__}"


@cache
def _trusted_kinds():
    """Return the types that a model may contain in addition to those that skops trusts.

    Returns
    -------
    dict of str to tuple of str
        For each full name, the kinds of skops' nodes that the type may appear in. In nodes of other
        kinds, skops would call it with arguments from the file.
    """
    from imblearn import combine, over_sampling, under_sampling
    from sklearn import feature_selection, metrics, model_selection
    from sklearn.gaussian_process import kernels

    rooms = (bus, feature_extraction, preprocessing, sampling, segmentation)
    own = [getattr(room, name) for room in rooms for name in room.__all__]
    own = [cls for cls in own if isinstance(cls, type) and issubclass(cls, BaseEstimator)]
    rooms = (combine, over_sampling, under_sampling)
    samplers = [getattr(room, name) for room in rooms for name in room.__all__]
    known = [cls for cls in vars(kernels).values() if isinstance(cls, type)]
    known = [cls for cls in known if issubclass(cls, kernels.Kernel)]
    splitters = [cls for cls in vars(model_selection).values() if isinstance(cls, type)]
    splitters = [cls for cls in splitters if hasattr(cls, "split")]
    rooms = (metrics, feature_selection)
    functions = [getattr(room, name) for room in rooms for name in room.__all__]
    functions = [item for item in functions if item.__name__.endswith(_FUNCTIONS)]
    classes = [*_CLASSES, *own, Augmentation, SelectRobust, *samplers, *known]
    kinds = dict.fromkeys(map(_name, classes), ("ObjectNode",))
    kinds |= dict.fromkeys(map(_name, splitters), ("ObjectNode", "TypeNode"))
    return kinds | dict.fromkeys(map(_name, functions), ("FunctionNode",)) | _OTHERS


def _rebuild(archive, trusted):
    """Return the pipeline in an archive, after checking its types and what they would call."""
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    _check_kinds(json.loads(archive.read("schema.json")), trusted)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InconsistentVersionWarning)  # `load` warns once
            pipeline = skops.io.load(archive.fp, trusted=[*_trusted_kinds(), *trusted])
    except UntrustedTypesFoundException as error:
        raise ModelFileError(
            f"{str(error).splitlines()[0]} Pass those whose code you know and trust as "
            "trusted=[...], to save and to load."
        ) from error
    for name, value in _walk(pipeline, trusted):
        _check_value(name, value)
        attributes = getattr(value, "__dict__", {})
        if attributes.get("_fit_method") in _TREES:  # of nearest neighbors
            options = {"metric": value.effective_metric_, **value.effective_metric_params_}
            value._tree = _TREES[value._fit_method](value._fit_X, value.leaf_size, **options)
        elif isinstance(attributes.get("_Booster"), bytes):
            from xgboost import Booster

            value._Booster = Booster(model_file=bytearray(value._Booster))
    return pipeline


def _check_kinds(schema, trusted):
    """Refuse trusted types in nodes that would call them; skops checks all other types."""
    if schema["protocol"] < 2:  # nodes of earlier protocols are named by other fields
        raise ModelFileError(f"its protocol of skops is {schema['protocol']}, expected 2.")
    kinds, pending = _trusted_kinds(), [schema]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending += item
        elif isinstance(item, dict):
            pending += item.values()
            name = f"{item.get('__module__')}.{item.get('__class__')}"
            loader = item.get("__loader__")
            if loader and name not in trusted and loader not in kinds.get(name, (loader,)):
                raise ModelFileError(f"found {name} in a {loader}, which no saved model contains.")


def _check_value(name, value):
    """Refuse values with which trusted objects call methods, open files or read out of bounds."""
    places = np.asarray(value, dtype=object).flat if name in _PLACES else ()
    if any(place is not None for place in places):
        raise ModelFileError(f"{name} is {value!r}, expected None.")
    if _NAMES_OF_METHODS.fullmatch(name) and not set(np.ravel(value).tolist()) <= _METHODS:
        raise ModelFileError(f"{name} is {value!r}, expected methods among {_METHODS}.")
    if isinstance(value, Tree) and not _is_sound(value):
        raise ModelFileError("the nodes or features of a decision tree are out of range.")
    trees = getattr(value, "__dict__", {}).get("estimators_")
    if isinstance(trees, np.ndarray) and trees.shape[1:] != (value.n_trees_per_iteration_,):
        raise ModelFileError("the trees of a gradient boosting do not fit together.")


def _is_sound(tree):
    """Return whether the nodes of a tree are consistent: scikit-learn follows them unchecked."""
    if tree.node_count != tree.capacity:
        return False
    inner = np.flatnonzero(tree.children_left != -1)
    children = np.array([tree.children_left[inner], tree.children_right[inner]])
    return (
        (children > inner).all()
        and (children < tree.node_count).all()
        and ((tree.feature[inner] >= 0) & (tree.feature[inner] < tree.n_features)).all()
        and tree.max_depth == tree.compute_node_depths().max() - 1
    )


def _walk(root, trusted=()):
    """Yield each part and value of a pipeline, and the name of the parameter that holds it."""
    seen, pending = set(), [("", root)]
    while pending:
        name, value = pending.pop()
        yield name, value
        if isinstance(value, dict):  # of parameters, perhaps those that a search has tried
            inner = [(re.sub(r".*__|^param_", "", str(k)), item) for k, item in value.items()]
        elif isinstance(value, (list, tuple, set)):
            inner = [(name, item) for item in value]
        elif isinstance(value, np.ndarray) and value.dtype.hasobject:
            inner = [(name, item) for item in np.ma.getdata(value).ravel()]
        elif _is_part(value, trusted):
            inner = list(vars(value).items())
        else:
            continue
        if id(value) not in seen:
            seen.add(id(value))
            pending += inner


def _is_part(value, trusted):
    kind = _name(type(value))
    is_known = isinstance(value, BaseEstimator) or kind in _trusted_kinds() or kind in trusted
    return is_known and hasattr(value, "__dict__")


def _parts(pipeline, trusted=()):
    """Return the estimators of a pipeline and their parts, each once."""
    found = {id(value): value for _, value in _walk(pipeline) if _is_part(value, trusted)}
    return list(found.values())


def _pack(pipeline, packer, trusted):
    """Return a copy of a pipeline without paths of this machine and what only `fit` needs."""
    parts, networks, shared = _parts(pipeline, trusted), {}, {}
    for part in parts:
        if isinstance(part, (DeepFeatures, FineTunedFeatures)):
            networks[id(part)] = packer.pack(part)
            shared[id(part.backbone)] = part.backbone  # perhaps a model, which is not copied
        for value in vars(part).values():
            if isinstance(value, np.ndarray) and not value.dtype.hasobject:
                shared[id(value)] = value
            elif isinstance(value, (KDTree, BallTree)):
                shared[id(value)] = None  # built again from the rows
            elif type(value).__name__ == "Booster":  # of XGBoost
                shared[id(value)] = bytes(value.save_raw("json"))
    for _, value in _walk(pipeline, trusted):  # masked arrays would copy their objects once more
        if isinstance(value, np.ma.MaskedArray) and value.dtype.hasobject:
            shared[id(value)] = np.ma.MaskedArray(copy.deepcopy(value.data, shared), value.mask)
    copied = copy.deepcopy(pipeline, shared)
    for part in parts:
        attributes = vars(shared[id(part)])
        if is_resampler(part):
            attributes.clear()
            attributes.update(vars(clone(part)))
        for name in _ONLY_TO_FIT:
            attributes.pop(name, None)
        attributes.update(dict.fromkeys(_PLACES & attributes.keys()))
        if "errors_" in attributes:
            attributes["errors_"] = []  # with paths
        if attributes.get("encoder_weights") is not None:  # which only `fit` needs
            attributes["encoder_weights"] = os.path.basename(attributes["encoder_weights"])
        attributes.update(networks.get(id(part), {}))
    return copied


class _Packer:
    """Collects the networks of a pipeline that is saved.

    Parameters
    ----------
    folder : str
        Folder for network files that do not exist yet.
    embed : bool
        Whether to include networks in the file.

    Attributes
    ----------
    lines : list of dict
        The card's lines, one per network.
    files : dict of str to str
        The file of each member.
    """

    def __init__(self, folder, embed):
        self._folder, self._embed, self._known = folder, embed, {}
        self.lines, self.files = [], {}

    def pack(self, extractor):
        """Return the attributes of an extractor to change: names of members in place of paths."""
        fitted = hasattr(extractor, "base_digest_")
        if fitted:
            extractor._network()  # refuses weights that changed since `fit`
        source = extractor._source()
        if source not in self._known:
            self._known[source] = self._add(source, extractor.weights)
        member = self._known[source]
        if member is None:
            return {}
        changes = {"base_digest_": member.split("/")[1]} if fitted else {}
        if not isinstance(source, (KerasModel, OnnxModel)):
            return changes | {"weights": member}
        return changes | {
            "backbone": member,
            "weights": "imagenet",
            "preprocessing": source.preprocessing.identity,
            "input_size": tuple(map(int, source.input_size)),
        }

    def _add(self, source, weights):
        """Add a network; return the name of its member, or None if `load` finds it by name."""
        line = {"network": source.description}
        member = None
        if self._embed or source.digest is not None:
            path, name = self._file(source)
            digest = file_digest(path)
            member = f"networks/{digest}/{name}"
            if not _NETWORK.fullmatch(member):
                raise ModelFileError(
                    f"the file of the network {source} would be called {name!r}, expected letters, "
                    "digits and hyphens. Give the model another name."
                )
            if self._embed:
                self.files[member] = path
            elif path.startswith(self._folder):
                raise ModelFileError(
                    f"the network {source} has no file that could be named. Use embed=True, or "
                    "save it and pass the path as backbone."
                )
            entry = find_entry(weights, digest)
            line |= {"sha256": digest, "license": entry and entry["license"]}
        line |= {"embedded": self._embed, "preprocessing": source.preprocessing.identity}
        self.lines.append(line)
        return member

    def _file(self, source):
        """Return the path of a network's file, and the name to give it."""
        path = os.path.join(self._folder, str(len(self._known)))
        if isinstance(source, OnnxModel):
            return source.path, f"{source.name}.onnx"
        if isinstance(source, KerasModel) and isinstance(source.model, str):
            return source.model, f"{source.name}.keras"
        if isinstance(source, KerasModel):
            source.build().save(f"{path}.keras")
            return f"{path}.keras", f"{source.name}.keras"
        if source.digest is None:
            source.build().save_weights(f"{path}.weights.h5")
            return f"{path}.weights.h5", "network.weights.h5"
        is_new = source.weights.endswith(".weights.h5")  # Keras goes by the ending
        return source.weights, f"network{'.weights.h5' if is_new else Path(source.weights).suffix}"


def _unpack_network(archive, member, digest, name):
    """Return the path of a network's file on this machine, which has this digest."""
    path = cache_dir() / "networks" / digest / name
    if path.is_file() and file_digest(path) == digest:
        return path
    if member not in archive.namelist():
        entry = find_entry("imagenet", digest)  # in the bundle that FEATBUS_WEIGHTS names
        if entry is not None:
            return check_file(os.environ["FEATBUS_WEIGHTS"], entry)
        raise ModelFileError(
            f"it was saved with embed=False, and this machine has no network of sha256 {digest}. "
            f"Copy its file to {str(path)!r}, let FEATBUS_WEIGHTS name a bundle that has it, or "
            "save the model with embed=True."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as hidden:
            with open(hidden, "wb") as file, archive.open(member) as source:
                shutil.copyfileobj(source, file)
            if file_digest(hidden) != digest:
                raise ModelFileError(f"{member} has another digest than its name says.")
    except OSError as error:
        raise ModelFileError(
            f"its networks cannot be written to {str(path.parent)!r}: {error}. Set the "
            "environment variable FEATBUS_CACHE to a folder that can be written."
        ) from error
    return path


def _complete_card(card, pipeline, classes, networks, trusted):
    """Return a card as plain JSON values, with the facts known of the pipeline."""
    taken = sorted(_ADDED & card.keys())
    if taken:
        raise InvalidParameterError(f"card has {taken[0]!r}, which save writes: rename it.")
    labels = getattr(pipeline, "classes_", [])
    names = [str(name) for name in (labels if classes is None else classes)]
    if len(names) != len(labels):
        raise InvalidParameterError(
            f"classes has {len(names)} names, expected one for each of the {len(labels)} classes."
        )
    try:
        text = json.dumps(card, default=methodcaller("tolist"))  # of NumPy's
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise InvalidParameterError(
            f"card has a value that is not text, a number, a list or a dict: {error}."
        ) from error
    plain = json.loads(text, parse_constant=lambda _: None)  # of NaN and infinity
    _check_texts({**plain, "classes": names})
    return plain | {
        "classes": names,
        "steps": [type(step).__name__ for step in all_steps(pipeline)],
        "networks": networks or "no network",
        "versions": _versions(trusted),
        "saved": datetime.now(UTC).date().isoformat(),
        "note": _NOTE,
    }


def _check_texts(value):
    """Refuse paths, and attributes of a patient as keys."""
    if isinstance(value, dict):
        for key, item in value.items():
            name = re.sub(r"'s|[^a-z]", "", key.lower())
            if name in _patient_fields():
                raise InvalidParameterError(
                    f"card has {key!r}, an attribute of a patient: a card travels with the model. "
                    "Leave it out."
                )
            _check_texts([key, item])
    elif isinstance(value, list):
        for item in value:
            _check_texts(item)
    elif isinstance(value, str) and _PATH.search(value):
        raise InvalidParameterError(
            f"card has {value!r}, which has a path of this machine. Leave it out."
        )


@cache
def _patient_fields():
    from pydicom.datadict import DicomDictionary

    # The group of tags 0010 describes the patient.
    return _PERSONAL | {row[4].lower() for tag, row in DicomDictionary.items() if tag >> 16 == 16}


def write_card_html(path: PathLike, page: PathLike) -> None:
    """Write the model card of a file as one HTML page without external resources.

    Read more in the :ref:`User Guide <models>`.

    Parameters
    ----------
    path : str or os.PathLike
        The file that `featbus.save` wrote.
    page : str or os.PathLike
        The page to write.

    Raises
    ------
    ModelFileError
        A ValueError: if the file is damaged, or has another format.

    See Also
    --------
    read_card : The card as a dict.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from featbus import LBP, make_breast_ultrasound, save
    >>> from featbus.persistence import write_card_html
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> images = make_breast_ultrasound(2, random_state=0).images
    >>> save(LBP().fit(images), folder / "lbp.skops")
    >>> write_card_html(folder / "lbp.skops", folder / "card.html")
    >>> (folder / "card.html").read_text().splitlines()[0]
    '<!DOCTYPE html>'
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("featbus"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: escape(value) if type(value) is str else value,
    )
    text = pages.get_template("model_card.html").render(card=read_card(path), title=Path(path).name)
    with written_whole(page) as hidden:
        hidden.write_text(text, encoding="utf-8", errors="replace")
