"""Recipes: published systems as named pipelines, unfitted, ready to be changed."""

from featbus.recipes._balancing import balancing_pipelines
from featbus.recipes._breast_ultrasound import breast_ultrasound_features
from featbus.recipes._catalog import list_recipes, make_recipe
from featbus.recipes._enhanced import enhanced_crop
from featbus.recipes._features import recipe_features
from featbus.recipes._fine_tuned import fine_tuned_ultrasound
from featbus.recipes._fused import fused_features
from featbus.recipes._fusion import classifier_pipelines, fusion
from featbus.recipes._intensity import mobilenet_intensity
from featbus.recipes._mammogram import mammogram_svm
from featbus.recipes._two_taps import two_tap_mobilenet
from featbus.recipes._unet_crop import small_cnn, unet_crop

__all__ = [
    "balancing_pipelines",
    "breast_ultrasound_features",
    "classifier_pipelines",
    "enhanced_crop",
    "fine_tuned_ultrasound",
    "fused_features",
    "fusion",
    "list_recipes",
    "make_recipe",
    "mammogram_svm",
    "mobilenet_intensity",
    "recipe_features",
    "small_cnn",
    "two_tap_mobilenet",
    "unet_crop",
]
