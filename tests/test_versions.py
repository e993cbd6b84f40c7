"""What to paste into the report of an error."""

import re
import sys
from importlib.metadata import version

import pytest

from featbus import show_versions, versions


@pytest.mark.network
def test_versions_of_what_computes_rows(capsys):
    show_versions()
    printed = capsys.readouterr().out
    for name in ("featbus", "numpy", "scikit-learn", "opencv-python-headless", "keras"):
        assert re.search(rf"^ +{name}: {re.escape(version(name))}$", printed, re.MULTILINE)
    assert re.search(r"^ +backend of Keras: \w+$", printed, re.MULTILINE)
    assert re.search(r"^ +opencv: \d+$", printed, re.MULTILINE)
    assert not re.search(r"pytest|ruff|sphinx|asv", printed)


def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setattr(versions, "requires", lambda _: ["none-such>=1; extra == 'dask'", "numpy"])
    assert versions._packages()["none-such"] == "not installed"
    assert versions._packages()["numpy"] == version("numpy")


def test_no_metadata(monkeypatch):
    monkeypatch.setattr(versions, "requires", lambda _: None)
    assert list(versions._packages()) == ["featbus"]


def test_keras_that_cannot_be_imported(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "keras", None)
    show_versions()
    assert "Keras: cannot be imported (ModuleNotFoundError: " in capsys.readouterr().out


def test_versions_of_what_numbers_depend_on(monkeypatch):
    found = versions.package_versions()
    for name in ("featbus", "numpy", "scipy", "scikit-learn", "scikit-image", "pydicom", "pillow"):
        assert found[name] == version(name)
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    monkeypatch.setattr(versions, "_OF_NUMBERS", (("none-such", "numpy"),))
    assert list(versions.package_versions()) == ["python", "numpy"]
