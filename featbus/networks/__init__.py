"""Networks: where they come from, how they are built and pooled, and the engines that run them.

Importing this package imports neither Keras nor TensorFlow; building the first engine does.
"""

from featbus.networks._applications import KerasApplication, check_weights, resolve_weights
from featbus.networks._building import (
    STAGES,
    Network,
    build_models,
    import_keras,
    pool,
)
from featbus.networks._bundles import fetch_weights, list_weights
from featbus.networks._engines import (
    ENGINES,
    ONNX_ENGINES,
    KerasEngine,
    auto_batch_size,
    check_engine,
    check_trainable,
    find_engine,
    find_source,
    load_engine,
)
from featbus.networks._index import find_entry, verify
from featbus.networks._models import KerasModel, read_model_config
from featbus.networks._onnx import OnnxModel
from featbus.networks._onnx_file import copy_onnx, onnx_digest, read_onnx
from featbus.networks._openvino import OpenVINOEngine, cache_dir
from featbus.networks._pooling import is_pooling, pool_array, region_weights, windows
from featbus.networks._preprocessing import NAMED, Preprocessing, as_preprocessing
from featbus.networks._small_cnn import SmallCNN
from featbus.networks._sources import (
    BACKBONES,
    Backbone,
    KerasSource,
    Source,
    file_digest,
    get_backbone,
)

__all__ = [
    "BACKBONES",
    "ENGINES",
    "NAMED",
    "ONNX_ENGINES",
    "STAGES",
    "Backbone",
    "KerasApplication",
    "KerasEngine",
    "KerasModel",
    "KerasSource",
    "Network",
    "OnnxModel",
    "OpenVINOEngine",
    "Preprocessing",
    "SmallCNN",
    "Source",
    "as_preprocessing",
    "auto_batch_size",
    "build_models",
    "cache_dir",
    "check_engine",
    "check_trainable",
    "check_weights",
    "copy_onnx",
    "fetch_weights",
    "file_digest",
    "find_engine",
    "find_entry",
    "find_source",
    "get_backbone",
    "import_keras",
    "is_pooling",
    "list_weights",
    "load_engine",
    "onnx_digest",
    "pool",
    "pool_array",
    "read_model_config",
    "read_onnx",
    "region_weights",
    "resolve_weights",
    "verify",
    "windows",
]
