"""Evaluation: grouped, stratified cross-validation of pipelines, and their comparison."""

from featbus.evaluation._evaluate import evaluate
from featbus.evaluation._evaluation import Evaluation
from featbus.evaluation._importance import importance_map as importance_map
from featbus.evaluation._importance import occlusion_map, plot_importance
from featbus.evaluation._intervals import FewGroupsWarning
from featbus.evaluation._operating_point import at_sensitivity
from featbus.evaluation._protocols import ProtocolComparison, compare_protocols
from featbus.evaluation._segmentation import explain, plot_segmentation, segmentation_scores
from featbus.evaluation._segmentation import find_outline as find_outline

__all__ = [
    "Evaluation",
    "FewGroupsWarning",
    "ProtocolComparison",
    "at_sensitivity",
    "compare_protocols",
    "evaluate",
    "explain",
    "occlusion_map",
    "plot_importance",
    "plot_segmentation",
    "segmentation_scores",
]
