"""The networks of a model: their files, which travel in it or are named by their digest."""

import hashlib
import os
import re
import shutil
from pathlib import Path

import numpy as np

from featbus.files import written_whole
from featbus.networks import (
    BACKBONES,
    MODEL_FILES,
    NAMED,
    KerasModel,
    OnnxModel,
    SmallCNN,
    cache_dir,
    check_weights_file,
    file_digest,
    find_folder,
    list_weights,
    read_index,
    read_model_config,
)
from featbus.persistence._archive import NETWORK, ModelFileError

_ENDINGS = (".weights.h5", ".h5")
# Layers that run code of their own or read other files; Keras' safe mode refuses most of them, too.
_UNSAFE = {
    "FeatureSpace",
    "FlaxLayer",
    "IndexLookup",
    "IntegerLookup",
    "JaxLayer",
    "Lambda",
    "StringLookup",
    "TFSMLayer",
    "TextVectorization",
    "TorchModuleWrapper",
}
# Where Keras finds the classes of a network; it would look for "layers.Lambda" in any of them.
_MODULES = re.compile(
    r"keras\.(?:activations|constraints|dtype_policies|initializers|layers|losses|metrics|models"
    r"|optimizers(?:\.schedules)?|quantizers|random|regularizers)"
    r"|keras\.src\.(?:applications|models|ops)(?:\.[a-z0-9_]+)+",
    re.ASCII,
)
_CLASS = re.compile(r"[A-Z][A-Za-z0-9]*", re.ASCII)
_OF_KERAS = {"DTypePolicy", "DTypePolicyMap", "Functional", "Model", "Sequential"}
_VALUES = {"__ellipsis__", "__keras_tensor__", "__slice__"}
_FUNCTION_MODULES = {"builtins", "keras.activations", "keras.losses", "keras.metrics"}
_FUNCTION = re.compile(r"(?!(?:de)?serialize$|get$)[a-z][a-z0-9_]*", re.ASCII)
_LARGEST = 1 << 16  # what a number may be in the configuration of a small file: gray levels
_UNBOUNDED = {"seed", "shared_object_id"}


class Packer:
    """Collects the networks of a pipeline that is saved.

    Parameters
    ----------
    folder : str
        Where files are made that do not exist yet.
    embed : bool
        Whether networks travel in the file.

    Attributes
    ----------
    entries : list of dict
        The manifest's lines, one per network: "network", "sha256", "member", "embedded",
        "preprocessing" and, where a weights bundle knows it, "license"; else None.
    files : dict of str to str
        The file of each member.
    """

    def __init__(self, folder, embed):
        self._folder, self._embed = folder, embed
        self._members, self._paths = {}, {}
        self.entries, self.files = [], {}

    def pack(self, extractor):
        """Return what to change in the attributes of an extractor.

        Parameters
        ----------
        extractor : DeepFeatures or FineTunedFeatures
            The extractor, which stays as it is.

        Returns
        -------
        dict of str to object
            Attributes: the names of members instead of files and models.
        """
        fitted = hasattr(extractor, "base_digest_")
        if fitted:
            extractor._network()  # refuses weights that changed since `fit`
        source = extractor._source()
        if source not in self._members:
            self._members[source] = self._add(source, find_folder(extractor.weights))
        member = self._members[source]
        if member is None:
            return {}
        digest = {"base_digest_": member.split("/")[1]} if fitted else {}
        if not _is_model(source):
            return {"weights": member} | digest
        return {"backbone": member} | _known(extractor, source) | digest

    def unpack(self, extractor):
        """Check what `Unpacker.unpack` will check, and change nothing.

        Parameters
        ----------
        extractor : DeepFeatures or FineTunedFeatures
            What will be loaded.
        """
        for member in _members_of(extractor, self._paths).values():
            _check_network(self._paths[member])

    def _add(self, source, bundle):
        """Enter a network; return the name of its member, None if it has no file."""
        if not self._embed and not _is_model(source) and source.digest is None:
            if source.weights is not None:
                digest = _digest_arrays(source)
                self._note(source, digest, None, bundle)
            return None
        path, name = self._file(source)
        digest = file_digest(path)
        member = f"networks/{digest}/{name}"
        if not NETWORK.fullmatch(member):
            raise ModelFileError(
                f"the file of the network {source} would be called {name!r}, expected letters, "
                "digits and hyphens. Give the model another name."
            )
        self._paths[member] = path
        if self._embed:
            self.files[member] = path
        self._note(source, digest, member, bundle)
        return member

    def _note(self, source, digest, member, bundle):
        line = {"network": _label(source), "sha256": digest, "member": member}
        line["embedded"] = member in self.files
        line["preprocessing"] = source.preprocessing.identity
        line["license"] = _find_license(bundle, digest)
        if line not in self.entries:
            self.entries.append(line)

    def _file(self, source):
        """Return the path of a network's file, and the name to give it."""
        path = os.path.join(self._folder, str(len(self._members)))
        if isinstance(source, OnnxModel):
            return source.path, f"{source.name}.onnx"
        if _is_model(source):
            model = source.build() if isinstance(source, SmallCNN) else source.model
            if isinstance(model, str):
                return model, f"{source.name}.keras"
            if not self._embed:
                raise ModelFileError(
                    f"the model {source.name!r} has no file that could be named. Use embed=True, "
                    "or save it and pass the path as backbone."
                )
            model.save(f"{path}.keras")
            return f"{path}.keras", f"{source.name}.keras"
        if source.digest is None:
            source.build().save_weights(f"{path}.weights.h5")
            return f"{path}.weights.h5", "network.weights.h5"
        endings = [ending for ending in _ENDINGS if source.weights.endswith(ending)]
        if not endings:
            raise ModelFileError(
                f"the weights of {source} are a file {os.path.basename(source.weights)!r}, "
                f"expected a name that ends in {' or '.join(_ENDINGS)}."
            )
        return source.weights, f"network{endings[0]}"


