"""Networks: the table of backbones, their weights, and the engines that run them.

Importing this package imports neither Keras nor TensorFlow; building the first engine does.
"""

from featbus.networks._backbones import (
    BACKBONES,
    PREPROCESSING,
    STAGES,
    Backbone,
    get_backbone,
    preprocess,
)
from featbus.networks._bundles import fetch_weights, list_weights, resolve_weights
from featbus.networks._converted import ENGINES, ConvertedEngine, check_engine, engine_version
from featbus.networks._engines import (
    KerasEngine,
    Network,
    auto_batch_size,
    build_base,
    build_model,
    load_engine,
)
from featbus.networks._models import is_own_model, model_digest, model_input_size, model_name
from featbus.networks._pooling import is_pooling, pool, region_weights, windows
from featbus.networks._threads import thread_limit
from featbus.networks._weights import check_weights, file_digest

__all__ = [
    "BACKBONES",
    "ENGINES",
    "PREPROCESSING",
    "STAGES",
    "Backbone",
    "ConvertedEngine",
    "KerasEngine",
    "Network",
    "auto_batch_size",
    "build_base",
    "build_model",
    "check_engine",
    "check_weights",
    "engine_version",
    "fetch_weights",
    "file_digest",
    "get_backbone",
    "is_own_model",
    "is_pooling",
    "list_weights",
    "load_engine",
    "model_digest",
    "model_input_size",
    "model_name",
    "pool",
    "preprocess",
    "region_weights",
    "resolve_weights",
    "thread_limit",
    "windows",
]
