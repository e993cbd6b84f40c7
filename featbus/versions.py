"""Versions of everything that rows depend on, for bug reports and reports of results."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import numpy  # noqa: F401 - loads its thread pool
from threadpoolctl import threadpool_info

from featbus import DISTRIBUTION, __version__

# Packages that numbers depend on, under the names they are distributed by.
_PACKAGES = (
    *("numpy", "scipy", "scikit-learn", "scikit-image", "opencv-python-headless"),
    *("opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
    *("imbalanced-learn", "xgboost", "keras", "tensorflow", "tensorflow-cpu", "onnx"),
    *("onnxruntime", "onnxruntime-gpu", "openvino", "pydicom", "pillow", "pandas", "skops"),
)


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on.

    Returns
    -------
    dict of str to str
        The versions by name, without packages that are not installed.

    Examples
    --------
    >>> from featbus.versions import package_versions
    >>> list(package_versions())[:3]
    ['python', 'featbus', 'numpy']
    """
    found = {"python": platform.python_version(), "featbus": __version__}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def show_versions() -> None:
    """Print the versions of featbus and its dependencies, the machine and its thread pools.

    Paste the output into a bug report. "installed" is the package, featbus or featbus-slim.

    Read more in the :ref:`User Guide <contributing>`.

    See Also
    --------
    featbus.evaluation.Evaluation : Its attribute `versions` has those of a result.

    Examples
    --------
    >>> from featbus import show_versions
    >>> show_versions()  # doctest: +SKIP
                     machine: Linux x86_64
                   installed: featbus
                      python: 3.12.3
                     featbus: 0.1.0
    ...
    """
    pools = {f"threads of {pool['prefix']}": pool["num_threads"] for pool in threadpool_info()}
    machine = {"machine": f"{platform.system()} {platform.machine()}", "installed": DISTRIBUTION}
    for name, value in (machine | package_versions() | pools).items():
        print(f"{name:>24}: {value}")
