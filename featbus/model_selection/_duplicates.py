"""Near-duplicates: images that show the same thing, found by hash and by correlation."""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import fft
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.utils import check_scalar
from tqdm import tqdm

from featbus.base import _naming_image
from featbus.images import as_batch, check_image, is_path, resize, to_float, to_gray
from featbus.io import read_image

_SIDE = 32
_HASH_SIDE = 8
_BITS = _HASH_SIDE**2
# The lowest frequencies of the DCT-II of a column of a thumbnail.
_BASIS = fft.dct(np.eye(_SIDE), axis=0, norm="ortho")[:_HASH_SIDE].astype(np.float32)
# A thumbnail that spans less than this share of black to white is flat: the rest is rounding.
_FLAT = 1e-4
# Images on either side of one matrix product: its result takes 16 MB.
_BLOCK = 2048


def map_images(function, images, *, n_jobs=None, verbose=False):
    """Call ``function(item, image)`` for each image, with one image a thread in memory.

    Parameters
    ----------
    function : callable
        Gets an item of the batch and the checked image.
    images : batch of images
        See :ref:`images`.
    n_jobs : int or None, default=None
        Number of threads.
    verbose : bool, default=False
        Whether to show a progress bar, if on a terminal.

    Returns
    -------
    list
        What the function returned.
    """
    batch = as_batch(images)
    tasks = (delayed(_call)(function, index, item) for index, item in enumerate(batch))
    results = Parallel(n_jobs=n_jobs, backend="threading", return_as="generator")(tasks)
    hidden = None if verbose else True  # None: hidden unless on a terminal
    return list(tqdm(results, "images", len(batch), unit="image", disable=hidden))


def _call(function, index, item):
    with _naming_image(index):
        if is_path(item):
            image = check_image(read_image(item), f"the file {str(item)!r}")
        else:
            image = check_image(item)
        return function(item, image)


def thumbnail(image):
    """Return a checked image as float32 (32, 32), grey 0..1; the mask does not count."""
    return resize(to_float(to_gray(np.ma.getdata(image))), (_SIDE, _SIDE))


def _thumbnail_of(item, image):
    return thumbnail(image)


