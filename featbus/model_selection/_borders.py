"""Borders: rows and columns of one value at the sides of an image."""

import numpy as np

_TOLERANCE = 4
_SHARE = 0.98


def find_borders(gray):
    """Count the rows and columns of one value at each side.

    Parameters
    ----------
    gray : ndarray of uint8 of shape (height, width)
        The image.

    Returns
    -------
    top, bottom, left, right : int
        Rows or columns of which at least 98 % are within 4 levels of the median of the outermost.
    """
    counts = [_count(side) for side in (gray, gray[::-1], gray.T, gray.T[::-1])]
    return tuple(counts)


def _count(gray):
    """Count from the top."""
    level = int(np.median(gray[0]))
    low, high = max(0, level - _TOLERANCE), min(255, level + _TOLERANCE)
    count, step = 0, 64
    while count < len(gray):  # most borders are narrow
        part = gray[count : count + step]
        differs = np.flatnonzero(((part >= low) & (part <= high)).mean(axis=1) < _SHARE)
        if differs.size:
            return count + differs[0]
        count += len(part)
    return count


def measure_borders(gray, borders):
    """Measure the borders of an image.

    Parameters
    ----------
    gray : ndarray of uint8 of shape (height, width)
        The image.
    borders : tuple of int
        What `find_borders` returned.

    Returns
    -------
    dict of str to float
        ``top``, ``bottom``, ``left`` and ``right`` as shares of the height or the width, and
        ``rows`` and ``columns``, the shares of those, at any place, that have a single value.
    """
    height, width = gray.shape
    names = ("top", "bottom", "left", "right")
    sides = dict(zip(names, np.divide(borders, [height, height, width, width])))
    rows = (gray == gray[:, :1]).all(axis=1).mean()
    columns = (gray == gray[:1]).all(axis=0).mean()
    return sides | {"rows": rows, "columns": columns}


def without_borders(gray, borders):
    """Cut the borders off; an image that is nothing else stays.

    Parameters
    ----------
    gray : ndarray of uint8 of shape (height, width)
        The image.
    borders : tuple of int
        What `find_borders` returned.

    Returns
    -------
    ndarray of uint8
        A view.
    """
    top, bottom, left, right = borders
    inner = gray[top : len(gray) - bottom, left : gray.shape[1] - right]
    return inner if inner.size else gray
