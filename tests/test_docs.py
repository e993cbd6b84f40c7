"""The documentation keeps up with the code."""

import csv
import importlib
import inspect
import pkgutil
import re
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest

import featbus
from featbus.base import FeatureExtractor

DOCS = Path(__file__).resolve().parents[1] / "docs"
MODULES = [
    module.name
    for module in pkgutil.iter_modules(featbus.__path__)
    if not module.name.startswith("_") and module.name != "cli"
]
# The others hold what these share, and have no public names.
PACKAGES = [n for n in MODULES if hasattr(importlib.import_module(f"featbus.{n}"), "__all__")]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_on_the_api_page(package):
    listed = {line.strip() for line in (DOCS / "api" / "index.rst").read_text().splitlines()}
    module = importlib.import_module(f"featbus.{package}")
    tables = {"BACKBONES", "NAMED"}  # of networks, for the build of the docs
    missing = [name for name in module.__all__ if not {name, f"{package}.{name}"} & listed]
    assert set(missing) <= tables


def test_what_the_guide_tells_to_import_is_public():
    pages = [path.read_text(encoding="utf-8") for path in DOCS.glob("user_guide/*.rst")]
    api = (DOCS / "api" / "index.rst").read_text(encoding="utf-8")
    told = re.findall(r"from featbus\.(\w+) import ([\w, ]+)", "\n".join(pages))
    names = {(module, name) for module, names in told for name in re.split(r",\s*", names)}
    listed = set(re.findall(r"^   (?:\w+\.)?(\w+)$", api, re.MULTILINE))
    of_scikit_learn = {"HasMethods", "Interval", "Options", "StrOptions"}
    assert len(names) > 20
    assert {name for _, name in names} <= listed | of_scikit_learn


def test_public_modules_have_public_names():
    assert {"base", "bus", "datasets", "evaluation", "images", "io"} < set(PACKAGES)


def readme():
    return (DOCS.parent / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_short():
    assert len(readme().split()) <= 350


@pytest.mark.slow
def test_the_code_in_the_readme_prints_its_table(capsys):
    code, table = re.findall(r"```(?:python|text)\n(.*?)```", readme(), flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    header, *lines = capsys.readouterr().out.splitlines()[: len(table.splitlines())]
    assert header.split() == table.splitlines()[0].split()
    for found, shown in zip(lines, table.splitlines()[1:], strict=True):
        numbers = [[float(n) for n in re.findall(r"\d\.\d\d", row)] for row in (found, shown)]
        np.testing.assert_allclose(*numbers, atol=0.03)  # forests differ between releases


@pytest.mark.slow
def test_the_picture_in_the_readme_is_that_of_its_script(tmp_path):
    path = DOCS / "overview.py"
    scores = runpy.run_path(str(path))["draw"](tmp_path / "overview.png")
    assert (
        cv2.imread(str(tmp_path / "overview.png")).shape
        == cv2.imread(str(DOCS / "_static" / "overview.png")).shape
    )
    by_patient, *leaky = scores.to_frame()["roc_auc"]
    low, high = min(leaky), max(leaky)
    assert f"{by_patient:.2f} by patient, {low:.2f} to {high:.2f} by protocols" in readme()


def test_the_table_of_features_names_each_that_turns_whole_images_into_rows():
    table = (DOCS / "user_guide" / "which_features.csv").read_text(encoding="utf-8")
    page = (DOCS / "user_guide" / "which_features.rst").read_text(encoding="utf-8")
    names = [name for name in dir(featbus) if _is_extractor(getattr(featbus, name))]
    assert len(names) > 8
    assert all(f"~featbus.{name}`" in page for name in names)
    # These have pages of their own, with scores.
    elsewhere = {"BIRADSFeatures", "BreastDensity", "FineTunedFeatures", "Radiomics"}
    assert {name for name in names if f"~featbus.{name}`" not in table} == elsewhere


def test_pages_are_short_and_tables_are_narrow():
    for page in (DOCS / "user_guide").glob("*.rst"):
        text = page.read_text(encoding="utf-8")
        assert len(text.split()) <= 1500, page
        bars = re.findall(r"^ *=+(?: +=+)+$", text, flags=re.MULTILINE)
        assert max([len(bar.split()) for bar in bars], default=0) <= 5, page
    for path in DOCS.rglob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            assert max(map(len, csv.reader(file))) <= 5, path


def _is_extractor(found):
    is_public = isinstance(found, type) and not inspect.isabstract(found)
    return is_public and issubclass(found, FeatureExtractor) and found is not FeatureExtractor
