"""What tests of engines call in other processes."""

import os
import sys

from featbus.networks import load_engine
from featbus.networks._building import import_keras


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
