"""FeatureBus with an empty store, and with one that contains all images."""

import tempfile
from pathlib import Path

from featbus import LBP, FeatureBus

from .common import speckle


class FeatureBusSuite:
    """Sixty-four images of 224 x 224 pixels."""

    # The store of `time_empty_store` is empty once.
    number, repeat, warmup_time = 1, 5, 0

    def setup(self):
        self.images = speckle(64)
        self.folder = tempfile.TemporaryDirectory()
        self.empty = FeatureBus(LBP(), memory=Path(self.folder.name, "empty.sqlite"))
        self.known = FeatureBus(LBP(), memory=Path(self.folder.name, "known.sqlite"))
        self.empty.fit(self.images)
        self.known.fit_transform(self.images)

    def teardown(self):
        self.folder.cleanup()

    def time_empty_store(self):
        self.empty.transform(self.images)

    def time_known_images(self):
        self.known.transform(self.images)

    def peakmem_empty_store(self):
        self.empty.transform(self.images)
