"""Visual words: which kinds of patches an image is made of."""

from __future__ import annotations

from numbers import Integral
from typing import Literal, Self

import cv2
import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from skimage.feature import daisy
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.utils.validation import check_is_fitted

from featbus.base import Column, FeatureExtractor, naming_paths
from featbus.color import to_float, to_gray, to_uint8
from featbus.images import ImageError, at_index
from featbus.io import read_item
from featbus.masks import fill_mask, inside_mask
from featbus.parameters import POSITIVE_INTEGER, Interval, StrOptions
from featbus.typing import Images, PathLike

_STRIP = 1 << 18  # pixels


def _describe_daisy(gray, centers, radius, step):
    """Return DAISY descriptors as rows, computed strip by strip.

    scikit-image computes descriptors at all pixels, 1 kB each.
    """
    per_strip = max(_STRIP // (step * gray.shape[1]), 1)
    margin = (2 * radius + step) // step  # the smoothing reaches two radii beyond a patch
    strips = []
    for first in range(0, len(np.unique(centers[:, 0])), per_strip):
        start = max(first - margin, 0)
        strip = gray[step * start : step * (first + per_strip) + 4 * radius + 1]
        found = daisy(to_float(strip), step=step, radius=radius)[first - start :][:per_strip]
        strips.append(found.reshape(-1, found.shape[2]))
    return np.concatenate(strips)


def _describe_sift(gray, centers, radius, step):
    """Return upright SIFT descriptors as rows; OpenCV's patch has 6 times the size of its point."""
    points = [cv2.KeyPoint(column, row, radius / 3, 0) for row, column in centers.tolist()]
    return cv2.SIFT_create().compute(to_uint8(gray), points)[1]


_DESCRIPTORS = {"daisy": _describe_daisy, "sift": _describe_sift}


class VisualWords(FeatureExtractor):
    """Histogram of visual words: which kinds of patches an image is made of.

    `fit` describes patches of the training images by DAISY or SIFT and groups them by k-means; the
    centers of the groups are the words. The row of an image holds, for each word, the share of its
    patches that are closest to it ([1]_, [2]_). In a pipeline, the words are learned from the
    training part of each fold only.

    Read more in the :ref:`User Guide <visual_words>`.

    Parameters
    ----------
    descriptor : {"daisy", "sift"}, default="daisy"
        How a patch is described: by DAISY ([3]_), 200 numbers, or SIFT ([4]_), 128 numbers.
    n_words : int, default=64
        Number of words, the columns.
    size : int, default=32
        Height and width of a patch in pixels, from 4 on. Half of it, rounded down, is the radius of
        DAISY; a cell of SIFT is a fourth as wide.
    step : int, default=8
        Distance between the centers of adjacent patches, in pixels.
    max_descriptors : int, default=20000
        Largest number of patches that words are learned from, drawn at random; each image has an
        equal share of them, as far as it has as many patches.
    random_state : int, default=0
        Seed of the draw and of k-means.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Data type of the rows; descriptors and distances are in single precision.

    Attributes
    ----------
    vocabulary_ : ndarray of float32 of shape (n_words, n_numbers)
        The words: means of descriptors.

    See Also
    --------
    HOG : Directions of edges, by position.
    LBP : Patterns of single pixels and their neighbors, which are not learned.

    Notes
    -----
    Columns are named ``daisy_word_07``: the share of patches whose nearest word, in Euclidean
    distance, is the eighth of `vocabulary_`. A row sums to 1 (L1 norm); words are not weighted by
    how rare they are. Which patch a word stands for differs from fit to fit, and so does the
    meaning of a column.

    Patches lie on a grid, whole patches inside the image only, and are not turned upright: a
    rotated image has other words. Their size is in pixels, so put `Resize` or `Resample` first
    where images differ in scale. Color images are converted to their luma.

    Of a masked image, patches with their center inside the region are used. Pixels outside get the
    fill value: patches at the border of the region contain its outline.

    DAISY is that of `skimage.feature.daisy` with its defaults, in single precision. 200 numbers are
    computed at each pixel; images of more than 260,000 pixels are computed in strips. SIFT is that
    of ``cv2.SIFT``, in 8 bits: a 12-bit image in uint16 keeps 4 bits, so stretch its contrast
    first, as by `ContrastStretch`. Both ignore brightness, and contrast for the most part.

    `fit` reads one image at a time and keeps `max_descriptors` rows of 128 or 200 numbers: 16 MB
    with the defaults. Words are the same for images from files and from arrays. They depend on the
    order of the images.

    References
    ----------
    .. [1] Csurka G, Dance CR, Fan L, Willamowski J, Bray C. Visual categorization with bags of
       keypoints. Workshop on Statistical Learning in Computer Vision, ECCV 2004, 1-22.
    .. [2] Sivic J, Zisserman A. Video Google: a text retrieval approach to object matching in
       videos. ICCV 2003, 1470-1477, doi:10.1109/ICCV.2003.1238663.
    .. [3] Tola E, Lepetit V, Fua P. DAISY: an efficient dense descriptor applied to wide-baseline
       stereo. IEEE TPAMI 32 (2010) 815-830, doi:10.1109/TPAMI.2009.77.
    .. [4] Lowe DG. Distinctive image features from scale-invariant keypoints. IJCV 60 (2004)
       91-110, doi:10.1023/B:VISI.0000029664.99615.94.

    Examples
    --------
    >>> from featbus import VisualWords, make_breast_ultrasound
    >>> images = make_breast_ultrasound(4, random_state=0).images
    >>> words = VisualWords(n_words=8, step=16).fit(images)
    >>> rows = words.transform(images)
    >>> rows.shape, rows.sum(axis=1).round(6).tolist()
    ((4, 8), [1.0, 1.0, 1.0, 1.0])
    >>> str(words.get_feature_names_out()[7])
    'daisy_word_07'
    """

    _requires_fit = True
    _parameter_constraints = {
        "descriptor": [StrOptions(set(_DESCRIPTORS))],
        "n_words": [POSITIVE_INTEGER],
        "size": [Interval(Integral, 4, None, closed="left")],
        "step": [POSITIVE_INTEGER],
        "max_descriptors": [POSITIVE_INTEGER],
        "random_state": [Interval(Integral, 0, 2**32 - 1, closed="both")],
    }

    def __init__(
        self,
        descriptor: Literal["daisy", "sift"] = "daisy",
        *,
        n_words: int = 64,
        size: int = 32,
        step: int = 8,
        max_descriptors: int = 20_000,
        random_state: int = 0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.descriptor = descriptor
        self.n_words = n_words
        self.size = size
        self.step = step
        self.max_descriptors = max_descriptors
        self.random_state = random_state
        self.dtype = dtype

    def fit(self, X: Images, y: ArrayLike | None = None) -> Self:
        """Learn the words.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`; sizes free to differ.
        y : None
            Ignored.

        Returns
        -------
        self : VisualWords
            The estimator itself.

        Raises
        ------
        ImageError
            If an image is invalid or too small, or no patch has its center inside the region; the
            message names the image.
        ValueError
            If fewer patches than `n_words` are drawn.
        """
        self._check_parameters()
        batch = self._check_batch(X, reset=True)
        with naming_paths(batch):
            sample = np.concatenate(list(self._draw(batch)))
        if len(sample) < self.n_words:
            raise ValueError(
                f"Found {len(sample)} patches in n_samples={len(batch)} images, expected at least "
                f"n_words={self.n_words}: use fewer words, more images or a larger max_descriptors."
            )
        kmeans = MiniBatchKMeans(int(self.n_words), random_state=self.random_state, n_init=3)
        self.vocabulary_ = kmeans.fit(sample).cluster_centers_
        return self

    def _draw(self, batch):
        """Yield some descriptors of each image, at most `max_descriptors` of all."""
        rng = np.random.default_rng(self.random_state)
        n_drawn = np.diff(np.arange(len(batch) + 1) * int(self.max_descriptors) // len(batch))
        for index, image in enumerate(self._iter_images(batch)):
            with at_index(index):
                _, descriptors = self._describe(image)
            n_kept = min(n_drawn[index], len(descriptors))
            yield descriptors[rng.choice(len(descriptors), n_kept, replace=False)]

    def _describe(self, image):
        """Return row and column of the centers of patches, and their descriptors."""
        radius, step = int(self.size) // 2, int(self.step)
        height, width = image.shape[:2]
        if min(height, width) <= 2 * radius:
            raise ImageError(
                f"found {height} x {width} pixels, expected at least {2 * radius + 1} x "
                f"{2 * radius + 1}: one patch. Use larger images or a smaller size."
            )
        grid = np.mgrid[radius : height - radius : step, radius : width - radius : step]
        centers, inside = grid.reshape(2, -1).T, inside_mask(image)
        kept = np.ones(len(centers), bool) if inside is None else inside[tuple(centers.T)]
        if not kept.any():
            raise ImageError(
                "found no patch with its center inside the region, expected one or more. Use a "
                "larger region, or a smaller step or size."
            )
        describe, gray = _DESCRIPTORS[self.descriptor], fill_mask(to_gray(image))
        return centers[kept], describe(gray, centers, radius, step)[kept]

    def _iter_rows(self, prepared):
        check_is_fitted(self)  # before an image is read
        return super()._iter_rows(prepared)

    def _extract(self, image):
        _, words, _ = self.find_words(image)
        return np.bincount(words, minlength=len(self.vocabulary_)) / len(words)

    def find_words(self, image: np.ndarray | PathLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the word of each patch of an image.

        Parameters
        ----------
        image : ndarray or path
            One image.

        Returns
        -------
        centers : ndarray of int of shape (n_patches, 2)
            Row and column of the center of each patch.
        words : ndarray of int of shape (n_patches,)
            The index of its word in `vocabulary_`.
        distances : ndarray of shape (n_patches,)
            The Euclidean distance between its descriptor and the word.
        """
        self._check_parameters()
        check_is_fitted(self)
        centers, descriptors = self._describe(read_item(image, None))
        return centers, *pairwise_distances_argmin_min(descriptors, self.vocabulary_)

    def _columns(self):
        digits = max(2, len(str(self.n_words - 1)))
        for word in range(self.n_words):
            name = f"{self.descriptor}_word_{word:0{digits}d}"
            yield Column(name, f"share of patches that are closest to word {word}")
