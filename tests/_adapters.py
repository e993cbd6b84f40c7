"""Hold estimators of images to scikit-learn's own checks, which speak in rows of numbers."""

import numpy as np
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import validate_data

from featbus.base import ImageTransformer


def find_failed_checks(estimator):
    """Return what scikit-learn's checks of an estimator raised; a skipped one is a failed one."""
    failed = {}
    for candidate, check in estimator_checks_generator(estimator):
        name = check.func.__name__
        try:
            check(candidate)
        except BaseException as error:
            # This check needs SCIPY_ARRAY_API, a setting of the whole process.
            if type(error).__name__ != "SkipTest" or name != "check_array_api_input":
                failed[name] = f"{type(error).__name__}: {error}"
    return failed


def from_rows(cls, shape=(16, 16)):
    """Return a subclass of `cls` that reads each 2-D row as one tiled image of `shape`.

    Without it scikit-learn skips nearly all of its checks: images are no 2-D array. The row's
    values, which can be anything, are squashed into the range of a floating-point image.
    """

    class FromRows(cls):
        def _check_batch(self, X, *, reset):
            rows = validate_data(self, X, reset=reset, dtype=np.float64)
            images = 0.5 + np.arctan(rows) / np.pi
            return super()._check_batch(
                np.stack([np.resize(row, shape) for row in images]), reset=reset
            )

        def __sklearn_tags__(self):
            tags = super().__sklearn_tags__()
            tags.input_tags.two_d_array = True
            tags.input_tags.string = False
            return tags

        if issubclass(cls, ImageTransformer):

            def transform(self, X):
                images = super().transform(X)
                return np.ma.getdata(images).reshape(len(images), -1)

            def get_feature_names_out(self, input_features=None):
                n_pixels = self.transform(np.zeros((1, self.n_features_in_))).shape[1]
                return np.array([f"pixel{index}" for index in range(n_pixels)], dtype=object)

    FromRows.__name__ = FromRows.__qualname__ = f"{cls.__name__}FromRows"
    FromRows.__module__ = __name__
    globals()[FromRows.__name__] = FromRows  # so that it pickles
    return FromRows
