"""ONNX files: read once, with their external data, and refused unless they are plain networks."""

import hashlib
import os
import shutil
import stat
from contextlib import contextmanager
from functools import lru_cache
from pathlib import PurePosixPath, PureWindowsPath

from featbus.networks._onnx_checks import (
    check_graph,
    check_input,
    check_versions,
    shorten,
)
from featbus.networks._onnx_functions import check_functions
from featbus.networks._onnx_tensors import (
    LARGEST,
    RATIO,
    SMALL,
    check_tensors,
    external_bytes,
    external_files,
    load_external,
)
from featbus.networks._sources import file_digest
from featbus.parameters import InvalidParameterError

_OLDEST_ONNX = 1, 22  # before, shape inference divides by sides of zero pixels
# Pipes must not block; external data must not be links.
_PLAIN = sum(getattr(os, name, 0) for name in ("O_RDONLY", "O_BINARY", "O_CLOEXEC", "O_NONBLOCK"))
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_ARCHIVE = (
    "it is an archive, such as PyTorch and Keras write, expected a file that torch.onnx.export or "
    "keras.Model.export(format='onnx') wrote."
)
_PAGE = "it is a page of HTML or XML, expected the file itself: download it again."
_OTHER_FILES = {
    b"version https://git-lfs": "it is a pointer of Git LFS, expected the file: git lfs pull",
    b"<": _PAGE,
    b"\xef\xbb\xbf<": _PAGE,
    b"pk\x03\x04": _ARCHIVE,
    b"\x89hdf": _ARCHIVE,
}


def import_onnx():
    """Import onnx, or tell how to install it.

    Returns
    -------
    module
        The package onnx.

    Raises
    ------
    ImportError
        If it is not installed, or too old.
    """
    try:
        import onnx
        import onnx.checker
        import onnx.inliner
        import onnx.shape_inference
    except ImportError as error:
        raise ImportError(
            f'ONNX files need the package onnx: pip install "featbus[onnx]" ({error})'
        ) from error
    if tuple(map(int, onnx.__version__.split(".")[:2])) < _OLDEST_ONNX:
        raise ImportError(
            f"onnx is of version {onnx.__version__}, expected 1.22 or later: older ones end the "
            "process when a file is damaged. pip install -U onnx"
        )
    return onnx


def read_onnx(path, digest=None):
    """Read an ONNX file with its external data, unless it is not a plain network.

    Nothing is run. What is refused: other files; operators outside the ONNX standard, loops, text,
    chance, training mode; sizes that depend on the values of pixels; several inputs, or one that is
    no image; external data outside the file's folder, or in far larger files than the tensors need;
    tensors without their bytes; more than 2 GiB.

    Parameters
    ----------
    path : str or path
        The file.
    digest : str or None, default=None
        What `onnx_digest` returned; a file that was changed since is refused. None: any.

    Returns
    -------
    onnx.ModelProto
        The model in one piece: external data loaded, local functions inlined.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If onnx is not installed.
    InvalidParameterError
        If it is refused; the message has the reason.
    """
    onnx = import_onnx()
    with naming(path):
        data = _read_regular(path)
        model = _parse(data)
        check_versions(model)
        files = _read_external(path, model)
        if digest not in (None, _hash(data, files)):
            raise ValueError("it was changed since it was first read. Fit again.")
        load_external(model, files)
        check_tensors(model)
        if model.functions:
            size = len(data) + sum(map(len, files.values()))
            check_functions(model, min(LARGEST, RATIO * size + SMALL))
            model = onnx.inliner.inline_local_functions(model)
        check_graph(model)
        check_input(model)
        onnx.checker.check_model(model)
    return model


def onnx_digest(path):
    """Return the SHA-256 digest of an ONNX file and its external data.

    Parameters
    ----------
    path : str or path
        The file. It is read again only after it, or its external data, has changed.

    Returns
    -------
    str
        64 hexadecimal digits. Without external data, they are those of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If onnx is not installed.
    InvalidParameterError
        If it, or its external data, cannot be read.
    """
    import_onnx()
    with naming(path):
        digest, names = _digest_alone(os.path.abspath(path), _state(path))
        if not names:
            return digest
        files = [_external_path(path, name) for name in names]
        return _digest(os.path.abspath(path), (_state(path), *map(_state, files)))


