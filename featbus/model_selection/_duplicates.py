"""Near-duplicates: images that show the same scene, found by hash and by correlation."""

from __future__ import annotations

from itertools import count
from numbers import Integral, Real
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from scipy import fft
from tqdm import tqdm

from featbus.groups import link
from featbus.images import ImageError, ImageErrors, as_batch, at_index, resize, to_float, to_gray
from featbus.io import read_item
from featbus.parameters import N_JOBS, Interval, check_parameters

if TYPE_CHECKING:
    from featbus.typing import Images

_SIDE = 32
_HASH_SIDE = 8
_BITS = _HASH_SIDE**2
# The lowest frequencies of the DCT-II, one per row, for a column of a thumbnail.
_BASIS = fft.dct(np.eye(_SIDE), axis=0, norm="ortho")[:_HASH_SIDE].astype(np.float32)
# A thumbnail whose range is below this share of black to white is flat: the rest is rounding.
_FLAT = 1e-4
# Rows and columns of one matrix product, whose result takes 16 MB.
_BLOCK = 2048
_PARAMETER_CONSTRAINTS = {
    "max_distance": [Interval(Integral, -1, _BITS, closed="both")],
    "min_correlation": [Interval(Real, -1, None, closed="left")],
    "n_jobs": N_JOBS,
    "verbose": ["verbose"],
}


def map_images(function, batch, *others, n_jobs=None, verbose=False):
    """Call ``function(image, *others)`` for each image, one image per thread in memory.

    Parameters
    ----------
    function : callable
        Takes a checked image, and the item of each of `others` at its position.
    batch : ndarray or list
        What `featbus.images.as_batch` returned.
    *others : sequence
        As long as `batch`.
    n_jobs : int or None, default=None
        Number of threads.
    verbose : bool, default=False
        Whether to show a progress bar, if on a terminal.

    Returns
    -------
    list
        The results of `function`.

    Raises
    ------
    ImageError
        If images are invalid, after all have been read: an `ImageErrors` if there are several.
    """

    def call(index, item, *rest):
        try:
            with at_index(index, item):
                return function(read_item(item, index), *rest)
        except ImageError as error:
            return error.at(error.index, error.path)  # a traceback would keep the pixels

    tasks = (delayed(call)(*task) for task in zip(count(), batch, *others))
    results = Parallel(n_jobs=n_jobs, backend="threading", return_as="generator")(tasks)
    hidden = None if verbose else True  # None: hidden unless on a terminal
    results = list(tqdm(results, "images", len(batch), unit="image", disable=hidden))
    errors = [result for result in results if isinstance(result, ImageError)]
    if errors:
        raise errors[0] if len(errors) == 1 else ImageErrors(errors, len(batch))
    return results


def thumbnail(image):
    """Return a checked image as float32 (32, 32), gray 0..1; its mask is ignored."""
    return resize(to_float(to_gray(np.ma.getdata(image))), (_SIDE, _SIDE))


class Sketches(NamedTuple):
    """Rows of numbers for each image, whose products tell how similar two images are.

    Attributes
    ----------
    pixels : ndarray of float32 of shape (n_images, 1024)
        Thumbnails of mean 0 and norm 1; 0 where the image is flat.
    hashes : ndarray of float32 of shape (n_images, 64)
        The bits of the perceptual hash as 1 and -1; 0 where the image has none.
    flat : ndarray of shape (n_images,)
        The gray value of flat images, 0..255; NaN for all others.
    """

    pixels: np.ndarray
    hashes: np.ndarray
    flat: np.ndarray

    @classmethod
    def of(cls, thumbnails):
        """Return the sketches of thumbnails (n_images, 32, 32)."""
        pixels = thumbnails.reshape(len(thumbnails), -1)
        mean = pixels.mean(axis=1, keepdims=True)
        is_flat = np.ptp(pixels, axis=1) < _FLAT
        pixels = pixels - mean
        norm = np.linalg.norm(pixels, axis=1, keepdims=True)
        np.divide(pixels, norm, out=pixels, where=~is_flat[:, np.newaxis])
        pixels[is_flat] = 0
        hashes = _hashes(thumbnails)
        hashes[is_flat] = 0
        return cls(pixels, hashes, np.where(is_flat, np.rint(255 * mean[:, 0]), np.nan))


