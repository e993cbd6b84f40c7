"""featbus: medical images to features for scikit-learn.

The public names are resolved on first use (PEP 562): importing featbus costs next to nothing, and
imports neither TensorFlow nor matplotlib nor xgboost.
"""

import logging
from importlib import import_module
from importlib.metadata import version as _version

__version__ = _version("featbus")

logging.getLogger("featbus").addHandler(logging.NullHandler())

_HOMES = {
    "bus": ["FeatureBus", "FeatureStore"],
    "datasets": [
        "load_busi",
        "load_image_folder",
        "load_masked",
        "load_mini_mias",
        "make_breast_ultrasound",
        "make_mammograms",
    ],
    "evaluation": [
        "compare_protocols",
        "evaluate",
        "explain",
        "plot_importance",
        "plot_segmentation",
    ],
    "feature_extraction": [
        "GLCM",
        "GLRLM",
        "GLSZM",
        "HOG",
        "LBP",
        "DeepFeatures",
        "FineTunedFeatures",
        "IntensityStatistics",
        "ShapeStatistics",
        "intensity_summary",
        "list_backbones",
        "list_layers",
    ],
    "model_selection": ["audit", "find_near_duplicates"],
    "persistence": ["load", "save"],
    "preprocessing": [
        "CLAHE",
        "AdaptiveThreshold",
        "BreastRegion",
        "ContrastStretch",
        "Denoise",
        "Despeckle",
        "GammaCorrection",
        "HistogramEqualizer",
        "ImageFunction",
        "ImageLoader",
        "Normalize",
        "PectoralMuscleRemover",
        "RemoveAnnotations",
        "Resample",
        "Resize",
    ],
    "segmentation": ["ROICropper", "ThresholdSegmenter", "UNetSegmenter"],
    "sampling": ["ImageAugmenter", "TestTimeAugmentation"],
    "versions": ["show_versions"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name):
    if name in _HOME_OF:
        return getattr(import_module(f"featbus.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'featbus' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
