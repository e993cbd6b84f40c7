"""The public names, which `__init__.py` resolves on first use."""

from featbus.bus import FeatureBus as FeatureBus
from featbus.bus import FeatureStore as FeatureStore
from featbus.datasets import load_busi as load_busi
from featbus.datasets import load_image_folder as load_image_folder
from featbus.datasets import load_masked as load_masked
from featbus.datasets import load_mini_mias as load_mini_mias
from featbus.datasets import make_breast_ultrasound as make_breast_ultrasound
from featbus.datasets import make_mammograms as make_mammograms
from featbus.evaluation import compare_protocols as compare_protocols
from featbus.evaluation import evaluate as evaluate
from featbus.evaluation import explain as explain
from featbus.evaluation import plot_importance as plot_importance
from featbus.evaluation import plot_segmentation as plot_segmentation
from featbus.feature_extraction import GLCM as GLCM
from featbus.feature_extraction import GLRLM as GLRLM
from featbus.feature_extraction import GLSZM as GLSZM
from featbus.feature_extraction import HOG as HOG
from featbus.feature_extraction import LBP as LBP
from featbus.feature_extraction import DeepFeatures as DeepFeatures
from featbus.feature_extraction import FineTunedFeatures as FineTunedFeatures
from featbus.feature_extraction import IntensityStatistics as IntensityStatistics
from featbus.feature_extraction import ShapeStatistics as ShapeStatistics
from featbus.feature_extraction import intensity_summary as intensity_summary
from featbus.feature_extraction import list_backbones as list_backbones
from featbus.feature_extraction import list_layers as list_layers
from featbus.model_selection import audit as audit
from featbus.model_selection import find_near_duplicates as find_near_duplicates
from featbus.persistence import load as load
from featbus.persistence import save as save
from featbus.preprocessing import CLAHE as CLAHE
from featbus.preprocessing import AdaptiveThreshold as AdaptiveThreshold
from featbus.preprocessing import BreastRegion as BreastRegion
from featbus.preprocessing import ContrastStretch as ContrastStretch
from featbus.preprocessing import Denoise as Denoise
from featbus.preprocessing import Despeckle as Despeckle
from featbus.preprocessing import GammaCorrection as GammaCorrection
from featbus.preprocessing import HistogramEqualizer as HistogramEqualizer
from featbus.preprocessing import ImageFunction as ImageFunction
from featbus.preprocessing import ImageLoader as ImageLoader
from featbus.preprocessing import Normalize as Normalize
from featbus.preprocessing import PectoralMuscleRemover as PectoralMuscleRemover
from featbus.preprocessing import RemoveAnnotations as RemoveAnnotations
from featbus.preprocessing import Resample as Resample
from featbus.preprocessing import Resize as Resize
from featbus.sampling import ImageAugmenter as ImageAugmenter
from featbus.sampling import TestTimeAugmentation as TestTimeAugmentation
from featbus.segmentation import ROICropper as ROICropper
from featbus.segmentation import ThresholdSegmenter as ThresholdSegmenter
from featbus.segmentation import UNetSegmenter as UNetSegmenter
from featbus.versions import show_versions as show_versions

__version__: str
__all__: list[str]
