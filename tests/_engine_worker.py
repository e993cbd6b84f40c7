"""What tests of engines need, and what they call in other processes."""

import os
import sys
from contextlib import suppress
from importlib.util import find_spec

import pytest

from featbus.networks import import_keras, load_engine
from featbus.networks._openvino import check_precision

needs_openvino = pytest.mark.skipif(not find_spec("openvino"), reason="no openvino")


def _has_bf16():
    with suppress(ImportError, ValueError):
        check_precision("bf16")
        return True
    return False


needs_bf16 = pytest.mark.skipif(not _has_bf16(), reason="no OpenVINO, or no bfloat16 here")


def tensorflow_threads():
    """Return how many threads TensorFlow takes for one operation."""
    import_keras()
    import tensorflow as tf

    tf.zeros(1)
    return tf.config.threading.get_intra_op_parallelism_threads()


def row_and_engine(deep, image):
    """Return the process, its engine and the row, and whether TensorFlow was imported."""
    rows = deep.transform([image])
    engine = load_engine(deep._network())
    return os.getpid(), id(engine), rows[0], "tensorflow" in sys.modules
