"""Histograms of oriented gradients."""

from __future__ import annotations

from itertools import product
from typing import Literal, Self

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, DTypeLike
from skimage.draw import line as draw_line
from sklearn.utils.validation import check_is_fitted

from featbus.base import Column, FeatureExtractor
from featbus.color import to_rgb
from featbus.images import ImageError, at_index
from featbus.io import read_item
from featbus.masks import inside_mask
from featbus.parameters import POSITIVE_INTEGER, PairOf, StrOptions, as_pair, as_plain
from featbus.typing import Images, PathLike

_EPS = 1e-5
# Pixels per strip: intermediate arrays fit a processor's cache. With smaller strips, threads would
# wait for each other after each short step.
_STRIP = 1 << 17


def _gradient(image, rows):
    """Return the central differences of `rows` along rows and columns; 0 at the image's border.

    Of a color image, those of the channel with the strongest gradient.
    """
    first = max(rows.start - 1, 0)
    inner = slice(rows.start - first, rows.stop - first)
    # Beyond the border, OpenCV mirrors the image about the outermost pixels.
    strip = image[first : rows.stop + 1]
    parts = [cv2.Sobel(strip, -1, *order, ksize=1)[inner] for order in ((0, 1), (1, 0))]
    if image.ndim == 3:
        strongest = np.hypot(*parts).argmax(axis=2, keepdims=True)
        parts = [np.take_along_axis(part, strongest, 2)[..., 0] for part in parts]
    return parts


def _has_gradient(inside):
    """Return which pixels lie inside the region together with their four neighbors."""
    valid = inside.copy()
    valid[1:-1] &= inside[2:] & inside[:-2]
    valid[:, 1:-1] &= inside[:, 2:] & inside[:, :-2]
    return valid


def _orientation_bins(along_rows, along_columns, orientations, degrees):
    """Return the bin of each gradient's orientation, modulo 180 or 360 `degrees`."""
    # OpenCV's angle is off by up to 0.3 degrees: angles that close to an edge are recomputed.
    position = cv2.phase(along_columns, along_rows, angleInDegrees=True)
    position *= orientations / degrees
    bins = position.astype(np.intp)
    position -= bins
    np.abs(np.subtract(position, 0.5, out=position), out=position)
    close = position > 0.5 - 0.3 * orientations / degrees
    if degrees == 180:  # gradients along the rows, which are frequent where levels are few
        close &= along_rows != 0
        bins[along_rows == 0] = 0
    close = np.flatnonzero(close)
    exact = (part.ravel()[close].astype(np.float64) for part in (along_rows, along_columns))
    angle = np.rad2deg(np.arctan2(*exact)) % degrees
    # Multiplied first: the width of a bin, such as 180 / 14, is rounded, and its multiples more so.
    bins.ravel()[close] = np.floor_divide(angle * orientations, degrees)
    # Modulo 180 degrees, opposite directions share a bin. A rounding error just below 0 gives 180
    # or 360 degrees, which is bin 0.
    return np.subtract(bins, orientations, out=bins, where=bins >= orientations)


