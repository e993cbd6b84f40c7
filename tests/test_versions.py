"""What a bug report shows."""

import re
import sys
from importlib.metadata import version

from featbus import show_versions, versions


def test_versions_of_what_numbers_depend_on(monkeypatch):
    found = versions.package_versions()
    for name in ("featbus", "numpy", "scipy", "scikit-learn", "scikit-image", "pydicom", "pillow"):
        assert found[name] == version(name)
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    monkeypatch.setattr(versions, "_PACKAGES", ("none-such", "numpy"))
    assert list(versions.package_versions()) == ["python", "numpy"]


def test_printed_versions(capsys):
    show_versions()
    printed = capsys.readouterr().out
    for name, number in versions.package_versions().items():
        assert re.search(rf"^ *{name}: {re.escape(number)}$", printed, re.MULTILINE)
    assert re.search(r"^ *machine: \w+ \w+$", printed, re.MULTILINE)
    assert re.search(r"^ *threads of \w+: \d+$", printed, re.MULTILINE)
