"""Settings that every test shares."""

import os

import hypothesis
import pytest

# The suite must give the same numbers with and without a graphics card or a screen.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")

# CI repeats the same examples; newer releases of hypothesis do this by default.
hypothesis.settings.register_profile("same", derandomize=True)
if "CI" in os.environ:
    hypothesis.settings.load_profile("same")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """Run single files and tests in this process: starting workers takes longer."""
    if not any(os.path.isdir(path) for path in config.args):
        config.option.dist = "no"
        return 0
    return None
