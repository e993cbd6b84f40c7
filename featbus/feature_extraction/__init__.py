"""Feature extraction: transformers from image to row of numbers."""

from featbus.feature_extraction._deep import DeepFeatures
from featbus.feature_extraction._fine_tuned import FineTunedFeatures
from featbus.feature_extraction._glcm import GLCM, cooccurrence_features, cooccurrence_matrix
from featbus.feature_extraction._glrlm import GLRLM, run_length_features, run_length_matrix
from featbus.feature_extraction._glszm import GLSZM, size_zone_features, size_zone_matrix
from featbus.feature_extraction._hog import HOG
from featbus.feature_extraction._intensity import (
    IntensityStatistics,
    histogram_statistics,
    intensity_statistics,
)
from featbus.feature_extraction._intensity_summary import IntensitySummary, intensity_summary
from featbus.feature_extraction._lbp import LBP, lbp_codes
from featbus.feature_extraction._list_networks import list_backbones, list_layers
from featbus.feature_extraction._shape import ShapeStatistics
from featbus.feature_extraction._texture import grey_levels

__all__ = [
    "GLCM",
    "GLRLM",
    "GLSZM",
    "HOG",
    "LBP",
    "DeepFeatures",
    "FineTunedFeatures",
    "IntensityStatistics",
    "IntensitySummary",
    "ShapeStatistics",
    "cooccurrence_features",
    "cooccurrence_matrix",
    "grey_levels",
    "histogram_statistics",
    "intensity_statistics",
    "intensity_summary",
    "lbp_codes",
    "list_backbones",
    "list_layers",
    "run_length_features",
    "run_length_matrix",
    "size_zone_features",
    "size_zone_matrix",
]
