"""What a bug report shows."""

import re
import runpy
import sys
from importlib import metadata
from importlib.metadata import version
from types import SimpleNamespace

import pytest

import featbus
from featbus import show_versions, versions


def test_versions_of_what_numbers_depend_on():
    found = versions.package_versions()
    assert found["featbus"] == featbus.__version__  # also of featbus-slim
    for name in ("numpy", "scipy", "scikit-learn", "scikit-image", "pydicom", "pillow", "skops"):
        assert found[name] == version(name)
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize("name", ["featbus", "featbus-slim"])
def test_extras_are_those_of_the_installed_package(monkeypatch, name):
    known = {name: [SimpleNamespace(version="7.0")]}
    monkeypatch.setattr(metadata, "distributions", lambda name: known.get(name, []))
    names = runpy.run_path(featbus.__file__)
    assert (names["DISTRIBUTION"], names["__version__"]) == (name, "7.0")


def test_printed_versions(capsys):
    show_versions()
    printed = capsys.readouterr().out
    for name, number in ({"installed": featbus.DISTRIBUTION} | versions.package_versions()).items():
        assert re.search(rf"^ *{name}: {re.escape(number)}$", printed, re.MULTILINE)
