"""GLCM of few and many levels, whole and masked."""

from featbus import GLCM

from .common import disc, speckle


class GLCMSuite:
    """Four images of 512 x 512 pixels, four angles."""

    params = (("uint8", "uint16"), (32, 256))
    param_names = ("dtype", "levels")

    def setup(self, dtype, levels):
        self.images = speckle(4, (512, 512), dtype)
        self.masked = [disc(image) for image in self.images]
        self.glcm = GLCM(levels=levels)

    def time_gray(self, dtype, levels):
        self.glcm.transform(self.images)

    def time_masked(self, dtype, levels):
        self.glcm.transform(self.masked)

    def peakmem_gray(self, dtype, levels):
        self.glcm.transform(self.images)
