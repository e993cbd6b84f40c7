"""The spacing of images, as columns of a table."""

import numpy as np
import pandas as pd

from featbus.datasets._files import quote
from featbus.images import ImageError
from featbus.io import read_spacing

SPACING = ["spacing_row", "spacing_column"]


def add_spacing(frame, paths):
    """Add the columns ``spacing_row`` and ``spacing_column``, in mm, if any image has a spacing.

    Parameters
    ----------
    frame : DataFrame
        One row per image. If it has both columns, which came with the groups, they stay.
    paths : sequence of path-like
        The images. Only headers are read.

    Returns
    -------
    DataFrame
        `frame`, or a copy with two more columns, NaN where unknown.
    """
    if {*SPACING} <= {*frame}:
        return frame
    spacings = [stated_spacing(path) for path in paths]
    if not any(spacings):
        return frame
    table = pd.DataFrame([spacing or (None, None) for spacing in spacings], dtype=float)
    return frame.assign(**dict(zip(SPACING, [table[0].to_numpy(), table[1].to_numpy()])))


def stated_spacing(path):
    """Return the spacing that a file states, None if it cannot be read."""
    try:
        return read_spacing(path)
    except ImageError:  # whoever reads its pixels says what is wrong
        return None


def check_spacing(frame):
    """Check the spacings that came with a table of groups.

    Parameters
    ----------
    frame : DataFrame
        One row per image, with its name in the column ``file``.

    Returns
    -------
    DataFrame
        `frame`; the columns of spacings, if it has both, are of dtype float, NaN where unknown.

    Raises
    ------
    ValueError
        If a spacing is not a positive number; the message names the images.
    """
    if not {*SPACING} <= {*frame}:
        return frame
    given = frame[SPACING].convert_dtypes()
    numbers = given.apply(pd.to_numeric, errors="coerce").astype("Float64")
    values = numbers.to_numpy(float, na_value=np.nan)
    wrong = given.notna().to_numpy() & ~((values > 0) & np.isfinite(values))
    if wrong.any():
        raise ValueError(
            f"The table of groups has no valid spacing for "
            f"{quote(frame.loc[wrong.any(axis=1), 'file'].tolist())}, expected positive numbers in "
            "the columns 'spacing_row' and 'spacing_column', in millimeters, or nothing where it "
            "is unknown."
        )
    return frame.assign(**dict(zip(SPACING, values.T)))
