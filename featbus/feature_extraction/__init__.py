"""Feature extraction: transformers from image to row of numbers."""

from featbus.feature_extraction._birads import BIRADSFeatures, birads_regions
from featbus.feature_extraction._deep import DeepFeatures, list_backbones, list_layers
from featbus.feature_extraction._density import BreastDensity
from featbus.feature_extraction._fine_tuned import FineTunedFeatures
from featbus.feature_extraction._fourier import FourierEnergy
from featbus.feature_extraction._fractal import FractalDimension
from featbus.feature_extraction._glcm import GLCM
from featbus.feature_extraction._gldzm import GLDZM
from featbus.feature_extraction._glrlm import GLRLM
from featbus.feature_extraction._glszm import GLSZM
from featbus.feature_extraction._hog import HOG
from featbus.feature_extraction._intensity import IntensityStatistics, intensity_summary
from featbus.feature_extraction._ivh import IntensityVolumeHistogram
from featbus.feature_extraction._lbp import LBP
from featbus.feature_extraction._ngldm import NGLDM
from featbus.feature_extraction._ngtdm import NGTDM
from featbus.feature_extraction._radiomics import Radiomics
from featbus.feature_extraction._shape import ShapeStatistics
from featbus.feature_extraction._visual_words import VisualWords
from featbus.feature_extraction._zernike import ZernikeMoments

__all__ = [
    "GLCM",
    "GLDZM",
    "GLRLM",
    "GLSZM",
    "HOG",
    "LBP",
    "NGLDM",
    "NGTDM",
    "BIRADSFeatures",
    "BreastDensity",
    "DeepFeatures",
    "FineTunedFeatures",
    "FourierEnergy",
    "FractalDimension",
    "IntensityStatistics",
    "IntensityVolumeHistogram",
    "Radiomics",
    "ShapeStatistics",
    "VisualWords",
    "ZernikeMoments",
    "birads_regions",
    "intensity_summary",
    "list_backbones",
    "list_layers",
]