def _is_model(source):
    """Tell whether a network travels as a model, not as weights of the table."""
    return isinstance(source, (KerasModel, OnnxModel, SmallCNN))


def _known(extractor, source):
    """Return what a bundle, or a file of another library, knows about a model: it has to travel."""
    known, backbone = {"weights": "imagenet"}, extractor.backbone
    if extractor.preprocessing is None or _is_file(extractor.preprocessing):
        known["preprocessing"] = source.preprocessing.identity
    if isinstance(backbone, str) and not backbone.endswith(MODEL_FILES):
        known["input_size"] = tuple(map(int, source.input_size))
    return known


def _is_file(preprocessing):
    """Tell whether preprocessing is read from a file."""
    is_path = isinstance(preprocessing, (str, os.PathLike))
    return is_path and str(preprocessing) not in NAMED


def _find_license(bundle, digest):
    """Return the license of a file in a weights bundle, None where it is not known."""
    entries = read_index(bundle) if bundle else []
    return next((entry.license for entry in entries if entry.sha256 == digest), None)


def _label(source):
    return f"{source}, {source.input_size[0]} x {source.input_size[1]} pixels"


def _digest_arrays(source):
    """Return a digest of the weights of a network, wherever Keras has them."""
    digest = hashlib.sha256()
    for weight in source.build().get_weights():
        digest.update(np.ascontiguousarray(weight).data)
    return digest.hexdigest()


