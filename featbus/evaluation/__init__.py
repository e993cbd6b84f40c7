"""Evaluation: grouped, stratified cross-validation of pipelines."""

from featbus.evaluation._evaluate import Evaluation, evaluate
from featbus.evaluation._metrics import confusion_metrics

__all__ = ["Evaluation", "confusion_metrics", "evaluate"]
