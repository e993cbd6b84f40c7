"""Networks: where they come from, how they are built and pooled, and the engines that run them.

Importing this package imports neither Keras nor TensorFlow; building the first engine does.
"""

from featbus.networks._applications import KerasApplication
from featbus.networks._building import KerasSource, Network, build_apart, build_maps, import_keras
from featbus.networks._bundles import (
    fetch_weights,
    find_entry,
    find_source,
    list_weights,
    verify,
)
from featbus.networks._engines import (
    KerasEngine,
    check_engine,
    load_engine,
)
from featbus.networks._models import KerasModel
from featbus.networks._onnx import OnnxModel
from featbus.networks._openvino import cache_dir, find_release
from featbus.networks._pooling import is_pooling, pool, region_weights, windows
from featbus.networks._sources import (
    BACKBONES,
    NAMED,
    STAGES,
    as_preprocessing,
    check_unchanged,
    file_digest,
)

__all__ = [
    "BACKBONES",
    "NAMED",
    "STAGES",
    "KerasApplication",
    "KerasEngine",
    "KerasModel",
    "KerasSource",
    "Network",
    "OnnxModel",
    "as_preprocessing",
    "build_apart",
    "build_maps",
    "cache_dir",
    "check_engine",
    "check_unchanged",
    "fetch_weights",
    "file_digest",
    "find_entry",
    "find_release",
    "find_source",
    "import_keras",
    "is_pooling",
    "list_weights",
    "load_engine",
    "pool",
    "region_weights",
    "verify",
    "windows",
]