class Unpacker:
    """Gives the extractors of a loaded pipeline their networks.

    Parameters
    ----------
    archive : zipfile.ZipFile
        The model file.
    entries : list of dict
        The manifest's lines, see `Packer`.
    """

    def __init__(self, archive, entries):
        self._archive = archive
        self._digests = {line["member"] or line["network"]: line["sha256"] for line in entries}

    def unpack(self, extractor):
        """Change the attributes of an extractor to files on this machine.

        Parameters
        ----------
        extractor : DeepFeatures or FineTunedFeatures
            What was loaded.
        """
        for name, member in _members_of(extractor, self._digests).items():
            setattr(extractor, name, str(self._place(member)))
        if extractor.weights == "imagenet" and extractor.backbone in BACKBONES:
            self._compare(extractor, extractor._source())

    def _compare(self, extractor, source):
        """Refuse ImageNet weights that are not those of the model, wherever they come from."""
        found, expected = _digest_arrays(source), self._digests.get(_label(source))
        if found != expected:
            raise ModelFileError(
                f"the ImageNet weights of {source} have the digest {found} here, and {expected} "
                "where the model was saved. Save it with embed=True."
            )
        if hasattr(extractor, "base_digest_"):
            extractor.base_digest_ = source.digest

    def _place(self, member):
        """Return the path of a network's file on this machine."""
        digest, name = NETWORK.fullmatch(member).groups()
        path = cache_dir() / "networks" / digest / name
        if not (path.is_file() and file_digest(path) == digest):
            if member in self._archive.namelist():
                self._extract(member, path, digest)
            else:
                path = _find_in_bundle(digest) or _refuse_missing(path, digest)
        _check_network(path)
        return path

    def _extract(self, member, path, digest):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with (
                written_whole(path) as hidden,
                open(hidden, "wb") as file,
                self._archive.open(member) as source,
            ):
                shutil.copyfileobj(source, file)
        except OSError as error:
            raise ModelFileError(
                f"its networks cannot be written to {str(path.parent)!r}: {error}. Set the "
                "environment variable FEATBUS_CACHE to a folder that can be written."
            ) from error
        if file_digest(path) != digest:
            path.unlink()
            raise ModelFileError(f"the network {member} has another digest than its name says.")


def _members_of(extractor, known):
    """Return the attributes of an extractor that name networks of the file; refuse other files."""
    if _is_file(extractor.preprocessing):
        raise ModelFileError(
            f"preprocessing is {extractor.preprocessing!r}, which is not in the file."
        )
    found = {}
    for name, allowed in (("weights", (None, "imagenet")), ("backbone", BACKBONES)):
        value = getattr(extractor, name)
        if isinstance(value, str) and value in known and NETWORK.fullmatch(value):
            found[name] = value
        elif value not in allowed:
            raise ModelFileError(f"{name} is {value!r}, which is not in the file.")
    return found


def _find_in_bundle(digest):
    """Return the path of a file of this digest in the weights bundle, if there is one."""
    folder = os.environ.get("FEATBUS_WEIGHTS")
    if not folder:
        return None
    found = list_weights(folder).query("sha256 == @digest and state == 'verified'")
    return Path(folder, found["file"].iloc[0]) if len(found) else None


def _refuse_missing(path, digest):
    raise ModelFileError(
        f"it was saved with embed=False, and this machine has no network of sha256 {digest}. Copy "
        f"its file to {str(path)!r}, let FEATBUS_WEIGHTS name a bundle that has it, or save the "
        "model with embed=True."
    )


def _check_network(path):
    """Refuse a network's file that asks for more than it has, or for code."""
    if str(path).endswith(".onnx"):
        return  # checked when it is read
    check_weights_file(path)
    if str(path).endswith(".keras"):
        _check_layers(path)


def _check_layers(path):
    """Refuse a Keras model with anything but Keras' own layers of numbers."""
    largest = max(_LARGEST, os.path.getsize(path))
    pending = [(None, read_model_config(path))]
    while pending:
        name, item = pending.pop()
        if isinstance(item, dict):
            if "class_name" in item and not _is_known(item):
                raise ModelFileError(
                    f"its network has a layer {item.get('module')}.{item['class_name']}, expected "
                    "Keras' own layers that run no other code."
                )
            pending += item.items()
        elif isinstance(item, list):
            pending += ((name, inner) for inner in item)
        elif isinstance(item, int) and item > largest and name not in _UNBOUNDED:
            raise ModelFileError(
                f"its network has {name}={item}, and its file is too small for so many weights."
            )


def _is_known(item):
    """Tell whether a part of a configuration becomes a harmless object of Keras' own."""
    name, module = item["class_name"], item.get("module")
    if item.get("registered_name") not in (None, name) or not isinstance(name, str):
        return False
    if name == "function":
        function = item.get("config")
        is_name = isinstance(function, str) and _FUNCTION.fullmatch(function)
        return bool(is_name) and module in _FUNCTION_MODULES
    if module is None:
        return name in _VALUES
    if module == "keras":
        return name in _OF_KERAS
    is_class = _CLASS.fullmatch(name) and name not in _UNSAFE
    return bool(is_class and isinstance(module, str) and _MODULES.fullmatch(module))
