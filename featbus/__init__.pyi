"""The public names, which `__init__.py` resolves on first use."""

from .bus import FeatureBus as FeatureBus
from .bus import FeatureStore as FeatureStore
from .datasets import load_busi as load_busi
from .datasets import load_image_folder as load_image_folder
from .datasets import load_masked as load_masked
from .datasets import load_mini_mias as load_mini_mias
from .datasets import make_breast_ultrasound as make_breast_ultrasound
from .datasets import make_mammograms as make_mammograms
from .evaluation import compare_protocols as compare_protocols
from .evaluation import evaluate as evaluate
from .evaluation import explain as explain
from .evaluation import plot_importance as plot_importance
from .evaluation import plot_segmentation as plot_segmentation
from .feature_extraction import GLCM as GLCM
from .feature_extraction import GLDZM as GLDZM
from .feature_extraction import GLRLM as GLRLM
from .feature_extraction import GLSZM as GLSZM
from .feature_extraction import HOG as HOG
from .feature_extraction import LBP as LBP
from .feature_extraction import NGLDM as NGLDM
from .feature_extraction import NGTDM as NGTDM
from .feature_extraction import DeepFeatures as DeepFeatures
from .feature_extraction import FineTunedFeatures as FineTunedFeatures
from .feature_extraction import IntensityStatistics as IntensityStatistics
from .feature_extraction import ShapeStatistics as ShapeStatistics
from .feature_extraction import intensity_summary as intensity_summary
from .feature_extraction import list_backbones as list_backbones
from .feature_extraction import list_layers as list_layers
from .model_selection import audit as audit
from .model_selection import find_near_duplicates as find_near_duplicates
from .persistence import load as load
from .persistence import save as save
from .preprocessing import CLAHE as CLAHE
from .preprocessing import AdaptiveThreshold as AdaptiveThreshold
from .preprocessing import BreastRegion as BreastRegion
from .preprocessing import ContrastStretch as ContrastStretch
from .preprocessing import Denoise as Denoise
from .preprocessing import Despeckle as Despeckle
from .preprocessing import GammaCorrection as GammaCorrection
from .preprocessing import HistogramEqualizer as HistogramEqualizer
from .preprocessing import ImageFunction as ImageFunction
from .preprocessing import ImageLoader as ImageLoader
from .preprocessing import Normalize as Normalize
from .preprocessing import PectoralMuscleRemover as PectoralMuscleRemover
from .preprocessing import RemoveAnnotations as RemoveAnnotations
from .preprocessing import Resample as Resample
from .preprocessing import Resize as Resize
from .sampling import ImageAugmenter as ImageAugmenter
from .sampling import TestTimeAugmentation as TestTimeAugmentation
from .segmentation import ROICropper as ROICropper
from .segmentation import ThresholdSegmenter as ThresholdSegmenter
from .segmentation import UNetSegmenter as UNetSegmenter
from .versions import show_versions as show_versions

__version__: str
__all__: list[str]
