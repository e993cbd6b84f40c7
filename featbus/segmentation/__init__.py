"""Regions of interest, and crops around them."""

from featbus.segmentation._base import Segmenter, find_regions
from featbus.segmentation._cropper import ROICropper, crop_to_true_masks
from featbus.segmentation._segmenter import UNetSegmenter
from featbus.segmentation._threshold import ThresholdSegmenter

__all__ = [
    "ROICropper",
    "Segmenter",
    "ThresholdSegmenter",
    "UNetSegmenter",
    "crop_to_true_masks",
    "find_regions",
]
