"""Where the tests find real data; nothing of it lives in this repository."""

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data"


def data_dir(name):
    """Return the folder `name` of the real data, or skip the test where there is none."""
    root = Path(os.environ.get("FEATBUS_TEST_DATA", _DEFAULT))
    folder = root / name
    if not folder.exists():
        pytest.skip(f"no real data at {folder}: set FEATBUS_TEST_DATA to the folder that holds it")
    return folder
