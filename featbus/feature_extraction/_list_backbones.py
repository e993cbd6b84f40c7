"""The table of backbones as a DataFrame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from featbus.networks import BACKBONES, STAGES

if TYPE_CHECKING:
    import pandas as pd


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
