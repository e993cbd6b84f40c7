"""Local binary patterns by their definition, in integers."""

import numpy as np


def exact_differences(image, n_points, radius):
    """Return neighbour minus centre in 1e-10 of a grey level, in integers, per neighbour."""
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
