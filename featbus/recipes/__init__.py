"""Recipes: published systems as named pipelines, unfitted, ready to be changed."""

from featbus.recipes._recipes import (
    balancing_pipelines,
    breast_ultrasound_features,
    classifier_pipelines,
    enhanced_crop,
    fine_tuned_ultrasound,
    fused_features,
    fusion,
    handcrafted,
    list_recipes,
    make_recipe,
    mammogram_svm,
    mobilenet_intensity,
    recipe_features,
    small_cnn,
    two_tap_mobilenet,
    unet_crop,
)

__all__ = [
    "balancing_pipelines",
    "breast_ultrasound_features",
    "classifier_pipelines",
    "enhanced_crop",
    "fine_tuned_ultrasound",
    "fused_features",
    "fusion",
    "handcrafted",
    "list_recipes",
    "make_recipe",
    "mammogram_svm",
    "mobilenet_intensity",
    "recipe_features",
    "small_cnn",
    "two_tap_mobilenet",
    "unet_crop",
]
