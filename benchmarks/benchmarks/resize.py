"""Resize of scans to a network's input."""

from featbus import Resize

from .common import disc, speckle


class ResizeSuite:
    """Sixteen images of 768 x 1024 pixels to 224 x 224."""

    params = ("stretch", "letterbox")
    param_names = ("method",)

    def setup(self, method):
        self.images = speckle(16, (768, 1024))
        self.masked = [disc(image) for image in self.images]
        self.resize = Resize(224, method=method)

    def time_gray(self, method):
        self.resize.transform(self.images)

    def time_masked(self, method):
        self.resize.transform(self.masked)

    def peakmem_gray(self, method):
        self.resize.transform(self.images)
