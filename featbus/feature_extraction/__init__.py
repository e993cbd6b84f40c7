"""Feature extraction: transformers from image to row of numbers."""

from featbus.feature_extraction._deep import DeepFeatures
from featbus.feature_extraction._glcm import (
    GLCM,
    cooccurrence_features,
    cooccurrence_matrix,
    grey_levels,
)
from featbus.feature_extraction._hog import HOG
from featbus.feature_extraction._intensity import IntensityStatistics, intensity_statistics
from featbus.feature_extraction._lbp import LBP, lbp_codes

__all__ = [
    "GLCM",
    "HOG",
    "LBP",
    "DeepFeatures",
    "IntensityStatistics",
    "cooccurrence_features",
    "cooccurrence_matrix",
    "grey_levels",
    "intensity_statistics",
    "lbp_codes",
]