def _cell_histograms(image, inside, orientations, degrees, cell):
    """Return the histograms ``(cell rows, cell columns, orientations)`` of mean magnitude."""
    n_rows, n_columns = image.shape[0] // cell[0], image.shape[1] // cell[1]
    width = n_columns * cell[1]
    histograms = np.empty((n_rows, n_columns, orientations))
    valid = None if inside is None else _has_gradient(inside)
    column_offset = orientations * (np.arange(width) // cell[1])
    per_strip = max(1, _STRIP // (cell[0] * image.shape[1]))
    for first in range(0, n_rows, per_strip):
        last = min(first + per_strip, n_rows)
        rows = slice(first * cell[0], last * cell[0])
        along_rows, along_columns = (
            np.ascontiguousarray(part[:, :width]) for part in _gradient(image, rows)
        )
        # OpenCV's magnitude is not reproducible: its last bit depends on memory alignment.
        magnitude = np.sqrt(np.square(along_rows) + np.square(along_columns))
        if valid is not None:
            magnitude *= valid[rows, :width]
        index = _orientation_bins(along_rows, along_columns, orientations, degrees)
        index += column_offset
        index += orientations * n_columns * (np.arange(len(index)) // cell[0])[:, np.newaxis]
        size = (last - first) * n_columns * orientations
        sums = np.bincount(index.ravel(), magnitude.ravel(), minlength=size)
        histograms[first:last] = sums.reshape(last - first, n_columns, orientations)
    return histograms / (cell[0] * cell[1])


def _normalize(blocks, norm):
    """Normalize blocks; the last axis is their cells and orientations."""
    if norm.startswith("L1"):
        blocks = blocks / (blocks.sum(axis=-1, keepdims=True) + _EPS)
        return np.sqrt(blocks) if norm == "L1-sqrt" else blocks
    blocks = blocks / _length(blocks)
    if norm == "L2-Hys":
        np.minimum(blocks, 0.2, out=blocks)
        blocks /= _length(blocks)
    return blocks


def _length(blocks):
    return np.sqrt(np.square(blocks).sum(axis=-1, keepdims=True) + _EPS**2)


def _draw_cells(cells, cell, signed):
    """Draw lines across the gradients or, if `signed`, rays along them, as bright as the bins."""
    radius = max(min(cell) // 2 - 1, 0)
    n_rows, n_columns, orientations = cells.shape
    angle = (1 + signed) * np.pi * (np.arange(orientations) + 0.5) / orientations
    along, across = (radius * np.cos(angle)).tolist(), (radius * np.sin(angle)).tolist()
    picture = np.zeros((n_rows * cell[0], n_columns * cell[1]))
    for row, column, bin_ in np.ndindex(cells.shape):
        y, x = row * cell[0] + cell[0] // 2, column * cell[1] + cell[1] // 2
        dy, dx = along[bin_], across[bin_]
        if signed:
            ends = y, x, y + round(dx), x + round(dy)
        else:
            ends = int(y - dy), int(x + dx), int(y + dy), int(x - dx)
        picture[draw_line(*ends)] += cells[row, column, bin_]
    return picture


class HOG(FeatureExtractor):
    """Histograms of oriented gradients.

    Each cell of the image holds a histogram of gradient orientations, weighted by magnitude; the
    histograms are normalized over overlapping blocks of cells ([1]_). Rows equal those of
    `skimage.feature.hog`, which has no counterpart of `signed`.

    Read more in the :ref:`User Guide <hog>`.

    Parameters
    ----------
    orientations : int, default=9
        Number of bins over 0..180 degrees or, with `signed`, over 0..360 degrees.
    pixels_per_cell : int or tuple of int, default=(8, 8)
        Height and width of a cell in pixels; one number for square cells.
    cells_per_block : int or tuple of int, default=(3, 3)
        Height and width of a block in cells; one number for square blocks.
    block_norm : {"L1", "L1-sqrt", "L2", "L2-Hys"}, default="L2-Hys"
        How a block is normalized.
    transform_sqrt : bool, default=False
        Whether to take the square root of the image first (gamma compression).
    signed : bool, default=False
        Whether opposite gradients have separate bins, which distinguishes an edge from dark to
        bright from one from bright to dark. The direction points to the brighter side: 0 degrees
        is to the right, 90 degrees is down.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Data type of the rows; the computation uses double precision.

    Attributes
    ----------
    n_blocks_ : tuple of int
        Number of block rows and block columns, learned from the first image seen in `fit`.

    See Also
    --------
    Resize : Bring images to one size first; the number of features depends on the size.
    LBP : Local binary patterns.

    Notes
    -----
    Columns are named ``hog_r03_c02_b1_o4``: block row 3, block column 2, second cell of the block
    (counted row by row), fifth orientation. `where` returns its block and one pixel around it: all
    pixels that can change the column.

    Pixels outside the region of a masked image, and those with a neighbor outside, have no vote. In
    color images, each pixel votes with its strongest channel.

    As in scikit-image, 1e-5 is added to the length by which a block is divided (with "L2" norms,
    its square to the square), in units of the pixels. It matters more in floating-point images,
    whose pixels are at most 1, than in the same images of 8 bits: values are smaller by a part of
    ``1e-5 / length`` ("L2": its square, halved), which only shows in blocks that are almost flat.
    If `orientations` is a multiple of 4, diagonal gradients lie on the edge of two bins, and in
    floating-point images the rounding of the pixels decides between them. With `transform_sqrt`,
    it does so in images of any dtype that have few gray levels.

    References
    ----------
    .. [1] Dalal N, Triggs B. Histograms of oriented gradients for human detection. CVPR 2005,
       886-893, doi:10.1109/CVPR.2005.177.

    Examples
    --------
    >>> from featbus import HOG, make_breast_ultrasound
    >>> images = make_breast_ultrasound(4, random_state=0).images
    >>> hog = HOG(pixels_per_cell=(32, 32), cells_per_block=(2, 2)).fit(images)
    >>> rows = hog.transform(images)
    >>> rows.shape == (4, len(hog.get_feature_names_out()))
    True
    >>> str(hog.get_feature_names_out()[-1])
    'hog_r04_c06_b3_o8'
    """

    # 2: gradients on the exact edge of two bins are in the upper one.
    _algorithm_version = 2

    _parameter_constraints = {
        "orientations": [POSITIVE_INTEGER],
        "pixels_per_cell": [PairOf(POSITIVE_INTEGER)],
        "cells_per_block": [PairOf(POSITIVE_INTEGER)],
        "block_norm": [StrOptions({"L1", "L1-sqrt", "L2", "L2-Hys"})],
        "transform_sqrt": ["boolean"],
        "signed": ["boolean"],
    }

    def __init__(
        self,
        *,
        orientations: int = 9,
        pixels_per_cell: int | tuple[int, ...] = (8, 8),
        cells_per_block: int | tuple[int, ...] = (3, 3),
        block_norm: Literal["L1", "L1-sqrt", "L2", "L2-Hys"] = "L2-Hys",
        transform_sqrt: bool = False,
        signed: bool = False,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.orientations = orientations
        self.pixels_per_cell = pixels_per_cell
        self.cells_per_block = cells_per_block
        self.block_norm = block_norm
        self.transform_sqrt = transform_sqrt
        self.signed = signed
        self.dtype = dtype

    def fit(self, X: Images, y: ArrayLike | None = None) -> Self:
        """Learn the number of blocks from the first image.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`; all of one size.
        y : None
            Ignored.

        Returns
        -------
        self : HOG
            The estimator itself.
        """
        self._check_parameters()
        batch = self._check_batch(X, reset=True)
        (first,) = self._iter_images(batch[:1])
        with at_index(0, batch[0]):
            self.n_blocks_ = self._n_blocks(first.shape)
        return self

    def _fingerprint_params(self):
        # Images of another size have other columns.
        return {**super()._fingerprint_params(), "n_blocks_": getattr(self, "n_blocks_", None)}

    def _iter_rows(self, prepared):
        expected = getattr(self, "n_blocks_", None)
        for index, image in enumerate(prepared):
            with at_index(index):
                found = self._n_blocks(image.shape)
                expected = expected or found
                if found != expected:
                    raise ImageError(
                        f"found {found} blocks of cells, expected {expected} as in the first "
                        "image: put Resize before HOG."
                    )
                yield self._extract(image)

    def _n_blocks(self, image_shape):
        """Return the number of block rows and block columns."""
        cell, block = as_pair(self.pixels_per_cell), as_pair(self.cells_per_block)
        height, width = image_shape[:2]
        if height < cell[0] * block[0] or width < cell[1] * block[1]:
            raise ImageError(
                f"found {height} x {width} pixels, expected at least {cell[0] * block[0]} x "
                f"{cell[1] * block[1]}: one block of {block} cells of {cell} pixels. Use larger "
                "images or smaller cells."
            )
        return height // cell[0] - block[0] + 1, width // cell[1] - block[1] + 1

    def _extract(self, image):
        block = as_pair(self.cells_per_block)
        blocks = np.moveaxis(sliding_window_view(self._cells(image), block, axis=(0, 1)), 2, -1)
        return _normalize(blocks.reshape(*blocks.shape[:2], -1), self.block_norm).ravel()

    def render(self, image: np.ndarray | PathLike) -> np.ndarray:
        """Draw the histogram of each cell: a line along the edges of each orientation, or a ray.

        Parameters
        ----------
        image : ndarray or path
            One image.

        Returns
        -------
        ndarray of float32 of shape (height, width)
            The picture that `skimage.feature.hog` draws with ``visualize=True``, pixel by pixel:
            where lines cross, the mean magnitudes of their orientations add up. With `signed`, rays
            from the center of the cell point to the brighter side. Cells one pixel high or wide,
            where scikit-image draws outside of the cell, have a dot.
        """
        self._check_parameters()
        image = read_item(image, None)
        self._n_blocks(image.shape)  # raises if the image is too small
        cells, cell = self._cells(image), as_pair(self.pixels_per_cell)
        drawn = _draw_cells(cells, cell, bool(self.signed))
        picture = np.zeros(image.shape[:2], np.float32)
        picture[: len(drawn), : drawn.shape[1]] = drawn
        return picture

    def _cells(self, image):
        """Return the histograms of the cells: their rows, columns and orientations."""
        inside = inside_mask(image)
        # Pixels outside may be NaN.
        image = np.ma.filled(to_rgb(image) if image.ndim == 3 else image, 0)
        if self.transform_sqrt:
            image = np.sqrt(image, dtype=image.dtype if image.dtype.kind == "f" else np.float64)
        elif image.dtype.kind != "f":
            image = image.astype(np.float32)  # exact for differences of 16-bit numbers
        cell = as_pair(self.pixels_per_cell)
        return _cell_histograms(image, inside, as_plain(self.orientations), self._degrees(), cell)

    def _degrees(self):
        """Return the angle that the orientation bins cover."""
        return 360 if self.signed else 180

    def _boxes(self, image_shape):
        block = as_pair(self.cells_per_block)
        rows, columns, down, across = np.indices((*self.n_blocks_, *block))
        corner = np.stack([rows + down, columns + across], axis=-1).reshape(-1, 2)
        boxes = np.hstack([corner, corner + 1]) * np.tile(as_pair(self.pixels_per_cell), 2)
        return np.repeat(boxes, self.orientations, axis=0)

    def _reached_boxes(self, image_shape):
        # A column is normalized by its block, whose gradients reach one pixel further.
        cell, block = as_pair(self.pixels_per_cell), as_pair(self.cells_per_block)
        first = np.stack(np.indices(self.n_blocks_), axis=-1).reshape(-1, 2)
        start = np.maximum(first * cell - 1, 0)
        stop = np.minimum((first + block) * cell + 1, image_shape[:2])
        return np.repeat(np.hstack([start, stop]), np.prod(block) * self.orientations, axis=0)

    def _columns(self):
        check_is_fitted(self, "n_blocks_")
        width = self._degrees() / as_plain(self.orientations)
        cells = range(np.prod(as_pair(self.cells_per_block)))
        rows, columns = map(range, self.n_blocks_)
        for row, column, cell, bin_ in product(rows, columns, cells, range(self.orientations)):
            yield Column(
                f"hog_r{row:02d}_c{column:02d}_b{cell}_o{bin_}",
                f"gradients of {bin_ * width:g} to {(bin_ + 1) * width:g} degrees",
            )
