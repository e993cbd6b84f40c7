"""Versions of everything that rows depend on, for reports of errors."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version

# Packages that numbers depend on, under the names they are distributed by.
_OF_NUMBERS = (
    ("featbus",),
    ("numpy",),
    ("scipy",),
    ("scikit-learn",),
    ("scikit-image",),
    (
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python-headless",
        "opencv-contrib-python",
    ),
    ("imbalanced-learn",),
    ("xgboost",),
    ("keras",),
    ("tensorflow", "tensorflow-cpu"),
    ("onnx",),
    ("onnxruntime", "onnxruntime-gpu"),
    ("openvino",),
    ("pydicom",),
    ("pillow",),
)
_DEVELOPERS_EXTRAS = re.compile(r"extra == .(test|lint|docs|benchmark)\b")


def show_versions() -> None:
    """Print the versions of featbus and its dependencies, and what they compute with.

    Paste the output into the report of an error.

    Read more in the :ref:`User Guide <contributing>`.

    Examples
    --------
    >>> from featbus import show_versions
    >>> show_versions()  # doctest: +SKIP
    System
              python: 3.12.3
             machine: Linux x86_64
               cores: 8
    ...
    """
    for title, values in (
        ("System", _system()),
        ("Packages", _packages()),
        ("Networks", _networks()),
        ("Threads", _threads()),
    ):
        print(title)
        for name, value in values.items():
            print(f"{name:>24}: {value}")
        print()


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on.

    Returns
    -------
    dict of str to str
        The versions by name; packages that are not installed are left out.

    Examples
    --------
    >>> from featbus.versions import package_versions
    >>> list(package_versions())[:3]
    ['python', 'featbus', 'numpy']
    """
    found = {"python": platform.python_version()}
    for names in _OF_NUMBERS:
        for name in names:
            with suppress(PackageNotFoundError):
                found[name] = version(name)
    return found


def _system():
    import joblib

    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": joblib.cpu_count(),
    }


def _packages():
    """Return the version of featbus and of each dependency of users, by name."""
    wanted = [line for line in requires("featbus") or [] if not _DEVELOPERS_EXTRAS.search(line)]
    names = [re.match(r"[\w.-]+", line)[0] for line in wanted]
    return {name: _version(name) for name in ["featbus", *names]}


def _version(name):
    with suppress(PackageNotFoundError):
        return version(name)
    return "not installed"


def _networks():
    """Return the backend of Keras and its devices, or why there is none."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras

        return {"backend of Keras": keras.backend.backend(), "devices": _devices(keras)}
    except Exception as error:  # a broken installation is what the user may want to report
        return {"Keras": f"cannot be imported ({type(error).__name__}: {error})"}


def _devices(keras):
    return ", ".join(map(str, keras.distribution.list_devices())) or "none known"


def _threads():
    """Return the number of threads of each library that has its own."""
    import cv2
    import numpy  # noqa: F401 - loads the library of linear algebra
    from threadpoolctl import threadpool_info

    pools = {pool["prefix"]: f"{pool['num_threads']}" for pool in threadpool_info()}
    return {"opencv": cv2.getNumThreads(), **pools}
