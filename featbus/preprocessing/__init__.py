"""Preprocessing: transformers from image to image."""

from featbus.preprocessing._loader import ImageLoader
from featbus.preprocessing._resize import Resize

__all__ = ["ImageLoader", "Resize"]
