"""Training of a U-Net, prediction by engine, and the segmenters that need no training."""

import os
from functools import cache

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from featbus import ThresholdSegmenter, UNetSegmenter, make_breast_ultrasound


def unet(**options):
    """Return a small U-Net, to be trained from scratch."""
    options = {"encoder_options": {"alpha": 0.35}, "encoder_weights": None} | options
    return UNetSegmenter("mobilenet_v2", input_size=128, validation_share=0, **options)


@cache
def trained():
    """Return images and a segmenter that was trained on them for a moment, once in a process."""
    data = make_breast_ultrasound(16, weights=[1, 1, 0], random_state=0)
    # Without statistics of a batch, activations decay to denormals.
    return data.images, unet(epochs=2).fit(data.images, data.masks)


class TrainingSuite:
    """An epoch of eight images of 192 x 256 pixels, most of it compilation."""

    timeout = 300

    def setup(self):
        self.data = make_breast_ultrasound(8, weights=[1, 1, 0], random_state=0)

    def time_fit(self):
        unet(epochs=1).fit(self.data.images, self.data.masks)

    def peakmem_fit(self):
        unet(epochs=1).fit(self.data.images, self.data.masks)


class PredictionSuite:
    """Sixteen images of 192 x 256 pixels, the network loaded before."""

    params = ("keras", "openvino")
    param_names = ("engine",)
    timeout = 300

    def setup(self, engine):
        self.images, segmenter = trained()
        self.segmenter = segmenter.set_params(engine=engine)
        self.segmenter.predict(self.images)

    def time_predict(self, engine):
        self.segmenter.predict(self.images)

    def peakmem_predict(self, engine):
        self.segmenter.predict(self.images)


class ThresholdSuite:
    """Four images of 512 x 512 pixels."""

    params = ("radial", "otsu", "multiotsu", "adaptive", "watershed", "chan_vese")
    param_names = ("method",)

    def setup(self, method):
        data = make_breast_ultrasound(4, image_shape=(512, 512), random_state=0)
        self.images = np.asarray(data.images)
        self.segmenter = ThresholdSegmenter(method)

    def time_predict(self, method):
        self.segmenter.predict(self.images)
