"""Readers of image files."""

from ._readers import ImageReadError, read_image

__all__ = ["ImageReadError", "read_image"]
