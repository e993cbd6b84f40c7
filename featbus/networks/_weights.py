"""The weights of a network: ImageNet's from Keras' cache or the net, or files of your own."""

import hashlib
import os
import textwrap
import traceback
import warnings
from functools import lru_cache

INDEX = "weights.json"


def check_weights(weights):
    """Check where weights come from; no file is read.

    Parameters
    ----------
    weights : "imagenet", str, path or None
        The parameter `weights` of an estimator.

    Returns
    -------
    str or None
        `weights` as a string; None for random weights.

    Raises
    ------
    TypeError
        If `weights` is no string and no path.
    FileNotFoundError
        If there is no such file, or the folder is no weights bundle.
    """
    if weights is None or (isinstance(weights, str) and weights == "imagenet"):
        return weights
    if not isinstance(weights, (str, os.PathLike)):
        raise TypeError(
            f"weights is {weights!r}, expected 'imagenet', None or the path of a file or bundle."
        )
    path = os.fspath(weights)
    file = os.path.join(path, INDEX) if os.path.isdir(path) else path
    if not os.path.isfile(file):
        raise FileNotFoundError(
            f"weights is {path!r}, and there is no such file as {file!r}. Expected 'imagenet', "
            "None, the path of a Keras weights file, or the folder of a weights bundle."
        )
    return path


def file_digest(path):
    """Return the SHA-256 digest of a file's content.

    Parameters
    ----------
    path : str or path
        The file. It is read again only after it has changed.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    status = os.stat(path)
    times = status.st_mtime_ns, status.st_ctime_ns
    return _file_digest(os.path.abspath(path), times, status.st_size)


@lru_cache(maxsize=64)
def _file_digest(path, times, size):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_file(base, path, network):
    """Load weights into a network without its top.

    Parameters
    ----------
    base : keras.Model
        The network.
    path : str
        A file that Keras reads: ``.weights.h5``, ``.keras``, or ``.h5`` as of Keras 2.
    network : str
        How errors call the network.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it holds the weights of another network.
    """
    try:
        with warnings.catch_warnings():
            # Keras warns many times on its way to the one error that counts.
            warnings.filterwarnings("ignore", "Skipping nested container", UserWarning)
            base.load_weights(path)
    except OSError as error:
        raise OSError(f"The weights file {path!r} of {network} cannot be read: {error}") from error
    except Exception as error:  # what Keras raises here depends on where the layers differ
        raise ValueError(
            f"The file {path!r} does not hold the weights of {network} without its top "
            "(include_top=False). Keras goes by the file's name: '.weights.h5' is what "
            "Model.save_weights writes today, another '.h5' is what Keras 2 wrote. It says: "
            + textwrap.shorten(str(error) or repr(error), 300)
        ) from error


def explain_build_error(error, network):
    """Return what to raise when Keras fails to build a network.

    Parameters
    ----------
    error : Exception
        What Keras raised.
    network : str
        How the message calls the network.

    Returns
    -------
    OSError, ValueError or None
        An OSError that names the file of ImageNet weights to fetch, or the damaged one; a
        ValueError where Keras does not accept an argument; None for anything else.
    """
    url = _local_variable(error, "origin")
    if url is not None:
        target = _local_variable(error, "download_target")
        return OSError(
            f"The ImageNet weights of {network} could not be downloaded: {error}. Fetch {url} on a "
            f"machine with internet access, then save it as {target} or pass its path as `weights`."
            " Or make a bundle there, with `featbus weights fetch`."
        )
    path = _local_variable(error, "weights_path")
    if path is not None:
        return OSError(
            f"The ImageNet weights of {network} cannot be read from {path}: {error}. Delete this "
            "file; it will be downloaded again."
        )
    return ValueError(f"{network}: {error}") if isinstance(error, ValueError) else None


def _local_variable(error, name):
    """Return a local variable of the Keras function that failed.

    Keras' messages name the file only if the server does not answer; its functions always know.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if name in frame.f_locals:
            return frame.f_locals[name]
    return None
