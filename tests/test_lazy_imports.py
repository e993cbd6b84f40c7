"""Importing featbus is cheap."""

import subprocess
import sys

import pytest

import featbus


def modules_after(code):
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in result.stdout.split()}


@pytest.mark.parametrize(
    "code",
    [
        "from featbus import HOG, LBP, Resize, ImageLoader, load_busi, make_mammograms, evaluate",
        pytest.param(
            "from featbus import DeepFeatures; import numpy\n"
            "DeepFeatures().fit(numpy.zeros((1, 8, 8)))",
            marks=pytest.mark.network,
        ),
    ],
)
def test_heavy_packages_are_not_imported(code):
    assert not modules_after(code) & {"tensorflow", "keras", "torch", "matplotlib", "xgboost"}


def test_import_featbus_imports_next_to_nothing():
    assert not modules_after("import featbus") & {"numpy", "sklearn", "cv2", "skimage", "pandas"}


def test_every_public_name_resolves():
    assert [getattr(featbus, name).__name__ for name in featbus.__all__] == featbus.__all__
    assert set(featbus.__all__) <= set(dir(featbus))


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="Hog"):
        _ = featbus.Hog
