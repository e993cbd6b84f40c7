"""Readers of image files."""

from featbus.io._errors import ImageReadError
from featbus.io._items import read_item
from featbus.io._laterality import read_laterality
from featbus.io._masks import read_mask
from featbus.io._readers import find_format, read_image
from featbus.io._spaced import SpacedImage
from featbus.io._spacing import read_spacing

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
