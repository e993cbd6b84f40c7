"""Data sets: loaders of public releases as they are on disk, and synthetic images."""

from featbus.datasets._base import count_images as count_images
from featbus.datasets._base import describe_dataset as describe_dataset
from featbus.datasets._busi import load_busi
from featbus.datasets._dataset import detect_layout, load_dataset, load_masked
from featbus.datasets._folder import load_image_folder, load_images
from featbus.datasets._mini_mias import load_mini_mias
from featbus.datasets._synthetic import make_breast_ultrasound, make_mammograms
from featbus.groups import GroupsWarning

__all__ = [
    "GroupsWarning",
    "detect_layout",
    "load_busi",
    "load_dataset",
    "load_image_folder",
    "load_images",
    "load_masked",
    "load_mini_mias",
    "make_breast_ultrasound",
    "make_mammograms",
]
