"""Local binary patterns: the codes of `LBP`, and their definition in integers."""

import numpy as np

from featbus.feature_extraction._lbp import _METHODS, _encode


def exact_differences(image, n_points, radius):
    """Return neighbor minus center in 1e-10 of a gray level, in integers, per neighbour."""
    unit, reach = 10**5, int(np.ceil(radius)) + 1
    padded = np.pad(image.astype(np.int64), reach)
    height, width = image.shape
    angles = 2 * np.pi * np.arange(n_points) / n_points
    differences = []
    for along_rows, along_columns in zip(-radius * np.sin(angles), radius * np.cos(angles)):
        row, down = divmod(round(along_rows * unit), unit)
        column, right = divmod(round(along_columns * unit), unit)
        value = 0
        for rows, row_weight in ((row, unit - down), (row + 1, down)):
            for columns, column_weight in ((column, unit - right), (column + 1, right)):
                top, left = reach + rows, reach + columns
                pixels = padded[top : top + height, left : left + width]
                value = value + row_weight * column_weight * pixels
        differences.append(value - image.astype(np.int64) * unit**2)
    return np.stack(differences)


def lbp_codes(image, n_points=8, radius=1, method="uniform"):
    """Return the code of each pixel, as `LBP` counts them; for "var", the neighbors' variance."""
    encode = (lambda strip: strip.variance()) if method == "var" else _METHODS[method][0]
    return _encode(image, n_points, radius, encode, np.float64 if method == "var" else np.int64)
