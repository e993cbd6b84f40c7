"""The documentation keeps up with the code."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import featbus

DOCS = Path(__file__).resolve().parents[1] / "docs"
PACKAGES = [
    module.name
    for module in pkgutil.iter_modules(featbus.__path__)
    if not module.name.startswith("_") and module.name not in ("cli", "networks")
]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_on_the_api_page(package):
    listed = {line.strip() for line in (DOCS / "api" / "index.rst").read_text().splitlines()}
    names = importlib.import_module(f"featbus.{package}").__all__
    missing = [name for name in names if not {name, f"{package}.{name}"} & listed]
    assert not missing


def test_the_code_in_the_readme_runs(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    exec(compile("\n".join(blocks), "README.md", "exec"), {})
    score = float(capsys.readouterr().out.split()[0])
    assert 0.5 < score <= 1
    assert (tmp_path / "report.html").stat().st_size > 1e5
