"""What is installed with featbus, and what works without the rest."""

import doctest
import inspect
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest
import yaml
from sklearn.utils import estimator_html_repr

from featbus import HOG, DeepFeatures, FineTunedFeatures, UNetSegmenter, commands
from featbus.networks import fetch_weights, import_keras

CHECKOUT = Path(__file__).parents[1]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
HEAVY = {"tensorflow", "keras", "xgboost"}
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 32, 32), dtype=np.uint8)

EVERY_MODULE = f"""
import importlib, pkgutil, sys
sys.modules |= dict.fromkeys({sorted(HEAVY)})
import featbus
for module in pkgutil.walk_packages(featbus.__path__, "featbus."):
    if module.name != "featbus.__main__":
        importlib.import_module(module.name)
for name in featbus.__all__:
    getattr(featbus, name)
import logging
assert not logging.root.handlers
assert [name for name in logging.root.manager.loggerDict if name[:7] == "featbus"] == ["featbus"]
"""


def test_every_module_imports_without_heavy_packages_and_logs_to_one_logger():
    subprocess.run([sys.executable, "-c", EVERY_MODULE], check=True)


def test_featbus_slim_does_without_dependencies_of_featbus():
    slim = tomllib.loads((CHECKOUT / "packaging" / "slim" / "pyproject.toml").read_text())
    without = slim["tool"]["hatch"]["metadata"]["hooks"]["custom"]["without"]
    names = {re.match(r"[\w.-]+", line)[0] for line in PROJECT["dependencies"]}
    assert set(without) == HEAVY <= names
    assert {*slim["project"]["dynamic"]} >= PROJECT.keys() - {"name", "dynamic", "license-files"}


def test_the_recipe_of_conda_forge_has_the_same_dependencies():
    recipe = yaml.safe_load((CHECKOUT / "packaging" / "conda-forge" / "recipe.yaml").read_text())
    names = {
        "opencv-python-headless": "py-opencv",
        "xgboost": "py-xgboost",
        "matplotlib": "matplotlib-base",
        "docstring-parser": "docstring_parser",
    }
    split = [re.match(r"([\w.-]+)(.*)", line).groups() for line in PROJECT["dependencies"]]
    expected = [f"{names.get(name, name)} {bounds}" for name, bounds in split]
    assert recipe["requirements"]["run"][1:] == expected
    assert recipe["about"]["summary"] == PROJECT["description"]
    assert f">={recipe['context']['python_min']}" == PROJECT["requires-python"]


def test_the_release_has_one_number_and_date():
    changes = (CHECKOUT / "CHANGELOG.md").read_text()
    released = re.search(r"^## (\d+\.\d+\.\d+) \((\d{4}-\d\d-\d\d)\)$", changes, re.MULTILINE)
    citation = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text())
    recipe = yaml.safe_load((CHECKOUT / "packaging" / "conda-forge" / "recipe.yaml").read_text())
    assert released.groups() == (citation["version"], str(citation["date-released"]))
    assert recipe["context"]["version"] == citation["version"]


@pytest.mark.skipif("FEATBUS_DIST" not in os.environ, reason="FEATBUS_DIST names built wheels")
def test_the_wheels_hold_the_package_alone_and_differ_in_heavy_dependencies():
    files, lines = [], []
    for name in ("featbus", "featbus_slim"):
        [path] = Path(os.environ["FEATBUS_DIST"]).glob(f"{name}-*.whl")
        with zipfile.ZipFile(path) as wheel:
            info = path.name.removesuffix("-py3-none-any.whl") + ".dist-info"
            lines.append(wheel.read(f"{info}/METADATA").decode().splitlines()[2:])
            files.append({*(found.replace(info, "") for found in wheel.namelist())})
    assert files[0] == files[1]
    assert {name.partition("/")[0] for name in files[0]} == {"featbus", ""}
    heavy = re.compile(f"Requires-Dist: ({'|'.join(HEAVY)})[><=]")
    assert [line for line in lines[0] if not heavy.match(line)] == lines[1] != lines[0]


@pytest.mark.parametrize(
    "use",
    [
        lambda path: DeepFeatures("mobilenet_v2", weights=None).fit_transform(IMAGES),
        lambda path: FineTunedFeatures("mobilenet_v2", weights=None).fit(IMAGES, [0, 1, 0, 1]),
        lambda path: UNetSegmenter(encoder_weights=None).fit(IMAGES, IMAGES > 99),
        lambda path: fetch_weights("mobilenet_v2", path),
        lambda path: import_keras(),
        lambda path: commands.evaluate("none", recipe="mammogram_svm", weights=None),
    ],
)
def test_networks_without_keras(use, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ImportError, match="pip install keras tensorflow"):
        use(tmp_path)


def test_the_codecs_have_licenses_that_fit():
    """pylibjpeg-libjpeg is under the GPL."""
    codecs = PROJECT["optional-dependencies"]["dicom"]
    assert codecs
    assert not any(line.startswith("pylibjpeg-libjpeg") for line in codecs)


def test_links_only_to_published_documentation():
    if "Documentation" in PROJECT.get("urls", {}):
        pytest.skip("it is published")
    html = estimator_html_repr(HOG())
    assert "HOG" in html
    assert "href=" not in html


def _public(name):
    return inspect.unwrap(pkgutil.resolve_name(f"featbus.{name}"))


API = re.findall(
    r"^   ([\w.]+)$", (CHECKOUT / "docs" / "api" / "index.rst").read_text(), re.MULTILINE
)
DOCUMENTED = [name for name in API if isinstance(_public(name), type | FunctionType)]


def test_docstrings_lead_to_the_guide():
    """The build of the docs checks that the label exists."""
    link = re.compile(r"Read more in the :ref:`User Guide <\w+>`\.\n")
    assert len(DOCUMENTED) > 50
    assert [name for name in DOCUMENTED if not link.search(_public(name).__doc__)] == []


# Their examples download weights.
NEED_INTERNET = {"networks.fetch_weights", "networks.list_weights"}
# Of a name whose docstring has no example: the name whose example shows it.
SHOWN_BY = {
    "commands.Examination": "commands.examine_image",
    "evaluation.ProtocolComparison": "compare_protocols",
    "load": "save",
    "model_selection.AuditReport": "audit",
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_docstrings_have_an_example_and_related_names(name):
    """The doctests of CI run the examples. Errors and warnings are seen where they are raised."""
    docstring = inspect.getdoc(_public(name))
    assert "\nSee Also\n--------\n" in docstring or name == "commands.Examination"
    shown = _public(SHOWN_BY.get(name, name))
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(shown))
    runs = [example for example in examples if doctest.SKIP not in example.options]
    assert runs or name in NEED_INTERNET or issubclass(shown, Exception)
