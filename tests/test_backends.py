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
    parameters = {"backbone": "mobilenet_v2", "layers": ["C3", "top"], "pooling": ["avg", "max"]}
    parameters |= {"backbone_options": {"alpha": 0.35}, "input_size": 96, "weights": str(weights)}
    images = make_breast_ultrasound(3, image_shape=(100, 120), random_state=0).images
    paths = [str(tmp_path / "images.npy"), str(tmp_path / "rows.npy")]
    np.save(paths[0], images)
    output = subprocess.check_output(
        [sys.executable, "-c", ROWS_OF_A_BACKEND, *paths, json.dumps(parameters)],
        env=os.environ | {"KERAS_BACKEND": backend},
        text=True,
    )
    assert output.split() == [backend, "False"]
    expected = DeepFeatures(**parameters).transform(images)
    assert expected.std() > 0.1
    np.testing.assert_allclose(np.load(paths[1]), expected, rtol=1e-4, atol=1e-4)
