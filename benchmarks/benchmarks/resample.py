"""Scans brought to one spacing."""

from featbus import Resample
from featbus.io import SpacedImage

from .common import disc, speckle


class ResampleSuite:
    """Sixteen images of 768 x 1024 pixels, to coarser and to finer ones."""

    params = (0.05, 0.2)
    param_names = ("old",)

    def setup(self, old):
        images = speckle(16, (768, 1024))
        self.images = [SpacedImage(image, old) for image in images]
        self.masked = [SpacedImage(disc(image), old) for image in images]
        self.resample = Resample(0.1)

    def time_gray(self, old):
        self.resample.transform(self.images)

    def time_masked(self, old):
        self.resample.transform(self.masked)

    def peakmem_gray(self, old):
        self.resample.transform(self.images)
