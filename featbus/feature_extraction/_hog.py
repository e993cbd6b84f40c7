"""Histograms of oriented gradients."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.utils.validation import check_is_fitted

from featbus.base import FeatureExtractor, iter_images
from featbus.images import inside_mask, to_rgb

_EPS = 1e-5


def _gradient(channel):
    """Return central differences along rows and columns; 0 at the border."""
    along_rows, along_columns = np.zeros_like(channel), np.zeros_like(channel)
    along_rows[1:-1] = channel[2:] - channel[:-2]
    along_columns[:, 1:-1] = channel[:, 2:] - channel[:, :-2]
    return along_rows, along_columns


def _strongest_gradient(image):
    """Return the gradient of each pixel; of a colour image, the channel's of largest magnitude."""
    if image.ndim == 2:
        return _gradient(image)
    rows, columns = zip(*(_gradient(channel) for channel in np.moveaxis(image, 2, 0)))
    rows, columns = np.stack(rows), np.stack(columns)
    strongest = np.hypot(rows, columns).argmax(axis=0)[np.newaxis]
    return tuple(np.take_along_axis(part, strongest, 0)[0] for part in (rows, columns))


def _has_gradient(inside):
    """Tell which pixels have their own and their four neighbours' values inside the region."""
    valid = inside.copy()
    valid[1:-1] &= inside[2:] & inside[:-2]
    valid[:, 1:-1] &= inside[:, 2:] & inside[:, :-2]
    return valid


