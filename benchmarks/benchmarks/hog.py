"""HOG of images of common sizes, gray, color and masked."""

from featbus import HOG

from .common import disc, speckle


class HOGSuite:
    """Sixteen images of one size, default parameters."""

    params = (128, 224, 512)
    param_names = ("side",)

    def setup(self, side):
        self.images = speckle(16, (side, side))
        self.colored = speckle(16, (side, side, 3))
        self.masked = [disc(image) for image in self.images]
        self.hog = HOG().fit(self.images)

    def time_gray(self, side):
        self.hog.transform(self.images)

    def time_color(self, side):
        self.hog.transform(self.colored)

    def time_masked(self, side):
        self.hog.transform(self.masked)

    def peakmem_gray(self, side):
        self.hog.transform(self.images)
