"""What a model card keeps of the training images: few numbers, and no row of a patient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.covariance import LedoitWolf

from featbus.base import iter_images
from featbus.groups import check_target, stratified_folds
from featbus.images import as_batch, fill_mask, inside_mask, to_float, to_gray
from featbus.workflow._appearance import MEASURES, measure_appearance

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from featbus.typing import Images

N_BINS = 32
_FEWEST = 10  # images that a mean is shown of
_QUANTILE = 0.98
_N_FOLDS = 10
_DIGITS = 5


class TooFewImagesError(ValueError):
    """There are so few images that a summary would show single ones."""


def describe_training_images(
    images: Images,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    target_names: list[str] | None = None,
) -> dict:
    """Describe the images that a model was trained on, for its card.

    Parameters
    ----------
    images : batch of images
        See :ref:`images`.
    y : array_like of shape (n_images,)
        Their classes.
    groups : array_like of shape (n_images,), default=None
        Which images belong together, such as those of one patient.
    target_names : list of str, default=None
        Names of the classes, in sorted order of the labels. None for the labels themselves.

    Returns
    -------
    dict
        Plain JSON, for ``featbus.save(..., card={"reference": ...})``.

    Raises
    ------
    ImageError
        If an image is invalid.
    ValueError
        If there are fewer than ten images or groups.
    """
    batch = as_batch(images)
    y, labels, codes = check_target(y)
    groups = np.arange(len(y)) if groups is None else np.asarray(groups)
    names = [str(label) for label in labels] if target_names is None else list(target_names)
    rows, histograms = [], []
    for image in iter_images(batch):
        rows.append(measure_appearance(image))
        histograms.append(histogram_of(image))
    histograms = np.array(histograms)
    return {
        "histograms": {
            name: _rounded(histograms[codes == code].mean(axis=0))
            for code, name in enumerate(names)
            if len(np.unique(groups[codes == code])) >= _FEWEST
        },
        "features": _summarize(np.array(rows), codes, groups),
    }


def histogram_of(image):
    """Return the share of pixels in each of 32 equal parts of the range of intensities."""
    gray, inside = to_float(to_gray(fill_mask(image))), inside_mask(image)
    values = gray if inside is None else gray[inside]
    counts, _ = np.histogram(values, bins=N_BINS, range=(0, 1))
    return counts / max(1, counts.sum())


def is_current(summary):
    """Tell whether there is a summary of training images, made of the measures of this version."""
    return isinstance(summary, dict) and summary.get("measures") == MEASURES


def measure_distance(summary, image):
    """Return how far an image is from the training images, see `describe_training_images`."""
    row = measure_appearance(image)
    center, precision = np.array(summary["center"]), np.array(summary["precision"])
    return _distance(row[np.newaxis], center, precision).item()


def _distance(rows, center, precision):
    away = rows - center
    return np.sqrt(np.maximum(0, np.einsum("ij,jk,ik->i", away, precision, away)) / len(center))


def _fit(rows):
    scale = rows.std(axis=0) + 0.02
    precision = LedoitWolf().fit(rows / scale).precision_
    return rows.mean(axis=0), precision / np.outer(scale, scale)


def _summarize(rows, codes, groups):
    if len(np.unique(groups)) < _FEWEST:
        raise TooFewImagesError(
            f"Found {len(np.unique(groups))} groups of images, expected at least {_FEWEST}: a "
            "summary of fewer would tell what single images look like."
        )
    distances = np.empty(len(rows))
    for train, test in stratified_folds(codes, groups, _N_FOLDS, 0):
        distances[test] = _distance(rows[test], *_fit(rows[train]))
    center, precision = _fit(rows)
    return {
        "measures": MEASURES,
        "center": _rounded(center),
        "precision": _rounded(precision),
        "limit": _rounded(np.quantile(distances, _QUANTILE, method="higher")),
        "images": len(rows),
    }


def _rounded(values):
    return np.vectorize(lambda value: float(f"{value:.{_DIGITS}g}"))(values).tolist()
