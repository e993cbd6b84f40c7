"""LBP of 8 points and of more, of 8 and 16 bits."""

from featbus import LBP

from .common import disc, speckle


class LBPSuite:
    """Sixteen images of 224 x 224 pixels."""

    params = (8, 16, 24)
    param_names = ("n_points",)

    def setup(self, n_points):
        self.images = speckle(16)
        self.deep = self.images.astype("uint16") * 257
        self.masked = [disc(image) for image in self.images]
        self.lbp = LBP(n_points=n_points, radius=n_points // 8)

    def time_gray(self, n_points):
        self.lbp.transform(self.images)

    def time_gray_16_bits(self, n_points):
        self.lbp.transform(self.deep)

    def time_masked(self, n_points):
        self.lbp.transform(self.masked)

    def peakmem_gray(self, n_points):
        self.lbp.transform(self.images)