class Sketches(NamedTuple):
    """What is compared of images: rows of numbers whose products say how alike two images are.

    Attributes
    ----------
    pixels : ndarray of float32 of shape (n_images, 1024)
        Thumbnails of mean 0 and norm 1; 0 where the image is flat.
    hashes : ndarray of float32 of shape (n_images, 64)
        The bits of the perceptual hash as 1 and -1; 0 where the image has none.
    flat : ndarray of shape (n_images,)
        The grey of flat images, 0..255; NaN for all others.
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
    """Return the bits of the perceptual hashes as 1 and -1."""
    low = (_BASIS @ thumbnails @ _BASIS.T).reshape(-1, _BITS)
    bits = low > np.median(low, axis=1, keepdims=True)
    hashes = np.where(bits, 1, -1).astype(np.float32)
    # Where many frequencies are exactly 0, as in a ramp, so are their bits in every such picture.
    hashes[bits.sum(axis=1) < _BITS // 2 - 8] = 0
    return hashes


def join(labels, left, right, *, max_distance, min_correlation, need_both=False):
    """Give one label to images that are alike, and to all that are linked through others.

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
        Whether hash and correlation both have to agree; one suffices otherwise.

    Returns
    -------
    ndarray of int of shape (n_images,)
        Labels from 0 on, in the order in which they appear.
    """
    n_images = len(labels)
    for top in range(0, n_images, _BLOCK):
        for start in range(top, n_images, _BLOCK):
            rows, columns = slice(top, top + _BLOCK), slice(start, start + _BLOCK)
            # The distance of two hashes of +-1 is (64 - their product) / 2, exactly.
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


def link(labels, left, right):
    """Return the labels after the images `left` were linked with the images `right`.

    Parameters
    ----------
    labels : ndarray of int of shape (n_images,)
        Labels so far.
    left, right : ndarray of int of shape (n_links,)
        Positions of images.

    Returns
    -------
    ndarray of int of shape (n_images,)
        Labels from 0 on, in the order in which they appear.
    """
    n_labels = labels.max() + 1
    edges = np.ones(len(left), dtype=bool), (labels[left], labels[right])
    graph = coo_array(edges, shape=(n_labels, n_labels))
    return pd.factorize(connected_components(graph, directed=False)[1][labels])[0]


def unite(*labelings):
    """Return labels that are the same for images that any of the labelings puts together.

    Parameters
    ----------
    *labelings : array_like of shape (n_images,)
        Labels of the same images.

    Returns
    -------
    ndarray of int of shape (n_images,)
        Labels from 0 on, in the order in which they appear.
    """
    labels = np.arange(len(labelings[0]))
    for labeling in labelings:
        codes = pd.factorize(np.asarray(labeling))[0]
        first = np.unique(codes, return_index=True)[1]
        labels = link(labels, np.arange(len(labels)), first[codes])
    return labels


def join_flat(labels, sketches):
    """Give one label to flat images of the same grey."""
    flat = np.flatnonzero(~np.isnan(sketches.flat))
    first = np.unique(sketches.flat[flat], return_index=True, return_inverse=True)[1:]
    return link(labels, flat, flat[first[0][first[1]]])


def find_near_duplicates(
    images, *, max_distance=8, min_correlation=0.97, n_jobs=None, verbose=False
):
    """Group images that are copies or near-copies of each other.

    Neighbouring frames, crops, the same picture with and without marks, other files of it: two
    images are near-duplicates if their perceptual hashes or their thumbnails nearly agree. Groups
    are closed: if A is like B and B like C, all three are one group. Keep groups on one side of
    every split.

    Parameters
    ----------
    images : batch of images
        See :ref:`images`. Paths are read one at a time: what stays in memory is 5 kB an image.
        Masks do not count.
    max_distance : int, default=8
        Largest number of different bits, of 64, of two perceptual hashes. -1 leaves the hashes out.
    min_correlation : float, default=0.97
        Smallest correlation of two thumbnails of 32 by 32 pixels. 2 leaves the thumbnails out.
    n_jobs : int or None, default=None
        Number of threads that read images, see `joblib.Parallel`.
    verbose : bool, default=False
        Whether to show a progress bar, if on a terminal.

    Returns
    -------
    ndarray of int of shape (n_images,)
        The group of each image, 0 to n_groups - 1 in the order in which they first appear.

    Raises
    ------
    ValueError
        If `images` is no batch of images, or an image is invalid; the message names the image.

    See Also
    --------
    audit : Look for these and other leaks across the folds of a cross-validation.

    Notes
    -----
    An image is brought to grey and averaged to 32 by 32 pixels, whatever its shape. The hash is
    pHash ([1]_): of the 8 by 8 lowest frequencies of the thumbnail's discrete cosine transform,
    which are above their median. Brightness and contrast change neither hash nor correlation.

    Flat images, whose thumbnail has one grey, are near-duplicates if that grey is the same of 256.
    They are like no other image. Mirrored or turned copies are not found.

    All pairs are compared, by products of matrices of 2,048 images each. The time grows with the
    square of the number of images.

    Pictures that are alike by standard, such as mammograms or chest radiographs in one view, are
    near-duplicates by this measure without being so. Look at some, and be stricter:
    ``max_distance=2, min_correlation=0.995``.

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
    check_scalar(max_distance, "max_distance", Integral, min_val=-1, max_val=_BITS)
    check_scalar(min_correlation, "min_correlation", Real, min_val=-1)
    thumbnails = map_images(_thumbnail_of, images, n_jobs=n_jobs, verbose=verbose)
    sketches = Sketches.of(np.array(thumbnails))
    return near_duplicates(sketches, max_distance, min_correlation)


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
    labels = join_flat(np.arange(len(sketches.flat)), sketches)
    return join(
        labels, sketches, sketches, max_distance=max_distance, min_correlation=min_correlation
    )