def copy_onnx(source, path):
    """Copy an ONNX file, with its external data in it.

    Parameters
    ----------
    source, path : str or path
        The file, and its copy.

    Raises
    ------
    InvalidParameterError
        If it has external data, and `read_onnx` refuses it.
    """
    if onnx_digest(source) == file_digest(source):
        shutil.copyfile(source, path)
        return
    with open(path, "wb") as file:
        file.write(read_onnx(source).SerializeToString())


def _state(path):
    """Return what changes with a file."""
    status = os.stat(path)
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size


@lru_cache(maxsize=64)
def _digest_alone(path, state):
    """Return the digest of a file, and the names of those with its external data."""
    data = _read_regular(path)
    return _hash(data, {}), external_files(_parse(data))


@lru_cache(maxsize=64)
def _digest(path, states):
    data = _read_regular(path)
    return _hash(data, _read_external(path, _parse(data)))


def _hash(data, files):
    """Return the digest of a file, and of its external data in the order of their names."""
    digest = hashlib.sha256(data)
    for name in sorted(files):
        digest.update(hashlib.sha256(name.encode()).digest())
        digest.update(hashlib.sha256(files[name]).digest())
    return digest.hexdigest()


@contextmanager
def naming(path):
    """Name an ONNX file in what is raised about its content.

    Parameters
    ----------
    path : str or path
        The file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    InvalidParameterError
        Instead of what is raised.
    """
    from google.protobuf.message import DecodeError, EncodeError
    from onnx.checker import ValidationError
    from onnx.shape_inference import InferenceError

    name = os.fspath(path)
    if not os.path.isfile(name):
        raise FileNotFoundError(
            f"There is no ONNX file {name!r}. Check path and working directory."
        )
    errors = (DecodeError, EncodeError, ValidationError, InferenceError, OSError, ValueError)
    try:
        yield
    except (*errors, RuntimeError, TypeError, KeyError, OverflowError) as error:
        raise InvalidParameterError(
            f"The ONNX file {name!r} cannot be used: {shorten(str(error))}"
        ) from error
    except MemoryError as error:
        raise InvalidParameterError(
            f"The ONNX file {name!r} cannot be used: it needs more memory than there is."
        ) from error


def _read_regular(path, flags=0):
    """Return the content of a regular file, whose size is bounded."""
    with open(os.open(path, _PLAIN | flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{os.path.basename(path)!r} is no regular file.")
        if status.st_size > LARGEST:
            raise ValueError(
                f"{os.path.basename(path)!r} has {status.st_size} bytes, expected at most "
                f"{LARGEST}: a model in memory can have no more. Export it as float16."
            )
        return file.read(status.st_size)


def _parse(data):
    """Return the model in the content of a file."""
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    if not data:
        raise ValueError("it is empty.")
    start = data[:200].lstrip().lower()
    for prefix, found in _OTHER_FILES.items():
        if start.startswith(prefix):
            raise ValueError(found)
    try:
        return ModelProto.FromString(data)
    except DecodeError as error:
        raise ValueError(
            "it is no ONNX model, or a truncated one. Export or download it again."
        ) from error


def _external_path(path, name):
    """Return the path of external data, which has to lie in the file's folder."""
    parts = PureWindowsPath(name).parts  # splits at both kinds of slash
    outside = PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or ".." in parts
    if not name or "\0" in name or outside:
        raise ValueError(
            f"its external data are in {name!r}, expected a file beside it. Save it again with "
            "onnx.save_model(model, path, save_as_external_data=True)."
        )
    folder = os.path.dirname(os.path.abspath(path))
    target = os.path.join(folder, name)
    expected = os.path.join(os.path.realpath(folder), os.path.normpath(name))
    if os.path.normcase(os.path.realpath(target)) != os.path.normcase(expected):
        raise ValueError(
            f"its external data {name!r} are a link to another place. Copy the files themselves "
            "into one folder."
        )
    if not os.path.isfile(target):
        raise ValueError(f"its external data {name!r} are missing: there is no such file.")
    return target


def _read_external(path, model):
    """Return the contents of the files beside a file, by name."""
    files, needed = {}, external_bytes(model)
    left = most = min(LARGEST, RATIO * needed + SMALL)
    for name in external_files(model):
        target = _external_path(path, name)
        left -= os.path.getsize(target)  # one file may have many names: a, ./a, ././a
        if left < 0:
            raise ValueError(
                f"its external data have more than {most} bytes together, and its tensors need "
                f"{needed}. Save it again with onnx.save_model(model, path, "
                "save_as_external_data=True)."
            )
        files[name] = _read_regular(target, _NO_LINK)
    return files
