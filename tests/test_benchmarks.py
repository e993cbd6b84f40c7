"""The benchmarks still run: each once, in this process."""

import importlib
from itertools import product
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
NAMES = [path.stem for path in sorted((FOLDER / "benchmarks").glob("[!_c]*.py"))]
NETWORKS = "deep_features", "segmentation"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.network] * (name in NETWORKS)) for name in NAMES]
)
def test_a_file_of_benchmarks(name, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    module = importlib.import_module(f"benchmarks.{name}")
    suites = [value for key, value in vars(module).items() if key.endswith("Suite")]
    assert suites
    for suite in suites:
        if suite.__name__ == "TrainingSuite":  # takes as long as all others
            continue
        params = getattr(suite, "params", ())
        axes = params if not params or isinstance(params[0], tuple) else [params]
        for values in product(*axes):
            benchmark = suite()
            benchmark.setup(*values)
            for method in [key for key in dir(suite) if key.startswith("time_")]:
                getattr(benchmark, method)(*values)
            if hasattr(suite, "teardown"):
                benchmark.teardown(*values)
