"""The documentation keeps up with the code."""

import csv
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import featbus
from featbus.base import FeatureExtractor

DOCS = Path(__file__).resolve().parents[1] / "docs"
MODULES = [
    module.name
    for module in pkgutil.iter_modules(featbus.__path__)
    if not module.name.startswith("_") and module.name not in ("cli", "networks")
]
# The others hold what these share, and have no public names.
PACKAGES = [
    name for name in MODULES if hasattr(importlib.import_module(f"featbus.{name}"), "__all__")
]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_on_the_api_page(package):
    listed = {line.strip() for line in (DOCS / "api" / "index.rst").read_text().splitlines()}
    module = importlib.import_module(f"featbus.{package}")
    of_scikit_learn = {"HasMethods", "Interval", "InvalidParameterError", "Options", "StrOptions"}
    names = set(module.__all__) - (of_scikit_learn if package == "parameters" else set())
    missing = [name for name in names if not {name, f"{package}.{name}"} & listed]
    assert not missing


def test_public_modules_have_public_names():
    assert {"base", "bus", "datasets", "evaluation", "images", "io"} < set(PACKAGES)


def test_the_code_in_the_readme_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    exec(compile("\n".join(blocks), "README.md", "exec"), {})
    score = float(capsys.readouterr().out.split()[0])
    assert 0.5 < score <= 1
    assert (tmp_path / "report.html").stat().st_size > 1e5


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
    long = {"app", "command_line", "scale"}
    for page in (DOCS / "user_guide").glob("*.rst"):
        text = page.read_text(encoding="utf-8")
        assert len(text.split()) <= 1500 or page.stem in long, page
        bars = re.findall(r"^ *=+(?: +=+)+$", text, flags=re.MULTILINE)
        assert max([len(bar.split()) for bar in bars], default=0) <= 5, page
    for path in DOCS.rglob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            assert max(map(len, csv.reader(file))) <= 5, path


def _is_extractor(found):
    is_public = isinstance(found, type) and not inspect.isabstract(found)
    return is_public and issubclass(found, FeatureExtractor) and found is not FeatureExtractor
