"""Robust columns: those that small changes to an image or its mask hardly change."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from itertools import islice
from numbers import Integral, Real
from typing import Any, Self

import cv2
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from featbus.augmentation import Augmentation, Change, augment, change_image, content_rng
from featbus.base import ImageEstimator, naming_paths
from featbus.color import to_gray
from featbus.images import MAXIMUM, ImageError, at_index, fill_value
from featbus.io import read_item
from featbus.masks import inside_mask, with_mask
from featbus.parameters import POSITIVE_INTEGER, HasMethods, Interval
from featbus.steps import check_all_parameters, learns
from featbus.typing import Images

_BATCH = 32  # copies in memory at a time
_STILL = dict.fromkeys(["rotation", "width_shift", "height_shift", "shear", "zoom"], 0)
_STILL |= {"brightness": (1, 1), "horizontal_flip": False}
_ROTATION = Augmentation(**_STILL | {"rotation": 10})
_TRANSLATION = Augmentation(**_STILL | {"width_shift": 0.05, "height_shift": 0.05})


def change_area(image, rng, low, high):
    """Grow or shrink the region to a share of its area, evenly along its contour."""
    return _select(image, rng.uniform(low, high))


def randomize_contour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Move the contour in and out by smooth noise; the area stays.

    The noise has a standard deviation of 10 % of the radius of a disc of equal area.
    """
    inside = inside_mask(image)
    if inside is None:
        return None
    radius = np.sqrt(np.count_nonzero(inside) / np.pi)
    cells = [int(side / max(radius / 2, 1)) + 2 for side in inside.shape]
    noise = cv2.resize(
        rng.standard_normal(cells), inside.shape[::-1], interpolation=cv2.INTER_CUBIC
    )
    return _select(image, 1, 0.1 * radius * noise / noise.std())


