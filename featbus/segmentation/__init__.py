"""Regions of interest, and crops around them."""

from featbus.segmentation._base import Segmenter as Segmenter
from featbus.segmentation._base import find_regions as find_regions
from featbus.segmentation._cropper import ROICropper
from featbus.segmentation._threshold import ThresholdSegmenter
from featbus.segmentation._unet import UNetSegmenter

__all__ = ["ROICropper", "ThresholdSegmenter", "UNetSegmenter"]
