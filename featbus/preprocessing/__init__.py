"""Preprocessing: transformers from image to image."""

from featbus.preprocessing._annotations import RemoveAnnotations
from featbus.preprocessing._breast_region import BreastRegion
from featbus.preprocessing._denoise import Denoise, Despeckle
from featbus.preprocessing._enhancement import (
    CLAHE,
    AdaptiveThreshold,
    ContrastStretch,
    GammaCorrection,
    HistogramEqualizer,
    Normalize,
)
from featbus.preprocessing._loader import ImageLoader
from featbus.preprocessing._pectoral_muscle import PectoralMuscleRemover
from featbus.preprocessing._pixels import ImageFunction
from featbus.preprocessing._resize import Resample, Resize
from featbus.preprocessing.filters import (
    GaborFilter,
    LaplacianOfGaussian,
    LawsFilter,
    MeanFilter,
    SimoncelliFilter,
    WaveletFilter,
)

__all__ = [
    "CLAHE",
    "AdaptiveThreshold",
    "BreastRegion",
    "ContrastStretch",
    "Denoise",
    "Despeckle",
    "GaborFilter",
    "GammaCorrection",
    "HistogramEqualizer",
    "ImageFunction",
    "ImageLoader",
    "LaplacianOfGaussian",
    "LawsFilter",
    "MeanFilter",
    "Normalize",
    "PectoralMuscleRemover",
    "RemoveAnnotations",
    "Resample",
    "Resize",
    "SimoncelliFilter",
    "WaveletFilter",
]
