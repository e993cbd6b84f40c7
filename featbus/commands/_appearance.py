"""How images look, and whether one is like the training images."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import GroupKFold
from sklearn.utils import check_consistent_length

from featbus.base import iter_images
from featbus.color import to_gray, to_rgb
from featbus.groups import check_groups
from featbus.images import as_batch
from featbus.masks import fill_mask
from featbus.resizing import resize
from featbus.typing import Images

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_N_BANDS = 5
_FLOOR = 1e-3  # of contrasts, before their logarithm: half a level of 256
MEASURES = [
    *("color", "color_95"),
    *(f"quantile_{round(100 * q):02d}" for q in _QUANTILES),
    *("dark", "bright"),
    *(f"contrast_{band}" for band in range(_N_BANDS + 1)),
    *(f"evenness_{band}" for band in range(_N_BANDS)),
    *(f"direction_{band}" for band in range(_N_BANDS)),
    *(f"place_{row}_{column}" for row in range(3) for column in range(3)),
]
_FEWEST = 10  # groups that a mean is kept of
_QUANTILE = 0.98
# Added to standard deviations, so that what never varied in training may vary a little.
_TOLERANCE = 0.02
# Spread of measures that are nonzero in few groups: wide, so that these do not set the limit.
_RARE_SPREAD = 0.1


class FewImagesError(ValueError):
    """There are so few images that a summary of them would show single ones."""


def describe_training_images(images: Images, *, groups: ArrayLike | None = None) -> dict:
    """Describe training images in few numbers, for the card of the model.

    Read more in the :ref:`User Guide <reference_of_card>`.

    Parameters
    ----------
    images : batch of images
        See :ref:`images`.
    groups : array_like of shape (n_images,), default=None
        Which images belong together, such as those of one patient. None counts each image as its
        own patient: then the means protect images, not patients.

    Returns
    -------
    dict
        Plain JSON, the entry ``"reference"`` of a card: ``card={"reference": ...}`` of
        `featbus.save`. `train` adds it by itself.

        All means are over groups, of the mean within each: a patient counts once, with many
        images or few.

        The names of 34 ``"measures"`` of an image, which describe its color, levels, texture and
        layout, independent of the model; their mean, ``"center"``, and their standard deviation
        plus 0.02, ``"spread"``; the ``"limit"`` of the distance, above which an image counts as
        unlike these; and the number of ``"images"``.

    Raises
    ------
    ImageError
        If an image is invalid; the message names the image.
    ValueError
        If there are fewer than ten groups: a summary of so few would show single patients.

    See Also
    --------
    examine_image : Uses it.

    Notes
    -----
    The distance of an image is the root mean square of its measures, each less its center and
    divided by its spread: 1 is typical. Each training image is measured from center and spread of
    the other nine of ten folds, which keep groups together. The limit is the 0.98 quantile of these
    distances, with the rank that conformal prediction uses for one additional group [1]_, and at
    least 1. Each image is weighted by the inverse of the size of its group. So about 2% of the
    images of new groups of the same kind count as unlike. With fewer than 99 groups, the limit is
    the largest of the distances, and with `n` groups, about 1 in `n` + 1 exceeds it. Images of
    another device count as unlike more often. ``benchmarks/comparisons/unfamiliar_images.py``
    measures how often, and how many images of other kinds are noticed.

    The mean of a measure that is nonzero in only a few groups, such as color, would reveal these
    groups. If fewer than ten groups have nonzero values, the center is set to 0 and the spread to
    0.1.

    An image that looks like the training images can still be one for which the model was not made,
    such as an ultrasound image of another organ.

    References
    ----------
    .. [1] Dunn R, Wasserman L, Ramdas A. Distribution-free prediction sets for two-layer
       hierarchical models. Journal of the American Statistical Association 118 (2023) 2491-2502.

    Examples
    --------
    >>> from featbus import make_breast_ultrasound
    >>> from featbus.commands import describe_training_images
    >>> data = make_breast_ultrasound(40, random_state=0)
    >>> reference = describe_training_images(data.images, groups=data.groups)
    >>> len(reference["measures"]), reference["images"]
    (34, 40)
    """
    batch = as_batch(images)
    groups = np.arange(len(batch)) if groups is None else check_groups(groups)
    check_consistent_length(batch, groups)
    if (n_groups := len(np.unique(groups))) < _FEWEST:
        raise FewImagesError(
            f"Found {n_groups} groups of images, expected at least {_FEWEST}: a summary of so few "
            "would show single patients. Leave it out of the card."
        )
    return _summarize(np.array([measure_appearance(image) for image in iter_images(batch)]), groups)


def _summarize(rows, groups):
    """Return center and spread of the measures, and the limit of the distance."""
    groups, distances = np.asarray(groups), np.empty(len(rows))
    rare = _is_rare(rows, groups)
    for train, test in GroupKFold(10).split(rows, groups=groups):
        known = _center_and_spread(rows[train], groups[train], rare)
        distances[test] = _distances(rows[test], *known)
    center, spread = _center_and_spread(rows, groups, rare)
    return {
        "measures": MEASURES,
        "center": _rounded(center),
        "spread": _rounded(spread),
        "limit": _rounded(max(_find_limit(distances, groups), 1.0)),  # 1 is typical
        "images": len(rows),
    }


def _is_rare(rows, groups):
    """Return which columns are not 0 in so few groups that their mean would show these."""
    counts = np.array([len(np.unique(groups[column != 0])) for column in rows.T])
    return (counts > 0) & (counts < _FEWEST)


def _center_and_spread(rows, groups, rare):
    """Return mean and standard deviation over groups, of the means within each."""
    weights = _weigh(groups)
    center = np.average(rows, axis=0, weights=weights)
    spread = np.sqrt(np.average(np.square(rows - center), axis=0, weights=weights)) + _TOLERANCE
    return np.where(rare, 0, center), np.where(rare, _RARE_SPREAD, spread)


def _weigh(groups):
    """Return a weight for each image; those of a group sum to 1."""
    _, members, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return 1 / counts[members]


def _find_limit(distances, groups):
    """Return the distance that an image of a new group exceeds with a probability of 2%."""
    order = np.argsort(distances)
    reached = np.cumsum(_weigh(groups)[order])
    rank = np.searchsorted(reached, _QUANTILE * (len(np.unique(groups)) + 1) - 1e-9)
    return distances[order][min(rank, len(order) - 1)]


def _distances(rows, center, spread):
    return np.sqrt(np.square((rows - center) / spread).mean(axis=-1))


def _rounded(values):
    return np.vectorize(lambda value: float(f"{value:.4g}"))(values).tolist()


def measure_appearance(image):
    """Measure color, levels, texture and layout of an image.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image. Outside of a mask, its fill value counts.

    Returns
    -------
    ndarray of float of shape (n_measures,)
        The values of `MEASURES`, of the image resized to 256 pixels along its longer side. Color:
        mean and 0.95 quantile of the difference between the channels. Levels: quantiles, and the
        shares of almost black and almost white pixels. Texture: of each band of a Laplacian pyramid
        [1]_, from fine to coarse, the logarithm of the contrast, how evenly it is spread, and
        whether it varies more from row to row or from column to column. Layout: the mean of each of
        3 x 3 parts, less the mean of all.

    References
    ----------
    .. [1] Burt P, Adelson E. The Laplacian pyramid as a compact image code. IEEE Transactions on
       Communications 31 (1983) 532-540.
    """
    pixels = fill_mask(image)
    pixels = pixels if pixels.ndim == 2 else to_rgb(pixels)
    scale = 256 / max(pixels.shape[:2])
    pixels = resize(pixels, [max(1, round(side * scale)) for side in pixels.shape[:2]], np.float32)
    gray = np.ascontiguousarray(to_gray(pixels))
    difference = np.zeros(1) if pixels.ndim == 2 else pixels.max(axis=2) - pixels.min(axis=2)
    places = cv2.resize(gray, (3, 3), interpolation=cv2.INTER_AREA)
    return np.array(
        [
            *(difference.mean(), np.quantile(difference, 0.95)),
            *np.quantile(gray, _QUANTILES),
            *((gray < 0.02).mean(), (gray > 0.98).mean()),
            *_measure_bands(gray),
            *(places - places.mean()).ravel(),
        ]
    )


def _measure_bands(gray):
    """Return contrasts, evenness and directions of the bands of a Laplacian pyramid."""
    contrasts, evenness, directions = [], [], []
    for _ in range(_N_BANDS):
        smaller = cv2.pyrDown(gray)
        band = gray - cv2.pyrUp(smaller, dstsize=gray.shape[::-1])
        contrasts.append(band.std())
        evenness.append(np.abs(band).mean() / (band.std() + _FLOOR))
        down, across = (np.abs(np.diff(band, axis=axis)).sum() / band.size for axis in (0, 1))
        directions.append(np.log((down + _FLOOR) / (across + _FLOOR)))
        gray = smaller
    contrasts.append(gray.std())
    return *np.log(np.array(contrasts) + _FLOOR), *evenness, *directions


def find_distance(card, image):
    """Return how far an image is from the training images, and the limit; None if unknown.

    A card made by another release has other measures: then there is no distance.
    """
    known = card.get("reference")
    if not isinstance(known, dict) or known.get("measures") != MEASURES:
        return None, None
    row = measure_appearance(image)
    return float(_distances(row, known["center"], known["spread"])), known["limit"]
