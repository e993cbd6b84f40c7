"""The same rows from every backend of Keras that is installed."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from _data import data_dir

from featbus import DeepFeatures, make_breast_ultrasound

PARAMETERS = {
    "backbone": "mobilenet_v2",
    "layers": ["C3", "top"],
    "pooling": ["avg", "max"],
    "input_size": 96,
    "backbone_options": {"alpha": 0.35},
}
IMAGES = make_breast_ultrasound(3, image_shape=(100, 120), random_state=0).images
ROWS_OF_A_BACKEND = """
import json, sys

import numpy as np

from featbus import DeepFeatures

images, rows, parameters = sys.argv[1:]
np.save(rows, DeepFeatures(**json.loads(parameters)).transform(np.load(images)))
import keras

print(keras.backend.backend(), "tensorflow" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_rows_equal_those_of_tensorflow(backend, tmp_path):
    if find_spec(backend) is None:
        pytest.skip(f"needs `pip install {backend}`")
    weights = data_dir("weights") / "mobilenet_v2_0.35_224_no_top.weights.h5"
    parameters = PARAMETERS | {"weights": str(weights)}
    np.save(tmp_path / "images.npy", IMAGES)
    paths = [str(tmp_path / "images.npy"), str(tmp_path / "rows.npy")]
    output = subprocess.check_output(
        [sys.executable, "-c", ROWS_OF_A_BACKEND, *paths, json.dumps(parameters)],
        env=os.environ | {"KERAS_BACKEND": backend},
        text=True,
    )
    assert output.split() == [backend, "False"]
    expected = DeepFeatures(**parameters).transform(IMAGES)
    assert expected.std() > 0.1
    np.testing.assert_allclose(np.load(tmp_path / "rows.npy"), expected, rtol=1e-4, atol=1e-4)
