"""Readers of image files."""

from featbus.io._files import ImageReadError
from featbus.io._files import split_frame as split_frame  # for other packages of featbus
from featbus.io._readers import SpacedImage, read_image, read_mask
from featbus.io._readers import find_format as find_format
from featbus.io._readers import is_image_file as is_image_file
from featbus.io._readers import read_item as read_item
from featbus.io._spacing import read_header as read_header
from featbus.io._spacing import read_laterality, read_spacing

__all__ = [
    "ImageReadError",
    "SpacedImage",
    "read_image",
    "read_laterality",
    "read_mask",
    "read_spacing",
]