def _select(image, share, noise=0):
    """Return the image with a region of `share` times the area: the pixels deepest inside.

    None where there is no mask.
    """
    inside = inside_mask(image)
    if inside is None:
        return None
    depth, distance = (
        cv2.distanceTransform(part.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for part in (inside, ~inside)
    )
    depth -= distance
    # Many pixels are equally deep: hollows of the contour are filled, and tips cut, first.
    depth = depth + 0.01 * cv2.GaussianBlur(depth, (0, 0), 2) + noise
    n_pixels = min(max(round(share * np.count_nonzero(inside)), 1), inside.size)
    region = np.zeros(inside.shape, bool)
    region.flat[np.argpartition(depth, -n_pixels, axis=None)[-n_pixels:]] = True
    return with_mask(np.ma.getdata(image), region, fill_value(image))


def add_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Add normally distributed noise, as strong as that which the image has already.

    Channels get the same noise. None for a bool image.
    """
    if image.dtype == bool:
        return None
    pixels = np.ma.getdata(image)
    noise = rng.normal(0, estimate_noise(image), image.shape[:2])
    noisy = pixels + noise.reshape(noise.shape + (1,) * (image.ndim - 2))
    noisy = np.clip(noisy, 0, MAXIMUM[image.dtype.name])
    if image.ndim == 3:
        noisy[..., 3:] = pixels[..., 3:]  # alpha
    noisy = noisy if image.dtype.kind == "f" else np.rint(noisy)
    return with_mask(noisy.astype(image.dtype), inside_mask(image), fill_value(image))


def estimate_noise(image):
    """Estimate the standard deviation of the noise of an image, inside its mask.

    The median of the absolute diagonal details of a Haar wavelet, divided by 0.6745 [1]_. Blocks of
    two by two equal pixels, such as a black background, are ignored.

    Parameters
    ----------
    image : ndarray or MaskedArray
        A checked image.

    Returns
    -------
    float
        In the unit of the pixels; 0 where there is nothing to estimate it from.

    References
    ----------
    .. [1] Donoho DL, Johnstone IM. Ideal spatial adaptation by wavelet shrinkage. Biometrika 81
       (1994) 425-455.
    """
    gray = to_gray(image).astype(np.float64)
    height, width = (side // 2 * 2 for side in gray.shape)
    corners = [gray[i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]
    blocks = np.stack([np.ma.filled(corner, np.nan).ravel() for corner in corners])
    blocks = blocks[:, np.ptp(blocks, axis=0) > 0]  # neither flat nor, being NaN, masked
    details = np.abs([0.5, -0.5, -0.5, 0.5] @ blocks)
    return np.median(details) / 0.6745 if details.size else 0.0


def coarsen(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bring the image and its mask to 1 to 1.5 times the spacing, and back to its size."""
    factor = rng.uniform(1, 1.5)
    for zoom in (1 / factor, factor):
        image = change_image(image, Change(column_zoom=zoom, row_zoom=zoom))
    return image


#: The perturbations of `featbus.feature_robustness`, functions ``(image, rng) -> image`` by name.
PERTURBATIONS = {
    "grow": partial(change_area, low=1, high=1.2),
    "shrink": partial(change_area, low=0.8, high=1),
    "contour": randomize_contour,
    "rotation": partial(augment, augmentation=_ROTATION),
    "translation": partial(augment, augmentation=_TRANSLATION),
    "noise": add_noise,
    "spacing": coarsen,
}


def intraclass_correlation(rows):
    """Return ICC(1,1) of each column, with its exact interval.

    Parameters
    ----------
    rows : ndarray of float64 of shape (n_images, n_copies, n_columns)
        The rows of the copies of each image, at least two of two images.

    Returns
    -------
    ndarray of float64 of shape (n_columns, 3)
        The estimate, and the lower and upper end of the interval of 95 %. NaN for a constant column
        and one with NaN.
    """
    n_images, n_copies, _ = rows.shape
    rows = rows - rows[0, 0]  # constant columns are exactly 0
    means = rows.mean(axis=1, keepdims=True)
    freedom = n_images - 1, n_images * (n_copies - 1)
    between = n_copies * means.var(axis=0, ddof=1).T
    within = ((rows - means) ** 2).sum(axis=(0, 1))[:, np.newaxis] / freedom[1]
    within = within * [1, *stats.f.ppf([0.975, 0.025], *freedom)]
    with np.errstate(invalid="ignore"):
        return (between - within) / (between + (n_copies - 1) * within)


def _iter_copies(batch, chosen, perturbations, n_repeats, seed):
    """Yield the place of each copy, the name of its perturbation, and the copy."""
    for place, index in enumerate(chosen):
        with at_index(index):
            image = read_item(batch[index], index, keep_responses=True)
            yield (place, 0), None, image
            for number, (name, perturb) in enumerate(perturbations.items()):
                rng = content_rng(image, f"{seed} {name}")
                for slot in range(1 + number * n_repeats, 1 + (number + 1) * n_repeats):
                    yield (place, slot), name, perturb(image, rng)


def _compute_rows(extractor, copies, chosen, n_copies):
    """Return rows of shape (n_images, n_copies, n_columns), NaN for copies without a region."""
    rows = None
    copies = (copy for copy in copies if copy[2] is not None and np.ma.count(copy[2]))
    while chunk := list(islice(copies, _BATCH)):
        places, names, images = zip(*chunk)
        try:
            found = np.asarray(extractor.transform(list(images)), dtype=np.float64)
        except ImageError as error:
            if error.index is None:
                raise
            name, (place, _) = names[error.index], places[error.index]
            done = f"after the perturbation {name!r}, " if name else ""
            raise ImageError(done + error.reason, chosen[place]) from error
        if rows is None:
            rows = np.full((len(chosen), n_copies, found.shape[1]), np.nan)
        rows[tuple(np.transpose(places))] = found
    return rows


def _measure(rows, perturbations):
    """Return the perturbations that gave rows of all images, and the ICC of all and of each."""
    rows = rows[~np.isnan(rows[:, 0]).all(axis=1)]
    if len(rows) < 2:
        raise ValueError(f"Found rows of n_samples = {len(rows)} image(s), expected at least 2.")
    copies = rows[:, 1:].reshape(len(rows), len(perturbations) or 1, -1, rows.shape[2])
    failed = np.isnan(copies).all(axis=3).any(axis=2)
    used = ~failed.any(axis=0)
    if not used.all():
        warnings.warn(
            f"Left out {np.array([*perturbations])[~used].tolist()}, which gave no rows or lost "
            f"the region of {failed.any(axis=1).sum()} of {len(rows)} images. Contours need masks.",
            stacklevel=4,
        )
    names = [name for name, is_used in zip(perturbations, used) if is_used]
    if not names:
        raise ValueError(f"None of the perturbations {[*perturbations]} gave rows of all images.")
    parts = [*copies[:, used].swapaxes(0, 1)]
    parts = [np.hstack([rows[:, :1], *part]) for part in (parts, *zip(parts))]
    return names, np.stack([intraclass_correlation(part) for part in parts], axis=1)


def feature_robustness(
    extractor: Any,
    images: Images,
    *,
    perturbations: dict[str, Callable] | None = None,
    n_repeats: int = 2,
    random_state: int | np.random.RandomState | None = 0,
) -> pd.DataFrame:
    """Measure how little each column depends on small changes to an image and its mask.

    Each image is perturbed several times, as if it had been taken or outlined again [1]_. A column
    is robust if its values differ much between images and little between the copies of one image:
    if its intraclass correlation (ICC) is close to 1.

    Read more in the :ref:`User Guide <robustness>`.

    Parameters
    ----------
    extractor : estimator
        From images to rows: an extractor, or a `FeatureUnion`, `FeatureBus` or `Pipeline` of them.
        A clone is fitted to the images if it learns; to use one that is fitted, wrap it in
        `sklearn.frozen.FrozenEstimator`.
    images : batch of images
        At least two, see :ref:`images`. Perturbations of masks need masked images.
    perturbations : dict of str to callable or None, default=None
        Functions ``(image, rng) -> image`` by name: they get a checked image, which they must not
        change in place, and a `numpy.random.Generator`. None uses
        ``featbus.model_selection.PERTURBATIONS``, see the notes.
    n_repeats : int, default=2
        Number of copies of each image by each perturbation.
    random_state : int, RandomState instance or None, default=0
        An int makes the same copies of the same image each time.

    Returns
    -------
    DataFrame
        One row per column of the extractor. Columns are pairs: "overall" or the name of a
        perturbation, and "icc", "low" or "high", the ends of its interval of 95 %. NaN for columns
        that are constant or have NaN.

    Raises
    ------
    ImageError
        If an image is invalid, or the extractor cannot use it or a copy; the message names it.
    ValueError
        If there are fewer than two images, or a parameter is invalid.

    Warns
    -----
    UserWarning
        If a perturbation is left out, since it cannot change some images, such as those without a
        mask.

    See Also
    --------
    SelectRobust : Keeps robust columns, inside the folds of a cross-validation.

    Notes
    -----
    All copies of an image, the image itself included, are its :math:`k` measurements. With
    :math:`B` and :math:`W`, the mean squares between and within the :math:`n` images, ICC(1,1)
    [2]_ is

    .. math::

       \\frac{B - W}{B + (k - 1) W}.

    The ends of its interval are exact for normally distributed values: those of the same fraction
    with :math:`f W` in place of :math:`W`, for the quantiles 0.975 and 0.025 :math:`f` of the F
    distribution with :math:`n - 1` and :math:`n (k - 1)` degrees of freedom [3]_. "overall" has the
    copies of all perturbations.

    The perturbations, with amounts drawn uniformly:

    - grow, shrink: the region gains or loses up to 20 % of its area, evenly along the contour;
    - contour: the contour moves in and out by smooth noise, whose standard deviation is 10 % of the
      radius of a disc of equal area; the area stays;
    - rotation: up to 10 degrees in either direction, about the center;
    - translation: up to 5 % of the width and of the height;
    - noise: normally distributed, as strong as that of the image, which is estimated inside the
      mask from the diagonal details of a Haar wavelet [4]_;
    - spacing: resampled to pixels 1 to 1.5 times as large, and back.

    A function that cannot change an image returns None. A perturbation is left out if it does so
    for any image, if it moves a region out of its image, or if a copy has a row of NaN, as by
    ``FeatureBus(on_error="nan")``. An image whose own row is NaN is left out, too.

    Copies depend on the content of their image, the name of the perturbation and `random_state`,
    not on other images. They are arrays without a spacing: put `Resample` before, not inside.

    References
    ----------
    .. [1] Zwanenburg A et al. Assessing robustness of radiomic features by image perturbation.
       Scientific Reports 9 (2019) 614, doi:10.1038/s41598-018-36938-4.
    .. [2] Shrout PE, Fleiss JL. Intraclass correlations: uses in assessing rater reliability.
       Psychological Bulletin 86 (1979) 420-428.
    .. [3] McGraw KO, Wong SP. Forming inferences about some intraclass correlation coefficients.
       Psychological Methods 1 (1996) 30-46.
    .. [4] Donoho DL, Johnstone IM. Ideal spatial adaptation by wavelet shrinkage. Biometrika 81
       (1994) 425-455.

    Examples
    --------
    >>> from featbus import IntensityStatistics, feature_robustness
    >>> from featbus import load_masked, make_breast_ultrasound
    >>> data = make_breast_ultrasound(12, weights=[1, 1, 0], random_state=0)
    >>> table = feature_robustness(IntensityStatistics(), load_masked(data))
    >>> table.loc["intensity_mean", "overall"].index.tolist()
    ['icc', 'low', 'high']
    >>> bool(table["noise", "icc"]["intensity_mean"] > table["noise", "icc"]["intensity_minimum"])
    True
    """
    select = SelectRobust(extractor, perturbations=perturbations, n_repeats=n_repeats)
    return select.set_params(max_images=None, random_state=random_state)._measure(images).icc_


class SelectRobust(ImageEstimator):
    """Keep the columns of an extractor that small changes to an image hardly change.

    In `fit`, training images are perturbed as by `feature_robustness`, and columns with a low
    intraclass correlation (ICC) are dropped. In a cross-validation, this happens inside each fold.

    Read more in the :ref:`User Guide <robustness>`.

    Parameters
    ----------
    extractor : estimator
        From images to rows: an extractor, or a `FeatureUnion`, `FeatureBus` or `Pipeline` of them.
    min_icc : float, default=0.75
        A column is kept if the lower end of the interval of 95 % of its overall ICC is at least
        this. 0.5, 0.75 and 0.9 are usual limits of moderate, good and excellent reliability [1]_.
    perturbations : dict of str to callable or None, default=None
        Functions ``(image, rng) -> image`` by name, see `feature_robustness`.
    n_repeats : int, default=2
        Number of copies of each image by each perturbation.
    max_images : int or None, default=50
        Number of training images, drawn at random, that are perturbed; None for all. With the
        default perturbations, the extractor gets 15 images for each.
    random_state : int, RandomState instance or None, default=0
        An int draws the same images, and makes the same copies, each time.

    Attributes
    ----------
    extractor_ : estimator
        The fitted extractor.
    perturbations_ : list of str
        The perturbations that can change all images.
    iccs_ : ndarray of float64 of shape (n_columns, n_perturbations + 1, 3)
        ICC and the ends of its interval: overall, then by perturbation.
    support_ : ndarray of bool of shape (n_columns,)
        True for the columns of the extractor that are kept.

    See Also
    --------
    feature_robustness : The table for an extractor and images.
    sklearn.feature_selection.VarianceThreshold : Drops constant columns.

    Notes
    -----
    The lower end of the interval decides, not the estimate [1]_: among many columns, some have a
    high estimate by chance, and more so with few images. The interval takes images for independent,
    which those of one patient are not.

    Labels are not used, except by an extractor that learns from them.

    ``SelectRobust(FeatureBus(extractor, memory="features.sqlite"))`` stores the rows of all copies,
    which are the same in each fold, and computes none again for another `min_icc`. Such a store is
    the cheaper one: rows of a bus around `SelectRobust` are of use in one fold only.

    `min_icc` can be searched, but the classifier's score says little about robustness to what the
    data set does not contain: another scanner, another reader.

    References
    ----------
    .. [1] Koo TK, Li MY. A guideline of selecting and reporting intraclass correlation coefficients
       for reliability research. Journal of Chiropractic Medicine 15 (2016) 155-163.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.svm import SVC
    >>> from featbus import IntensityStatistics, SelectRobust
    >>> from featbus import load_masked, make_breast_ultrasound
    >>> data = make_breast_ultrasound(20, weights=[1, 1, 0], random_state=0)
    >>> select = SelectRobust(IntensityStatistics())
    >>> pipeline = make_pipeline(select, SVC()).fit(load_masked(data), data.target)
    >>> len(pipeline[0].icc_) > len(pipeline[0].get_feature_names_out()) > 0
    True
    """

    _wraps = "extractor"
    _requires_fit = True
    _parameter_constraints = {
        "extractor": [HasMethods("transform")],
        "min_icc": [Interval(Real, 0, 1, closed="both")],
        "perturbations": [dict, None],
        "n_repeats": [POSITIVE_INTEGER],
        "max_images": [Interval(Integral, 2, None, closed="left"), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        extractor: Any,
        *,
        min_icc: float = 0.75,
        perturbations: dict[str, Callable] | None = None,
        n_repeats: int = 2,
        max_images: int | None = 50,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.extractor = extractor
        self.min_icc = min_icc
        self.perturbations = perturbations
        self.n_repeats = n_repeats
        self.max_images = max_images
        self.random_state = random_state

    def _measure(self, X, y=None):
        """Fit the extractor, and measure the robustness of its columns."""
        self._check_parameters()
        check_all_parameters(self.extractor)
        batch = self._check_batch(X, reset=True)
        seen = (batch, y) if learns(self.extractor) else (batch[:1], None)
        self.extractor_ = clone(self.extractor).fit(*seen)
        perturbations = PERTURBATIONS if self.perturbations is None else self.perturbations
        random = check_random_state(self.random_state)
        seed, chosen = random.randint(2**31), np.arange(len(batch))
        if self.max_images is not None and self.max_images < len(batch):
            chosen = np.sort(random.choice(chosen, self.max_images, replace=False))
        with naming_paths(batch):
            copies = _iter_copies(batch, chosen, perturbations, self.n_repeats, seed)
            n_copies = 1 + self.n_repeats * len(perturbations)
            rows = _compute_rows(self.extractor_, copies, chosen, n_copies)
        self.perturbations_, self.iccs_ = _measure(rows, perturbations)
        return self

    def fit(self, X: Images, y: ArrayLike | None = None) -> Self:
        """Fit the extractor, perturb images, and find the robust columns.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.
        y : array_like of shape (n_images,) or None, default=None
            Target, for extractors that learn from it.

        Returns
        -------
        self : SelectRobust
            The estimator itself.

        Raises
        ------
        ValueError
            If no column is robust; the message has the best one.
        """
        low = self._measure(X, y).iccs_[:, 0, 1]
        self.support_ = low >= self.min_icc  # False for NaN
        if not self.support_.any():
            best = np.argmax(np.nan_to_num(low, nan=-1))
            raise ValueError(
                f"Of {len(low)} columns, none has an ICC with a lower bound of at least min_icc="
                f"{self.min_icc}. The best, {self.icc_.index[best]}, has {low[best]:.3f} (NaN: all "
                "are constant). Lower min_icc, or use more images or other features."
            )
        return self

    def transform(self, X: Images) -> np.ndarray:
        """Compute the robust columns of each image.

        Parameters
        ----------
        X : batch of images
            See :ref:`images`.

        Returns
        -------
        ndarray of shape (n_images, n_robust_columns)
            The rows of the extractor, without the other columns.
        """
        check_is_fitted(self)
        self._check_parameters()
        batch = self._check_batch(X, reset=False)
        return np.asarray(self.extractor_.transform(batch))[:, self.support_]

    @property
    def icc_(self) -> pd.DataFrame:
        """The table of `feature_robustness` for the training images."""
        names = ["overall", *self.perturbations_]
        columns = pd.MultiIndex.from_product([names, ["icc", "low", "high"]])
        values = self.iccs_.reshape(len(self.iccs_), -1)
        return pd.DataFrame(values, self.extractor_.get_feature_names_out(), columns)

    def get_support(self, indices: bool = False) -> np.ndarray:
        """Return which columns of the extractor are kept.

        Parameters
        ----------
        indices : bool, default=False
            Whether to return their positions.

        Returns
        -------
        ndarray of bool of shape (n_columns,), or of int
            A mask, or positions.
        """
        check_is_fitted(self)
        return np.flatnonzero(self.support_) if indices else self.support_

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Return the names of the columns that are kept.

        Parameters
        ----------
        input_features : array_like of str or None, default=None
            Handed to the extractor.

        Returns
        -------
        ndarray of str
            One name per column.
        """
        check_is_fitted(self)
        return self.extractor_.get_feature_names_out(input_features)[self.support_]
