"""Augmentation: more images in the training part of a fold, several views of a test image."""

from featbus.sampling._augment import ImageAugmenter
from featbus.sampling._test_time import TestTimeAugmentation

__all__ = ["ImageAugmenter", "TestTimeAugmentation"]
