"""Pooling by brute force."""

import numpy as np

from featbus.networks import windows

STATISTICS = {
    "avg": np.mean,
    "max": np.max,
    "std": np.std,
    "gem": lambda values: np.cbrt(np.mean(np.maximum(values, 1e-6) ** 3)),
}


def pool_pixels(maps, region, name):
    """Return the statistic of the pixels of a region, each with the values of its cell."""
    if name == "flatten":
        return maps.ravel()
    size = [side // cells for side, cells in zip(region.shape, maps.shape)]
    pixels = maps.astype(np.float64).repeat(size[0], axis=0).repeat(size[1], axis=1)
    row = []
    for window in windows(name, *maps.shape[:2]):
        box = np.s_[
            window.top * size[0] : window.bottom * size[0],
            window.left * size[1] : window.right * size[1],
        ]
        for values in np.moveaxis(pixels[box], 2, 0):
            values = values[region[box]]
            row.append(STATISTICS[name[:3]](values) if values.size else 0)
    return row
