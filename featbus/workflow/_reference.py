"""What a model card keeps of the training images: few numbers, and no row of a patient."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.model_selection import GroupKFold
from sklearn.utils import check_consistent_length

from featbus.base import iter_images
from featbus.color import to_float, to_gray
from featbus.groups import check_groups, check_target
from featbus.images import as_batch
from featbus.masks import fill_mask, inside_mask
from featbus.workflow._appearance import MEASURES, measure_appearance

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from featbus.typing import Images

N_BINS = 32
_FEWEST = 10  # groups that a mean is kept of
_QUANTILE = 0.98
_N_FOLDS = 10
# Added to standard deviations, so that what never varied in training may vary a little.
_TOLERANCE = 0.02
# Of a measure that few groups have, instead of theirs: wide, so that they do not set the limit.
_RARE_SPREAD = 0.1
_DIGITS = 4
_ROUNDING = 1e-9
_LOWEST_LIMIT = 1.0  # a distance that is typical is never too far


class FewImagesError(ValueError):
    """There are so few images that a summary of them would show single ones."""


def describe_training_images(
    images: Images,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    target_names: list[str] | None = None,
) -> dict:
    """Describe training images in few numbers, for the card of the model.

    Read more in the :ref:`User Guide <reference_of_card>`.

    Parameters
    ----------
    images : batch of images
        See :ref:`images`.
    y : array_like of shape (n_images,)
        Their classes.
    groups : array_like of shape (n_images,), default=None
        Which images belong together, such as those of one patient. None counts each image as its
        own patient: then the means protect images, not patients.
    target_names : list of str, default=None
        Names of the classes, in the order of the sorted labels. None for the labels themselves.

    Returns
    -------
    dict
        Plain JSON, the entry ``"reference"`` of a card: ``card={"reference": ...}`` of
        `featbus.save`. `train_model` adds it by itself.

        All means are over groups, of the mean within each: a patient counts once, with many
        images or few.

        ``"histograms"``: for each class, the mean share of pixels in each of 32 equal parts of the
        range of intensities; 0 in parts where fewer than ten groups have pixels. Classes with
        fewer than ten groups are left out.

        ``"features"``: the names of 34 ``"measures"`` of an image, which describe its color,
        levels, texture and layout, independent of the model; their mean, ``"center"``, and their
        standard deviation plus 0.02, ``"spread"``; the ``"limit"`` of the distance, from which on
        an image counts as unlike these; and the number of ``"images"``.

    Raises
    ------
    ImageError
        If an image is invalid; the message names the image.
    ValueError
        If there are fewer than ten groups: a summary of so few would show single patients. If the
        target names are not as many as the classes, or two are equal.

    See Also
    --------
    examine_image : Uses it.

    Notes
    -----
    The distance of an image is the root mean square of its measures, each less its center and
    divided by its spread: 1 is typical. Each training image is measured from center and spread of
    the other nine of ten folds, which keep groups together. The limit is the 0.98 quantile of these
    distances, at least 1, by the rank of the conformal prediction of one more group [1]_: images
    count by the inverse of how many their group has. So about 2% of the images of new groups of the
    same kind count as unlike. With fewer than 99 groups, the limit is the largest of the distances,
    and with `n` groups, about 1 in `n` + 1 exceeds it. Images of another device count as unlike
    more often. ``benchmarks/comparisons/unfamiliar_images.py`` measures how often, and how many
    images of other kinds are noticed.

    The mean of a measure that is 0 in all but a few groups, such as color, would show these. If it
    is not 0 in fewer than ten groups, its center is 0 and its spread 0.1, whatever they have.

    An image that looks like the training images can still be one for which the model was not made,
    such as an ultrasound image of another organ.

    References
    ----------
    .. [1] Dunn R, Wasserman L, Ramdas A. Distribution-free prediction sets for two-layer
       hierarchical models. Journal of the American Statistical Association 118 (2023) 2491-2502.

    Examples
    --------
    >>> from featbus import make_breast_ultrasound
    >>> from featbus.workflow import describe_training_images
    >>> data = make_breast_ultrasound(40, random_state=0)
    >>> reference = describe_training_images(
    ...     data.images, data.target, target_names=data.target_names
    ... )
    >>> list(reference["histograms"]), len(reference["features"]["center"])
    (['benign', 'malignant', 'normal'], 34)
    """
    batch = as_batch(images)
    _, labels, codes = check_target(y)
    groups = np.arange(len(codes)) if groups is None else check_groups(groups)
    check_consistent_length(batch, codes, groups)
    names = list(map(str, labels if target_names is None else target_names))
    _check_names(names, labels)
    _check_enough(groups)
    rows, histograms = _measure_all(batch)
    return {
        "histograms": {
            name: _rounded(_mean_of_many(histograms[codes == code], groups[codes == code]))
            for code, name in enumerate(names)
            if len(np.unique(groups[codes == code])) >= _FEWEST
        },
        "features": _summarize(rows, groups),
    }


def _check_names(names, labels):
    if len(set(names)) != len(names) or len(names) != len(labels):
        raise ValueError(
            f"target_names is {names}, expected a different name for each of the {len(labels)} "
            "classes."
        )


def _check_enough(groups):
    found = len(np.unique(groups))
    if found < _FEWEST:
        raise FewImagesError(
            f"Found {found} groups of images, expected at least {_FEWEST}: a summary of so few "
            "would show single patients. Leave it out of the card."
        )


def _measure_all(batch):
    """Return the measures of all images, and their histograms."""
    found = [(measure_appearance(image), find_histogram(image)) for image in iter_images(batch)]
    return map(np.array, zip(*found))


def find_histogram(image):
    """Count the pixels of an image by their intensity.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image. Only pixels inside the mask are counted.

    Returns
    -------
    ndarray of shape (32,)
        The share of pixels in each of equal parts of the range from 0 to 1.
    """
    inside = inside_mask(image)
    gray = to_float(to_gray(fill_mask(image)))
    counts, _ = np.histogram(gray if inside is None else gray[inside], N_BINS, range=(0, 1))
    return counts / max(1, counts.sum())


def _summarize(rows, groups):
    """Return center and spread of the measures, and the limit of the distance."""
    groups, distances = np.asarray(groups), np.empty(len(rows))
    rare = _is_rare(rows, groups)
    for train, test in GroupKFold(_N_FOLDS).split(rows, groups=groups):
        known = _center_and_spread(rows[train], groups[train], rare)
        distances[test] = _distances(rows[test], *known)
    center, spread = _center_and_spread(rows, groups, rare)
    return {
        "measures": MEASURES,
        "center": _rounded(center),
        "spread": _rounded(spread),
        "limit": _rounded(max(_find_limit(distances, groups), _LOWEST_LIMIT)),
        "images": len(rows),
    }


def _is_rare(rows, groups):
    """Return which columns are not 0 in so few groups that their mean would show these."""
    counts = np.array([len(np.unique(groups[column != 0])) for column in rows.T])
    return (counts > 0) & (counts < _FEWEST)


def _mean_of_many(rows, groups):
    return np.where(_is_rare(rows, groups), 0, _mean(rows, groups))


def _center_and_spread(rows, groups, rare):
    center = _mean(rows, groups)
    spread = np.sqrt(_mean(np.square(rows - center), groups)) + _TOLERANCE
    return np.where(rare, 0, center), np.where(rare, _RARE_SPREAD, spread)


def _mean(rows, groups):
    """Return the mean over groups, of the mean within each."""
    return np.average(rows, axis=0, weights=_weigh(groups))


def _weigh(groups):
    """Return a weight for each image; those of a group sum to 1."""
    _, members, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return 1 / counts[members]


def _find_limit(distances, groups):
    """Return the distance that an image of a new group exceeds with a probability of 2%."""
    order = np.argsort(distances)
    reached = np.cumsum(_weigh(groups)[order])
    rank = np.searchsorted(reached, _QUANTILE * (len(np.unique(groups)) + 1) - _ROUNDING)
    return distances[order][min(rank, len(order) - 1)]


def _distances(rows, center, spread):
    return np.sqrt(np.square((rows - center) / spread).mean(axis=1))


class Reference(NamedTuple):
    """What a card says of the training images.

    Attributes
    ----------
    histograms : dict of str to ndarray of shape (32,)
        The mean histogram of each class.
    center, spread : ndarray of shape (n_measures,)
        Of the measures of the images.
    limit : float
        The distance from which on an image is unlike them.
    """

    histograms: dict
    center: np.ndarray
    spread: np.ndarray
    limit: float

    def measure_distance(self, image):
        """Measure how far a checked image is from the training images."""
        return _distances(measure_appearance(image)[np.newaxis], self.center, self.spread).item()


def read_reference(card):
    """Take the description of the training images from a card.

    Parameters
    ----------
    card : dict
        The card of a model.

    Returns
    -------
    Reference or None
        None if there is none, one with other measures than this version makes, or one by which no
        distance can be told.
    """
    try:
        found, about = card["reference"]["features"], card["reference"]["histograms"]
        if found["measures"] != MEASURES:
            return None
        center, spread = (_as_numbers(found[key], len(MEASURES)) for key in ("center", "spread"))
        limit = _as_numbers(found["limit"], 1).item()
        histograms = {name: _as_numbers(shares, N_BINS) for name, shares in about.items()}
        is_valid = spread.min() > 0 and limit > 0
        return Reference(histograms, center, spread, limit) if is_valid else None
    except (KeyError, TypeError, ValueError, AttributeError):  # somebody else's entry
        return None


def _as_numbers(values, count):
    numbers = np.array(values, dtype=float).reshape(count)
    if not np.isfinite(numbers).all():
        raise ValueError("Found NaN or infinity, expected numbers.")
    return numbers


def _rounded(values):
    return np.vectorize(lambda value: float(f"{value:.{_DIGITS}g}"))(values).tolist()
