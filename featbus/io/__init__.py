"""Readers of image files."""

from featbus.io._files import ImageReadError
from featbus.io._items import SpacedImage, read_item, read_mask
from featbus.io._readers import find_format, read_image
from featbus.io._spacing import read_laterality, read_spacing

__all__ = [
    "ImageReadError",
    "SpacedImage",
    "find_format",
    "read_image",
    "read_item",
    "read_laterality",
    "read_mask",
    "read_spacing",
]
