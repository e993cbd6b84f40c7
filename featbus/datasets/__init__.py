"""Data sets: loaders of public releases as they are on disk, and synthetic images."""

from featbus.datasets._busi import load_busi, read_busi_mask, read_masked_images
from featbus.datasets._folder import load_image_folder
from featbus.datasets._mini_mias import load_mini_mias
from featbus.datasets._synthetic import make_breast_ultrasound, make_mammograms

__all__ = [
    "load_busi",
    "load_image_folder",
    "load_mini_mias",
    "make_breast_ultrasound",
    "make_mammograms",
    "read_busi_mask",
    "read_masked_images",
]
