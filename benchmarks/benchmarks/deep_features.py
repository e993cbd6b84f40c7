"""Deep features of small networks with random weights: the time does not depend on the weights."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from featbus import DeepFeatures

from .common import speckle


class DeepFeaturesSuite:
    """Eight images of 224 x 224 pixels, the network loaded before."""

    params = ("mobilenet_v2", "vgg16")
    param_names = ("backbone",)
    timeout = 300

    def setup(self, backbone):
        self.images = speckle(8)
        self.deep = DeepFeatures(backbone, weights=None, batch_size=8)
        self.deep.transform(self.images)

    def time_transform(self, backbone):
        self.deep.transform(self.images)

    def peakmem_transform(self, backbone):
        self.deep.transform(self.images)
