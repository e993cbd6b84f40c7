"""Settings that every test shares."""

import os
from importlib.util import find_spec

import hypothesis
import pytest
from _browser import open_browser

# The suite must give the same numbers with and without a graphics card or a screen.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")
# Each worker has a core of its own, and threads of several workers would wait for each other.
# NumPy reads this when it is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# CI repeats the same examples; newer releases of hypothesis do this by default.
hypothesis.settings.register_profile("same", derandomize=True)
if "CI" in os.environ:
    hypothesis.settings.load_profile("same")


# Markers of tests that need packages which a slim installation does not have.
_NEEDS = {"network": ("keras", "tensorflow"), "xgboost": ("xgboost",)}


def pytest_collection_modifyitems(items):
    """Skip what needs packages that are not installed."""
    missing = {
        marker: [name for name in names if find_spec(name) is None]
        for marker, names in _NEEDS.items()
    }
    for item in items:
        for marker, names in missing.items():
            if names and item.get_closest_marker(marker):
                reason = f"{' and '.join(names)} not installed"
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """Run single files and tests in this process: starting workers takes longer."""
    if not any(os.path.isdir(path) for path in config.args):
        config.option.dist = "no"
        return 0
    return None


# Closed at the end of the file: while it is open, tests cannot run event loops of their own.
@pytest.fixture(scope="module")
def browser():
    """Return headless Chromium, or skip the test."""
    with open_browser() as browser:
        yield browser


@pytest.fixture
def empty_figures(monkeypatch):
    """Draw no figures in reports: they take most of the time, and have tests of their own."""
    monkeypatch.setattr("featbus.evaluation._report.draw_svg", lambda panel, key: "")


@pytest.fixture
def few_permutations(monkeypatch):
    """Test shortcuts by 50 permutations instead of 500, which take most of the time of an audit."""
    for name in ("_PERMUTATIONS", "_RESAMPLES"):
        monkeypatch.setattr(f"featbus.model_selection._shortcuts.{name}", 50)


@pytest.fixture
def memory(tmp_path):
    """Return the path of a feature store that does not exist yet."""
    return tmp_path / "features.sqlite"


@pytest.fixture
def log(tmp_path):
    """Return the path of the file in which spies of `_spies` leave their traces."""
    return str(tmp_path / "log")


@pytest.fixture
def eager():
    """Run the steps one by one: to compile them takes longer than a few steps."""
    config = pytest.importorskip("tensorflow").config
    config.run_functions_eagerly(True)
    yield
    config.run_functions_eagerly(False)
