"""What networks need, and featbus itself does not."""

from contextlib import contextmanager

NO_KERAS = "Networks need Keras and TensorFlow: pip install keras tensorflow"


@contextmanager
def needing_keras():
    """Tell what to install if Keras, or what comes with it, cannot be imported."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{NO_KERAS} ({error})") from error
