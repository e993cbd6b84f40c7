"""Networks: the table of backbones, their weights, and the engine that runs them.

Importing this package imports neither Keras nor TensorFlow; building the first engine does.
"""

from featbus.networks._backbones import BACKBONES, STAGES, Backbone, get_backbone, preprocess
from featbus.networks._engines import KerasEngine, Network, build_base, load_engine
from featbus.networks._weights import check_weights, file_digest

__all__ = [
    "BACKBONES",
    "STAGES",
    "Backbone",
    "KerasEngine",
    "Network",
    "build_base",
    "check_weights",
    "file_digest",
    "get_backbone",
    "load_engine",
    "preprocess",
]
