"""Intensity statistics of 8-bit, 16-bit and masked images."""

import numpy as np

from featbus import IntensityStatistics

from .common import disc, speckle


class IntensityStatisticsSuite:
    """Sixteen images of 512 x 512 pixels."""

    def setup(self):
        self.bytes = speckle(16, (512, 512))
        self.words = speckle(16, (512, 512), np.uint16)
        self.masked = [disc(image) for image in self.bytes]
        self.statistics = IntensityStatistics()

    def time_uint8(self):
        self.statistics.transform(self.bytes)

    def time_uint16(self):
        self.statistics.transform(self.words)

    def time_masked(self):
        self.statistics.transform(self.masked)

    def peakmem_uint8(self):
        self.statistics.transform(self.bytes)
