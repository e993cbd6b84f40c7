"""Sampling: more images in the training part of a fold, and several looks at those of the test."""

from featbus.sampling._augment import ImageAugmenter
from featbus.sampling._test_time import TestTimeAugmentation

__all__ = ["ImageAugmenter", "TestTimeAugmentation"]
