"""The networks, and the layers of one, as DataFrames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from featbus.feature_extraction._deep import DeepFeatures
from featbus.networks import (
    BACKBONES,
    STAGES,
    KerasApplication,
    KerasModel,
    OnnxModel,
)
from featbus.parameters import check_estimator_parameters

if TYPE_CHECKING:
    from typing import Any

    import pandas as pd

    from featbus.typing import PathLike


def list_backbones() -> pd.DataFrame:
    """Return the table of the networks that `DeepFeatures` knows by name.

    Read more in the :ref:`User Guide <deep_features>`.

    Returns
    -------
    DataFrame
        One row per network:

        name : str
            What `DeepFeatures` calls it.
        input_size : int
            Height and width in pixels that the ImageNet weights were trained at.
        parameters : int
            Number of weights, those of the classifier left out.
        bytes : int
            Size of these weights in single precision.
        C2, C3, C4, C5 : int
            Channels of the stages: how many columns "avg" makes of them. C5 is the "top".
        top_1 : float
            Accuracy on ImageNet's validation images in percent, as Keras publishes it [1]_; NaN
            where it does not.
        preprocessing : str
            What the network was trained on: "caffe", "tf", "torch", or "none", where it does it
            itself; see `DeepFeatures`.

    See Also
    --------
    DeepFeatures : Features of these networks.

    Notes
    -----
    Numbers are those of networks with default options.

    References
    ----------
    .. [1] Keras documentation, Keras Applications, https://keras.io/api/applications.

    Examples
    --------
    >>> from featbus import list_backbones
    >>> table = list_backbones()
    >>> small = table.loc[table["bytes"] < 10e6, ["name", "C4", "C5"]]
    >>> print(small.to_string(index=False))
                  name  C4   C5
          mobilenet_v2 576 1280
    mobilenet_v3_small 288  576
    """
    import pandas as pd

    return pd.DataFrame(
        {
            "name": name,
            "input_size": backbone.input_size,
            "parameters": backbone.parameters,
            "bytes": 4 * backbone.parameters,
            **{stage: backbone.widths[stage] for stage in STAGES[1:]},
            "top_1": np.nan if backbone.top_1 is None else backbone.top_1,
            "preprocessing": backbone.preprocessing,
        }
        for name, backbone in BACKBONES.items()
    )


def list_layers(
    backbone: Any,
    *,
    weights: PathLike | None = "imagenet",
    input_size: int | tuple[int, ...] | None = None,
    backbone_options: dict | None = None,
    preprocessing: Any = None,
    n_prefix_tokens: int | None = None,
) -> pd.DataFrame:
    """Return the layers of a network that `DeepFeatures` can take features from.

    Read more in the :ref:`User Guide <deep_features>`.

    Parameters
    ----------
    backbone : str, path or keras.Model
        The network, see `DeepFeatures`.
    weights : "imagenet", path or None, default="imagenet"
        The folder of a weights bundle, if the network is one in there. Other weights are not
        loaded: they change no layer.
    input_size : int, tuple of int or None, default=None
        Height and width in pixels that images are resized to, see `DeepFeatures`.
    backbone_options : dict or None, default=None
        Options of the network's architecture, see `DeepFeatures`.
    preprocessing : str, dict, path or None, default=None
        What the network was trained on, see `DeepFeatures`. Only the number of channels matters
        here. None: three, or one if an ONNX file takes one.
    n_prefix_tokens : int or None, default=None
        Number of class and register tokens, see `DeepFeatures`.

    Returns
    -------
    DataFrame
        One row per layer, in the order of computation:

        name : str
            What `layers` of `DeepFeatures` calls it.
        kind : str
            "map": a feature map; "tokens": class and register tokens, and patches on a grid;
            "embedding": one number per column, with nothing to pool.
        height, width : int
            Cells of the map, or of the grid of patches; 1 for embeddings.
        channels : int
            How many columns "avg" makes of it.
        prefix_tokens : int
            Number of class and register tokens.
        stage : str
            "top" and "C1" to "C5", if they stand for this layer, else empty. An ONNX file has "top"
            only.

    See Also
    --------
    DeepFeatures : Features of these layers.
    list_backbones : The networks that have a name.

    Notes
    -----
    A Keras network is built for this, an ONNX file is read.

    Examples
    --------
    >>> from featbus import list_layers
    >>> table = list_layers("vgg16", input_size=64)
    >>> print(table.loc[table["stage"] != "", ["name", "height", "channels", "stage"]].to_string())
                name  height  channels    stage
    4   block2_conv2      32       128       C1
    8   block3_conv3      16       256       C2
    12  block4_conv3       8       512       C3
    16  block5_conv3       4       512       C4
    17   block5_pool       2       512  top, C5
    """
    import pandas as pd

    if preprocessing is None and OnnxModel.accepts(backbone):
        preprocessing = OnnxModel.placeholder(backbone)
    elif preprocessing is None and KerasModel.accepts(backbone):
        preprocessing = "none"
    deep = DeepFeatures(
        backbone,
        weights=None if KerasApplication.accepts(backbone) else weights,
        input_size=input_size,
        backbone_options=backbone_options,
        preprocessing=preprocessing,
        n_prefix_tokens=n_prefix_tokens,
    )
    check_estimator_parameters(deep)
    columns = ("name", "kind", "shape", "prefix_tokens", "stage")
    table = pd.DataFrame(deep._source().list_layers(), columns=columns)
    shape = pd.DataFrame(table.pop("shape").tolist(), columns=["height", "width", "channels"])
    table["stage"] = table["stage"].map(", ".join)
    return pd.concat([table[["name", "kind"]], shape, table[["prefix_tokens", "stage"]]], axis=1)
