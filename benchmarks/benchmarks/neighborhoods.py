"""NGTDM, NGLDM, GLDZM and the intensity-volume histogram of masked images."""

import featbus

from .common import disc, speckle


class NeighborhoodSuite:
    """Four images of 512 x 512 pixels."""

    params = ("NGTDM", "NGLDM", "GLDZM", "IntensityVolumeHistogram")
    param_names = ("extractor",)

    def setup(self, extractor):
        self.masked = [disc(image) for image in speckle(4, (512, 512))]
        self.extractor = getattr(featbus, extractor)()

    def time_masked(self, extractor):
        self.extractor.transform(self.masked)

    def peakmem_masked(self, extractor):
        self.extractor.transform(self.masked)
