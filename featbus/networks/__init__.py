"""Networks: where they come from, how they are built and pooled, and the engines that run them.

Importing this package imports neither Keras nor TensorFlow; building the first engine does.
"""

# With an alias: for other packages of featbus.
from featbus.networks._applications import KerasApplication as KerasApplication
from featbus.networks._building import KerasSource as KerasSource
from featbus.networks._building import Network as Network
from featbus.networks._building import build_apart as build_apart
from featbus.networks._building import build_maps as build_maps
from featbus.networks._building import import_keras as import_keras
from featbus.networks._bundles import check_file as check_file
from featbus.networks._bundles import fetch_weights, list_weights
from featbus.networks._bundles import find_entry as find_entry
from featbus.networks._bundles import find_source as find_source
from featbus.networks._engines import KerasEngine as KerasEngine
from featbus.networks._engines import check_engine as check_engine
from featbus.networks._engines import load_engine as load_engine
from featbus.networks._models import KerasModel as KerasModel
from featbus.networks._onnx import OnnxModel as OnnxModel
from featbus.networks._openvino import cache_dir as cache_dir
from featbus.networks._openvino import find_release as find_release
from featbus.networks._pooling import is_pooling as is_pooling
from featbus.networks._pooling import pool as pool
from featbus.networks._pooling import region_weights as region_weights
from featbus.networks._pooling import windows as windows
from featbus.networks._sources import BACKBONES, NAMED, as_preprocessing
from featbus.networks._sources import STAGES as STAGES
from featbus.networks._sources import check_unchanged as check_unchanged
from featbus.networks._sources import file_digest as file_digest

__all__ = ["BACKBONES", "NAMED", "as_preprocessing", "fetch_weights", "list_weights"]
