"""GLRLM of few and many levels, whole and masked."""

from featbus import GLRLM

from .common import disc, speckle


class GLRLMSuite:
    """Four images of 512 x 512 pixels, four angles."""

    params = (8, 32, 256)
    param_names = ("levels",)

    def setup(self, levels):
        self.images = speckle(4, (512, 512))
        self.masked = [disc(image) for image in self.images]
        self.glrlm = GLRLM(levels=levels)

    def time_gray(self, levels):
        self.glrlm.transform(self.images)

    def time_masked(self, levels):
        self.glrlm.transform(self.masked)

    def peakmem_gray(self, levels):
        self.glrlm.transform(self.images)
