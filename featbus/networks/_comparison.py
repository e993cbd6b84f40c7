"""Compare the rows of a network on two engines, or in two precisions."""

import numpy as np

from featbus.networks._pooling import windows

_NOTHING = 1e-20  # activations that random weights let decay to this are rounded to zero
_LEAST_COSINE = 0.9  # of rows in reduced precision


def relative_error(rows, expected, network, shapes):
    """Return the largest difference between rows, relative to the scale of their columns.

    Parameters
    ----------
    rows, expected : ndarray of shape (n_images, n_features)
        What to compare, and with what.
    network : Network
        Tells, together with `shapes`, which columns belong together: those of a layer and pooling.
    shapes : tuple of tuple of int
        Height, width and channels of the feature map of each of the layers.

    Returns
    -------
    float
        The largest over the groups of columns of the largest difference divided by the largest
        magnitude. Magnitudes below 1e-20 count as that.
    """
    return max(
        np.abs(part - wanted).max() / max(np.abs(wanted).max(), _NOTHING)
        for part, wanted in _groups(rows, expected, network, shapes)
    )


def make_images(size):
    """Return the images that rows are compared on: two of noise, two smooth ones.

    Parameters
    ----------
    size : tuple of int
        Height and width in pixels.

    Returns
    -------
    ndarray of float32 of shape (4, height, width, 3)
        Pixels of 0..255.
    """
    height, width = size
    rng = np.random.default_rng(0)
    down, across = np.linspace(0, 1, height)[:, np.newaxis], np.linspace(0, 1, width)
    smooth = [down * across, 0.5 + 0.5 * np.sin(9 * down) * np.cos(7 * across)]
    colors = np.array([0.9, 0.6, 1.0])
    pixels = np.concatenate(
        [rng.random((2, height, width, 3)), [plane[..., np.newaxis] * colors for plane in smooth]]
    )
    return np.float32(255 * pixels)


def check_cosine(rows, expected, network, shapes):
    """Check rows in reduced precision.

    Parameters
    ----------
    rows, expected, network, shapes : object
        As of `relative_error`.

    Returns
    -------
    float
        The result of `row_cosine`.

    Raises
    ------
    RuntimeError
        If it is below 0.9.
    """
    cosine = row_cosine(rows, expected, network, shapes)
    if not cosine >= _LEAST_COSINE:
        raise RuntimeError(
            f"{network.source} in {network.precision} has other rows than in fp32: the cosine "
            f"between them is {cosine:.3g}, expected {_LEAST_COSINE:g} at least. It is not used: "
            "take precision='fp32'."
        )
    return cosine


def row_cosine(rows, expected, network, shapes):
    """Return the cosine of the angle between rows.

    Parameters
    ----------
    rows, expected, network, shapes : object
        As of `relative_error`.

    Returns
    -------
    float
        The smallest over the groups of columns of the average over the images. The longer row of
        both is what the shorter one is divided by, too, so that another length counts as another
        angle. NaN if there is one in `rows`.
    """
    cosines = []
    for part, wanted in _groups(np.float64(rows), np.float64(expected), network, shapes):
        longer = np.maximum(*(np.sum(values**2, axis=1) for values in (part, wanted)))
        product = np.sum(part * wanted, axis=1)
        cosines.append(np.mean((product + _NOTHING**2) / (longer + _NOTHING**2)))
    return float(np.min(cosines))


def _groups(rows, expected, network, shapes):
    """Return pairs of the columns of each layer and pooling."""
    widths = [
        len(windows(pooling, *shape[:2])) * shape[2]
        for shape in shapes
        for pooling in network.pooling
    ]
    groups = np.cumsum(widths)[:-1]
    return zip(*(np.split(values, groups, axis=1) for values in (rows, expected)))
