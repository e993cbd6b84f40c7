"""GLSZM of few and many levels, whole and masked."""

from featbus import GLSZM

from .common import disc, speckle


class GLSZMSuite:
    """Four images of 512 x 512 pixels."""

    params = (8, 32, 256)
    param_names = ("levels",)

    def setup(self, levels):
        self.images = speckle(4, (512, 512))
        self.masked = [disc(image) for image in self.images]
        self.glszm = GLSZM(levels=levels)

    def time_gray(self, levels):
        self.glszm.transform(self.images)

    def time_masked(self, levels):
        self.glszm.transform(self.masked)

    def peakmem_gray(self, levels):
        self.glszm.transform(self.images)
