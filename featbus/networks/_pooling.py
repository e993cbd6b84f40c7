"""Pooling: how feature maps become rows, and what Keras graphs and arrays share of it."""

import re
from typing import NamedTuple

import cv2
import numpy as np

_POOLING = re.compile(r"(avg|max|gem|std)(?:([1-9])x([1-9]))?")
GEM_POWER, GEM_FLOOR = 3, 1e-6


class Window(NamedTuple):
    """A part of a feature map that becomes one number per channel, in cells of the map."""

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
        What should be "flatten", "cls", or "avg", "max", "gem" or "std", each alone or with a grid
        such as "avg2x2".

    Returns
    -------
    bool
        True if there is.
    """
    return isinstance(name, str) and (name in ("flatten", "cls") or bool(_POOLING.fullmatch(name)))


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
        ``ceil((i + 1) m / n)``: neighbors share a cell where the sides do not divide.
    """
    if name == "flatten":
        rows, columns = height, width
    elif name == "cls":
        return [Window(name, 0, 0, height, width)]
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


def pool_array(feature_map, name, weights=None):
    """Pool the feature map of one image, as `pool` does in a Keras graph.

    Parameters
    ----------
    feature_map : ndarray of shape (height, width, channels)
        The map.
    name : str
        The pooling, see `pool`; not "cls", which takes no cell of the map.
    weights : ndarray of shape (height, width, 1), default=None
        Share of each cell that lies inside the region, see `region_weights`. None: no region.

    Returns
    -------
    ndarray of float32 of shape (n_windows * channels,)
        Window by window, channel by channel; sums are in double precision.
    """
    if name == "flatten":
        return np.ravel(feature_map)
    statistic = {"avg": _mean, "max": _max, "gem": _gem, "std": _std}[name[:3]]
    rows = []
    for _, top, left, bottom, right in windows(name, *feature_map.shape[:2]):
        window = slice(top, bottom), slice(left, right)
        shares = None if weights is None else weights[window]
        if shares is None or shares.any():
            rows.append(statistic(feature_map[window], shares))
        else:
            rows.append(np.zeros(feature_map.shape[2]))
    return np.concatenate(rows).astype(np.float32)


def _mean(cells, weights):
    if weights is None:
        return cells.mean(axis=(0, 1), dtype=np.float64)
    return np.sum(cells * weights, axis=(0, 1), dtype=np.float64) / np.sum(
        weights, dtype=np.float64
    )


def _max(cells, weights):
    return cells.max(axis=(0, 1)) if weights is None else cells[weights[..., 0] > 0].max(axis=0)


def _gem(cells, weights):
    cells = np.maximum(cells, np.float32(GEM_FLOOR))
    powers = cells.copy()
    for _ in range(GEM_POWER - 1):  # a tenth of the time of a power
        powers *= cells
    return _mean(powers, weights) ** (1 / GEM_POWER)


def _std(cells, weights):
    # In double precision, all cells would take ten times as long.
    deviations = cells - _mean(cells, weights).astype(np.float32)
    deviations *= deviations
    return np.sqrt(_mean(deviations, weights))
