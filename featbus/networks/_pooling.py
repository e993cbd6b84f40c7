"""Pooling: how a feature map becomes a row, over the whole map, a grid of windows or a region."""

import re
from typing import NamedTuple

import cv2
import numpy as np

_POOLING = re.compile(r"(avg|max|gem|std)(?:([1-9])x([1-9]))?")
_GEM_POWER, _GEM_FLOOR = 3, 1e-6


class Window(NamedTuple):
    """A part of a feature map that becomes one number a channel, in cells of the map."""

    label: str
    top: int
    left: int
    bottom: int
    right: int


def is_pooling(name):
    """Tell whether there is a pooling of this name.

    Parameters
    ----------
    name : object
        What should be "flatten", or "avg", "max", "gem" or "std", each alone or with a grid such as
        "avg2x2".

    Returns
    -------
    bool
        True if there is.
    """
    return isinstance(name, str) and (name == "flatten" or bool(_POOLING.fullmatch(name)))


def windows(name, height, width):
    """Return the windows that a pooling lays over a feature map.

    Parameters
    ----------
    name : str
        The pooling.
    height, width : int
        Size of the map in cells.

    Returns
    -------
    list of Window
        Row by row. Window `i` of `n` along a side of `m` cells goes from ``floor(i m / n)`` to
        ``ceil((i + 1) m / n)``: neighbours share a cell where the sides do not divide.
    """
    if name == "flatten":
        rows, columns = height, width
    else:
        _, rows, columns = _POOLING.fullmatch(name).groups()
        if rows is None:
            return [Window(name, 0, 0, height, width)]
        rows, columns = int(rows), int(columns)
    return [
        Window(
            f"{name}_r{row}c{column}",
            row * height // rows,
            column * width // columns,
            -(-(row + 1) * height // rows),
            -(-(column + 1) * width // columns),
        )
        for row in range(rows)
        for column in range(columns)
    ]


def pool(feature_map, name, weights=None):
    """Pool feature maps, as a part of a Keras graph.

    Parameters
    ----------
    feature_map : keras.KerasTensor of shape (n_images, height, width, channels)
        The maps; height and width are known.
    name : str
        The pooling: the average, the maximum, the generalised mean with exponent 3 [1]_, the
        standard deviation (divided by the number of cells), or all cells side by side.
    weights : keras.KerasTensor of shape (n_images, height, width, 1), default=None
        Share of each cell that lies inside the region. Averages are weighted by it; the maximum is
        that of the cells that are inside by half or more, or by as much as any. A window with less
        than one cell of region counts as a whole. None: no region.

    Returns
    -------
    keras.KerasTensor of shape (n_images, n_windows * channels)
        Window by window, channel by channel.

    References
    ----------
    .. [1] Radenovic F, Tolias G, Chum O. Fine-tuning CNN image retrieval with no human annotation.
       IEEE Transactions on Pattern Analysis and Machine Intelligence 41 (2019) 1655-1668,
       doi:10.1109/TPAMI.2018.2846566, eq. 3.
    """
    from keras import layers, ops

    height, width = feature_map.shape[1:3]
    if name == "flatten":
        return layers.Flatten()(feature_map)
    statistic = {"avg": _mean, "max": _max, "gem": _gem, "std": _std}[name[:3]]
    rows = []
    for _, top, left, bottom, right in windows(name, height, width):
        cells = feature_map[:, top:bottom, left:right]
        inside = None if weights is None else _inside(weights[:, top:bottom, left:right])
        rows.append(statistic(cells, inside))
    return rows[0] if len(rows) == 1 else ops.concatenate(rows, axis=-1)


def _inside(weights):
    """Return weights of which a window with less than one cell of region has all."""
    from keras import ops

    # Rounding must not decide about a region of exactly one cell.
    enough = ops.sum(weights, axis=(1, 2), keepdims=True) >= 1 - 1e-4
    return ops.where(enough, weights, ops.ones_like(weights))


def _mean(cells, weights):
    from keras import ops

    if weights is None:
        return ops.mean(cells, axis=(1, 2))
    return ops.sum(cells * weights, axis=(1, 2)) / ops.sum(weights, axis=(1, 2))


def _max(cells, weights):
    from keras import ops

    if weights is None:
        return ops.max(cells, axis=(1, 2))
    most = ops.max(weights, axis=(1, 2), keepdims=True)
    counts = weights >= ops.minimum(most, 0.5)
    return ops.max(ops.where(counts, cells, -3e38), axis=(1, 2))


def _gem(cells, weights):
    from keras import ops

    powers = ops.power(ops.maximum(cells, _GEM_FLOOR), _GEM_POWER)
    return ops.power(_mean(powers, weights), 1 / _GEM_POWER)


def _std(cells, weights):
    from keras import ops

    mean = _mean(cells, weights)[:, None, None]
    return ops.sqrt(_mean(ops.square(cells - mean), weights))


def region_weights(regions, shapes):
    """Return the share of each cell of the feature maps that lies inside a region.

    Parameters
    ----------
    regions : ndarray of float32 of shape (n_images, height, width)
        Share of each pixel that lies inside, 0..1, in the network's input size.
    shapes : sequence of tuple of int
        Height, width and channels of the feature maps.

    Returns
    -------
    list of ndarray of float32 of shape (n_images, height, width, 1)
        One array a map: averages over the area of each cell.
    """
    return [
        np.stack([_reduced(region, height, width) for region in regions])[..., np.newaxis]
        for height, width, _ in shapes
    ]


def _reduced(region, height, width):
    return cv2.resize(region, (width, height), interpolation=cv2.INTER_AREA)
