"""Pooling: how feature maps become rows, in a Keras graph and in NumPy, image by image."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

from featbus.base import thread_limit

_POOLING = re.compile(r"(avg|max|gem|std)(?:([1-9])x([1-9]))?")
_GEM_POWER, _GEM_FLOOR = 3, 1e-6
_LIMITS = {"fp32": 1e-3, "bf16": 0.45}  # of the relative error of rows; .45 is a cosine of .9
_NOTHING = 1e-20  # activations that random weights let decay to this are rounded to zero


class Window(NamedTuple):
    """A part of a feature map that becomes one number per channel, in cells of the map."""

    label: str
    top: int
    left: int
    bottom: int
    right: int


def is_pooling(name):
    """Return whether there is a pooling of this name.

    Parameters
    ----------
    name : object
        "flatten", "cls", or "avg", "max", "gem" or "std", each alone or with a grid such as
        "avg2x2".

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
    grid = _POOLING.fullmatch(name)
    rows, columns = (height, width) if name == "flatten" else grid.groups()[1:] if grid else (0, 0)
    if not rows:
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
        One array per map: averages over the area of each cell.
    """
    weights = []
    for height, width, _ in shapes:
        shares = [cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA) for one in regions]
        weights.append(np.stack(shares)[..., np.newaxis])
    return weights


def pool(maps, name, weights=None, ops=np):
    """Pool feature maps, in NumPy or as a part of a Keras graph.

    Parameters
    ----------
    maps : ndarray or keras.KerasTensor of shape (n_images, height, width, channels)
        The maps; height and width are known.
    name : str
        The pooling: the average, the maximum, the generalized mean with exponent 3 [1]_, the
        population standard deviation, or all cells, concatenated; not "cls", which takes no cell of
        the map.
    weights : ndarray or keras.KerasTensor of shape (n_images, height, width, 1), default=None
        Share of each cell that lies inside the region. It weights averages; the maximum is taken
        over the cells with a share above 0, and "flatten" takes all cells. A window without region
        is 0. None: no region.
    ops : module, default=numpy
        `numpy` or `keras.ops`.

    Returns
    -------
    ndarray or keras.KerasTensor of shape (n_images, n_windows * channels)
        Window by window, channel by channel.

    References
    ----------
    .. [1] Radenovic F, Tolias G, Chum O. Fine-tuning CNN image retrieval with no human annotation.
       IEEE Transactions on Pattern Analysis and Machine Intelligence 41 (2019) 1655-1668,
       doi:10.1109/TPAMI.2018.2846566, eq. 3.
    """
    height, width, channels = maps.shape[1:]
    if name == "flatten":
        return ops.reshape(maps, (-1, height * width * channels))
    statistic = {"avg": _mean, "max": _max, "gem": _gem, "std": _std}[name[:3]]
    rows = []
    for _, top, left, bottom, right in windows(name, height, width):
        window = slice(None), slice(top, bottom), slice(left, right)
        inside = None if weights is None else weights[window]
        rows.append(_pool_window(statistic, maps[window], inside, ops))
    return rows[0] if len(rows) == 1 else ops.concatenate(rows, axis=-1)


def _pool_window(statistic, cells, weights, ops):
    """Return the statistic of the cells with a weight, 0 where there is none."""
    if weights is None:
        return statistic(cells, None, ops)
    touched = ops.max(weights, axis=(1, 2)) > 0
    # Weights that are all 0 would make the gradient of a network that is trained NaN.
    weights = ops.where(touched[:, None, None], weights, 1.0)
    return ops.where(touched, statistic(cells, weights, ops), 0.0)


def _mean(cells, weights, ops):
    if weights is None:
        return ops.mean(cells, axis=(1, 2))
    return ops.sum(cells * weights, axis=(1, 2)) / ops.sum(weights, axis=(1, 2))


def _max(cells, weights, ops):
    return ops.max(cells if weights is None else ops.where(weights > 0, cells, -3e38), axis=(1, 2))


def _gem(cells, weights, ops):
    cells = ops.maximum(cells, _GEM_FLOOR)
    # Products, because a power takes ten times as long.
    return ops.power(_mean(cells * cells * cells, weights, ops), 1 / _GEM_POWER)


def _std(cells, weights, ops):
    deviations = cells - _mean(cells, weights, ops)[:, None, None]
    variance = _mean(deviations * deviations, weights, ops)
    # The root has no gradient at 0, which is the variance of a region in a single cell.
    varies = variance > 0
    return ops.where(varies, ops.sqrt(ops.where(varies, variance, 1.0)), 0.0)


def pool_layers(layers, pooling, regions=None):
    """Pool the feature maps of several layers.

    Parameters
    ----------
    layers : sequence of (ndarray, ndarray or None)
        For each layer the maps, of shape (n_images, height, width, channels), and the prefix
        tokens, of shape (n_images, n_tokens, channels), of which "cls" is the first.
    pooling : sequence of str
        The poolings, see `pool`.
    regions : ndarray of float32 of shape (n_images, height, width), default=None
        See `region_weights`. None: no region.

    Returns
    -------
    list of ndarray of float32 of shape (n_images, n_windows * channels)
        Layer by layer, pooling by pooling; computed in double precision, image by image.
    """
    shares = [[None] * len(maps) for maps, _ in layers]
    if regions is not None:
        shares = region_weights(regions, [maps.shape[1:] for maps, _ in layers])
    return [
        prefix[:, 0]
        if name == "cls"
        else np.stack([_pool_map(cells, name, share) for cells, share in zip(maps, shares_of)])
        for (maps, prefix), shares_of in zip(layers, shares)
        for name in pooling
    ]


def _pool_map(cells, name, share):
    share = None if share is None else share[np.newaxis].astype(np.float64)
    return pool(cells[np.newaxis].astype(np.float64), name, share)[0].astype(np.float32)


class ThreadedEngine:
    """A network that runs on one image per thread; its maps are pooled in NumPy.

    As many images run at a time as `thread_limit` says. A row depends only on its image.

    Parameters
    ----------
    network : Network
        What to run.
    shapes : iterable of tuple of int
        Height, width and channels of the feature map of each of the layers.
    infer : callable
        From the values of one image to the list of the layers' tensors.

    Attributes
    ----------
    shapes : tuple of tuple of int
        See above.
    """

    def __init__(self, network, shapes, infer):
        self._network, self._infer = network, infer
        self._running = threading.Lock()
        self.shapes = tuple(map(tuple, shapes))

    def run(self, pixels, batch_size, regions=None):
        """Compute the rows of a batch.

        Parameters
        ----------
        pixels : ndarray of uint8 or float32 of shape (n_images, height, width, 3 or 1)
            RGB or gray, 0..255, in the network's input size.
        batch_size : int
            Without effect: images run one at a time.
        regions : ndarray of float32 of shape (n_images, height, width), default=None
            Share of each pixel that lies inside the image's region, 0..1. Feature maps and patch
            tokens are pooled over the cells inside. None: over all.

        Returns
        -------
        ndarray of shape (n_images, n_features)
            Layer by layer, pooling by pooling, window by window, channel by channel.
        """

        def compute_row(index):
            one = slice(index, index + 1)
            region = None if regions is None else regions[one]
            return np.concatenate(self._compute_parts(self._infer, pixels[one], region), axis=1)

        with self._running, ThreadPoolExecutor(min(thread_limit(), len(pixels))) as executor:
            return np.concatenate(list(executor.map(compute_row, range(len(pixels)))))

    def compare(self, reference, name):
        """Compare rows of a few images with those of a reference.

        Parameters
        ----------
        reference : callable
            Computes what the engine's `infer` does.
        name : str
            What errors call the reference.

        Returns
        -------
        dict
            The "precision"; and "max_relative_error": for each layer and pooling, the Euclidean
            norm of the difference divided by that of the reference; the largest of these. A norm
            below 1e-20 counts as that.

        Raises
        ------
        RuntimeError
            If it is above 1e-3, or in reduced precision above 0.45.
        """
        source, precision = self._network.source, self._network.precision
        images = _make_images(source.input_size)
        found, expected = (
            [self._compute_parts(infer, image[np.newaxis]) for image in images]
            for infer in (self._infer, reference)
        )
        errors = []
        for parts in zip(zip(*found), zip(*expected), strict=True):
            rows, others = (np.concatenate(part, dtype=np.float64) for part in parts)
            difference = np.linalg.norm(rows - others)
            errors.append(difference / max(np.linalg.norm(others), _NOTHING))
        error, limit = float(np.max(errors)), _LIMITS[precision]
        if not error <= limit:
            raise RuntimeError(
                f"{source} on OpenVINO in {precision} differs from "
                f"{name} by {error:.2g} of its rows' norm, expected {limit:g} at most. It is "
                "not used: take another engine, precision or version of OpenVINO."
            )
        return {"precision": precision, "max_relative_error": error}

    def _compute_parts(self, infer, pixels, region=None):
        """Return the row of one image, split into the parts of each layer and pooling."""
        return pool_layers(self._compute_layers(infer, pixels), self._network.pooling, region)

    def _compute_layers(self, infer, pixels):
        """Return the feature map and the prefix tokens of one image, for each layer."""
        return [(maps, None) for maps in infer(self._network.source.preprocessing(pixels))]


def _make_images(size):
    """Return the images that rows are compared on: coarse and fine noise, 0..255."""
    rng = np.random.default_rng(0)
    noise = [rng.random((side, side, 3), np.float32) for side in (3, 10, 40, max(size))]
    return [255 * cv2.resize(image, tuple(size[::-1])) for image in noise]
