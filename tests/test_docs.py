"""The documentation keeps up with the code."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import featbus

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
