"""Intensity statistics of 8-bit, 16-bit, floating-point and masked images."""

import numpy as np

from featbus import IntensityStatistics

from .common import disc, speckle


class IntensityStatisticsSuite:
    """Sixteen images of one size."""

    params = (256, 512, 1024)
    param_names = ("side",)

    def setup(self, side):
        self.bytes = speckle(16, (side, side))
        self.words = speckle(16, (side, side), np.uint16)
        self.floats = (self.words[:4] / 65535).astype(np.float32)
        self.masked = [disc(image) for image in self.bytes]
        self.statistics = IntensityStatistics()

    def time_uint8(self, side):
        self.statistics.transform(self.bytes)

    def time_uint16(self, side):
        self.statistics.transform(self.words)

    def time_float(self, side):
        """Four images only: they have no histogram of levels."""
        self.statistics.transform(self.floats)

    def time_masked(self, side):
        self.statistics.transform(self.masked)

    def peakmem_uint8(self, side):
        self.statistics.transform(self.bytes)

    def peakmem_uint16(self, side):
        self.statistics.transform(self.words)
