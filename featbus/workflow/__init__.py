"""From a folder of images to a table of features, a model file and predictions."""

from featbus.workflow._audit import audit_folder
from featbus.workflow._examine import Examination, examine_image
from featbus.workflow._extract import extract_features
from featbus.workflow._honesty import measure_leaks
from featbus.workflow._predict import predict_images
from featbus.workflow._reference import describe_training_images
from featbus.workflow._train import Training, evaluate_recipe, train_model

__all__ = [
    "Examination",
    "Training",
    "audit_folder",
    "describe_training_images",
    "evaluate_recipe",
    "examine_image",
    "extract_features",
    "measure_leaks",
    "predict_images",
    "train_model",
]