def _hashes(thumbnails):
    """Return the bits of the perceptual hashes as 1 and -1; 0 for images without a hash."""
    low = (_BASIS @ thumbnails @ _BASIS.T).reshape(-1, _BITS)
    bits = low > np.median(low, axis=1, keepdims=True)
    hashes = np.where(bits, 1, -1).astype(np.float32)
    # Many frequencies of a ramp are exactly 0: ramps would share these bits, whatever they show.
    hashes[bits.sum(axis=1) < _BITS // 2 - 8] = 0
    return hashes


def link_similar(labels, left, right, *, max_distance, min_correlation, need_both=False):
    """Join the labels of images that are similar.

    Parameters
    ----------
    labels : ndarray of int of shape (n_images,)
        Labels so far, such as ``numpy.arange(n_images)``.
    left, right : Sketches
        Image i of `left` is compared with the images after i of `right`.
    max_distance : int
        Largest Hamming distance of the hashes.
    min_correlation : float
        Smallest correlation of the thumbnails.
    need_both : bool, default=False
        Whether hash and correlation must both agree; one suffices otherwise.

    Returns
    -------
    ndarray of int of shape (n_images,)
        Labels, see `featbus.groups.link`.
    """
    n_images = len(labels)
    for top in range(0, n_images, _BLOCK):
        for start in range(top, n_images, _BLOCK):
            rows, columns = slice(top, top + _BLOCK), slice(start, start + _BLOCK)
            # The Hamming distance of two hashes of +-1 is exactly (64 - their product) / 2.
            alike = left.hashes[rows] @ right.hashes[columns].T >= _BITS - 2 * max_distance
            if top == start:
                np.fill_diagonal(alike, False)
            a, b = np.arange(alike.shape[0]), np.arange(alike.shape[1])
            if need_both:
                a, b = alike.any(axis=1).nonzero()[0], alike.any(axis=0).nonzero()[0]
            correlation = left.pixels[rows][a] @ right.pixels[columns][b].T >= min_correlation
            if need_both:
                alike = alike[np.ix_(a, b)] & correlation
            else:
                alike |= correlation
            if alike.any():
                i, j = np.nonzero(alike)
                labels = link(labels, top + a[i], start + b[j])
    return labels


def link_flat(labels, sketches):
    """Join the labels of flat images of the same gray value."""
    flat = np.flatnonzero(~np.isnan(sketches.flat))
    first, codes = np.unique(sketches.flat[flat], return_index=True, return_inverse=True)[1:]
    return link(labels, flat, flat[first[codes]])


def find_near_duplicates(
    images: Images,
    *,
    max_distance: int = 8,
    min_correlation: float = 0.97,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> np.ndarray:
    """Group images that are copies or near-copies of each other.

    Two images are near-duplicates if their perceptual hashes or their thumbnails nearly agree:
    neighboring frames, crops, the same picture with and without marks. Groups are transitive: if A
    matches B and B matches C, all three form one group. Keep each group on one side of every split.

    Parameters
    ----------
    images : batch of images
        See :ref:`images`. Paths are read one at a time; 5 kB per image stay in memory. Masks are
        ignored.
    max_distance : int, default=8
        Largest number of bits, out of 64, in which two perceptual hashes differ. -1 disables the
        comparison of hashes.
    min_correlation : float, default=0.97
        Smallest correlation of two thumbnails of 32 by 32 pixels. 2 disables the comparison of
        thumbnails.
    n_jobs : int or None, default=None
        Number of threads that read images, see `joblib.Parallel`.
    verbose : bool, default=False
        Whether to show a progress bar, if on a terminal.

    Returns
    -------
    ndarray of int of shape (n_images,)
        The group of each image, from 0, in the order in which groups first appear.

    Raises
    ------
    ImageError
        If images are invalid; the message names them.
    ValueError
        If `images` is no batch of images, or a parameter is invalid.

    See Also
    --------
    audit : Look for these and other leaks across the folds of a cross-validation.

    Notes
    -----
    Images are converted to gray and averaged to 32 by 32 pixels, whatever their shape. The hash is
    pHash [1]_: for each of the 8 by 8 lowest frequencies of the thumbnail's discrete cosine
    transform, one bit tells whether it is above their median. Neither the hash nor the correlation
    depends on brightness or contrast.

    Flat images, whose thumbnail has a single gray value, are near-duplicates if that value is the
    same, rounded to 256 levels; they match no other image. Mirrored and rotated copies are not
    found.

    All pairs are compared, by matrix products of 2,048 images each. The time grows with the square
    of the number of images.

    Standard views, such as mammograms or chest radiographs, can pass for near-duplicates without
    being copies. Look at some pairs and choose stricter thresholds, such as ``max_distance=2,
    min_correlation=0.995``.

    References
    ----------
    .. [1] Zauner C. Implementation and benchmarking of perceptual image hash functions. Thesis,
       Upper Austria University of Applied Sciences, Hagenberg, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from featbus import find_near_duplicates, make_breast_ultrasound
    >>> images = make_breast_ultrasound(3, random_state=0).images
    >>> brighter = np.clip(images[0] * 1.2, 0, 255).astype(np.uint8)
    >>> find_near_duplicates([*images, brighter[4:, 4:]])
    array([0, 1, 2, 0])
    """
    options = {"max_distance": max_distance, "min_correlation": min_correlation}
    check_parameters(_PARAMETER_CONSTRAINTS, {**options, "n_jobs": n_jobs, "verbose": verbose})
    thumbnails = map_images(thumbnail, as_batch(images), n_jobs=n_jobs, verbose=verbose)
    return near_duplicates(Sketches.of(np.array(thumbnails)), **options)


def near_duplicates(sketches, max_distance=8, min_correlation=0.97):
    """Group near-duplicates, see `find_near_duplicates`.

    Parameters
    ----------
    sketches : Sketches
        The images.
    max_distance : int, default=8
        Largest Hamming distance of the hashes.
    min_correlation : float, default=0.97
        Smallest correlation of the thumbnails.

    Returns
    -------
    ndarray of int of shape (n_images,)
        The group of each image.
    """
    labels = link_flat(np.arange(len(sketches.flat)), sketches)
    return link_similar(
        labels, sketches, sketches, max_distance=max_distance, min_correlation=min_correlation
    )
