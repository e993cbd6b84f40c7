"""Where the tests find real data, none of which lives in this repository, and random rows."""

import os
from pathlib import Path

import numpy as np
import pytest

_DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data"


def data_dir(name):
    """Return the folder `name` of the real data, or skip the test where there is none."""
    root = Path(os.environ.get("FEATBUS_TEST_DATA", _DEFAULT))
    folder = root / name
    if not folder.exists():
        pytest.skip(f"no real data at {folder}: set FEATBUS_TEST_DATA to the folder that holds it")
    return folder


def make_rows(n_classes=2, n_samples=90, seed=0):
    """Return rows, labels and groups of three; the labels are hard to tell."""
    rng = np.random.default_rng(seed)
    groups = np.arange(n_samples) // 3
    y = rng.integers(n_classes, size=groups[-1] + 1)[groups]
    return rng.normal(size=(n_samples, 4)) + y[:, np.newaxis] / 2, y, groups