def _cell_histograms(image, inside, orientations, cell):
    """Return the histograms ``(cell rows, cell columns, orientations)`` of mean magnitude."""
    n_rows, n_columns = image.shape[0] // cell[0], image.shape[1] // cell[1]
    along_rows, along_columns = (
        part[: n_rows * cell[0], : n_columns * cell[1]].astype(np.float64, copy=False)
        for part in _strongest_gradient(image)
    )
    magnitude = np.hypot(along_columns, along_rows)
    if inside is not None:
        magnitude *= _has_gradient(inside)[: n_rows * cell[0], : n_columns * cell[1]]
    degrees = np.rad2deg(np.arctan2(along_rows, along_columns)) % 180
    # A rounding error below 0 degrees comes out as 180, which is 0.
    index = np.floor_divide(degrees, 180 / orientations).astype(np.intp) % orientations
    index += orientations * (np.arange(n_columns * cell[1]) // cell[1])
    index += orientations * n_columns * (np.arange(n_rows * cell[0]) // cell[0])[:, np.newaxis]
    sums = np.bincount(
        index.ravel(), magnitude.ravel(), minlength=n_rows * n_columns * orientations
    )
    return sums.reshape(n_rows, n_columns, orientations) / (cell[0] * cell[1])


def _normalize(blocks, norm):
    """Normalize each block; the last three axes are its cells and orientations."""
    axes = (-3, -2, -1)
    if norm.startswith("L1"):
        blocks = blocks / (blocks.sum(axes, keepdims=True) + _EPS)
        return np.sqrt(blocks) if norm == "L1-sqrt" else blocks
    blocks = blocks / np.sqrt((blocks**2).sum(axes, keepdims=True) + _EPS**2)
    if norm == "L2-Hys":
        blocks = np.minimum(blocks, 0.2)
        blocks /= np.sqrt((blocks**2).sum(axes, keepdims=True) + _EPS**2)
    return blocks


_NORMS = ("L1", "L1-sqrt", "L2", "L2-Hys")


class HOG(FeatureExtractor):
    """Histograms of oriented gradients.

    Each cell of the image holds a histogram of its gradients' orientations, weighted by their
    magnitude; the histograms are normalized over overlapping blocks of cells ([1]_). Definition and
    numbers are those of `skimage.feature.hog`.

    Parameters
    ----------
    orientations : int, default=9
        Number of bins over 0..180 degrees.
    pixels_per_cell : tuple of int, default=(8, 8)
        Height and width of a cell in pixels.
    cells_per_block : tuple of int, default=(3, 3)
        Height and width of a block in cells.
    block_norm : {"L1", "L1-sqrt", "L2", "L2-Hys"}, default="L2-Hys"
        How a block is normalized.
    transform_sqrt : bool, default=False
        Whether to take the square root of the image first (gamma compression).
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        The rows' dtype; the computation is in double precision.

    Attributes
    ----------
    n_blocks_ : tuple of int
        Block rows and block columns of the images, learned from the first image seen in `fit`.

    See Also
    --------
    Resize : Bring images to one size before; the number of features follows the size.
    LBP : Local binary patterns.

    Notes
    -----
    Pixels outside the region of a masked image, and those with a neighbour outside, have no vote.
    Of colour images, each pixel votes with the channel of largest gradient.

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
    >>> str(hog.get_feature_names_out()[-1])[:4]
    'hog_'
    """

    def __init__(
        self,
        *,
        orientations=9,
        pixels_per_cell=(8, 8),
        cells_per_block=(3, 3),
        block_norm="L2-Hys",
        transform_sqrt=False,
        dtype=np.float32,
    ):
        self.orientations = orientations
        self.pixels_per_cell = pixels_per_cell
        self.cells_per_block = cells_per_block
        self.block_norm = block_norm
        self.transform_sqrt = transform_sqrt
        self.dtype = dtype

    def fit(self, X, y=None):
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
        batch = self._check_batch(X, reset=True)
        first = next(iter_images(batch[:1]))
        self.n_blocks_ = self._blocks(first).shape[:2]
        return self

    def _fingerprint_params(self):
        # Images of another size have other columns.
        return {**super()._fingerprint_params(), "n_blocks_": getattr(self, "n_blocks_", None)}

    def _iter_rows(self, images):
        expected = getattr(self, "n_blocks_", None)
        for index, blocks in enumerate(super()._iter_rows(images)):
            expected = expected or blocks.shape[:2]
            if blocks.shape[:2] != expected:
                raise ValueError(
                    f"image {index}: found {blocks.shape[:2]} blocks of cells, expected {expected} "
                    "as in the first image. HOG's features follow the size: put Resize before it."
                )
            yield blocks.ravel()

    def _extract(self, image):
        return self._blocks(image)

    def _blocks(self, image):
        """Return the normalized blocks: rows, columns, cells down, cells across, orientations."""
        self._check_parameters()
        self._check_size(image)
        inside = inside_mask(image)
        image = to_rgb(np.ma.getdata(image)) if image.ndim == 3 else np.ma.getdata(image)
        if image.dtype.kind != "f":
            image = image.astype(np.float64)
        if self.transform_sqrt:
            image = np.sqrt(image)
        cells = _cell_histograms(image, inside, self.orientations, self.pixels_per_cell)
        blocks = sliding_window_view(cells, self.cells_per_block, axis=(0, 1))
        return _normalize(np.moveaxis(blocks, 2, -1), self.block_norm)

    def _check_parameters(self):
        if self.block_norm not in _NORMS:
            raise ValueError(f"block_norm is {self.block_norm!r}, expected one of {_NORMS}.")
        self._checked_dtype()

    def _check_size(self, image):
        smallest = tuple(np.multiply(self.pixels_per_cell, self.cells_per_block).tolist())
        if image.shape[0] < smallest[0] or image.shape[1] < smallest[1]:
            raise ValueError(
                f"the image is {image.shape[0]} x {image.shape[1]} pixels, expected at least "
                f"{smallest[0]} x {smallest[1]}: one block of {self.cells_per_block} cells of "
                f"{self.pixels_per_cell} pixels. Use larger images or smaller cells."
            )

    def get_feature_names_out(self, input_features=None):
        """Return the columns' names.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of str
            ``hog_r03_c02_b1_o4``: block row 3, block column 2, the block's second cell (row by
            row), fifth orientation.
        """
        check_is_fitted(self, "n_blocks_")
        rows, columns = self.n_blocks_
        cells = self.cells_per_block[0] * self.cells_per_block[1]
        return np.array(
            [
                f"hog_r{row:02d}_c{column:02d}_b{cell}_o{orientation}"
                for row in range(rows)
                for column in range(columns)
                for cell in range(cells)
                for orientation in range(self.orientations)
            ],
            dtype=object,
        )
