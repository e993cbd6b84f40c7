"""How bright the images of each class are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length

from featbus.feature_extraction._intensity import IntensityStatistics
from featbus.parameters import InvalidParameterError, StrOptions, check_parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from featbus.typing import Images


def intensity_summary(
    images: Images,
    y: ArrayLike | None = None,
    *,
    statistic: str = "mean",
    target_names: Sequence[str] | None = None,
) -> IntensitySummary:
    """Summarize the brightness of a data set by class.

    Each image is summarized by one number, such as its mean brightness. If classes differ in it, a
    classifier can separate them without looking at the anatomy: a sign of different scanners,
    settings or exports.

    Read more in the :ref:`User Guide <intensity>`.

    Parameters
    ----------
    images : batch of images
        See :ref:`images`. Paths are read one at a time. Only pixels inside the mask are used.
    y : array_like of shape (n_images,), default=None
        Class of each image; None for a single class "all".
    statistic : str, default="mean"
        The number that summarizes an image: a column of `IntensityStatistics` without the prefix
        ``intensity_``, such as ``"median"`` or ``"entropy"``.
    target_names : sequence of str, default=None
        Names of the classes 0, 1, ...; None takes `y` itself.

    Returns
    -------
    IntensitySummary
        Displayed as a table; ``plot()`` draws the distributions.

    Raises
    ------
    ValueError
        If an image is invalid, `images` and `y` differ in length, or there is no such statistic.

    See Also
    --------
    IntensityStatistics : The statistics of each image.

    Examples
    --------
    >>> from featbus import intensity_summary, make_breast_ultrasound
    >>> data = make_breast_ultrasound(30, random_state=0)
    >>> summary = intensity_summary(data.images, data.target, target_names=data.target_names)
    >>> summary.table.index.tolist()
    ['benign', 'malignant', 'normal']
    """
    extractor = IntensityStatistics(dtype=np.float64)
    names = [name.removeprefix("intensity_") for name in extractor.get_feature_names_out()]
    check_parameters({"statistic": [StrOptions(set(names))]}, {"statistic": statistic})
    if y is not None:
        check_consistent_length(images, y)
    classes = _name_classes(y, target_names, len(images))
    rows = extractor.transform(images)
    values = pd.DataFrame(
        {
            "class": classes,
            statistic: rows[:, names.index(statistic)],
        }
    )
    values["outlier"] = values.groupby("class")[statistic].transform(_is_outlier).astype(bool)
    return IntensitySummary(values, statistic)


def _name_classes(y, target_names, n_images):
    if y is None:
        return np.repeat("all", n_images)
    y = np.asarray(y)
    if target_names is None:
        return y
    names = np.unique(target_names)
    if y.dtype.kind not in "iu" or y.min() < 0 or not y.max() < len(target_names) == len(names):
        raise InvalidParameterError(
            f"target_names is {target_names!r}, expected a different name for each of the classes "
            f"0, 1, ... in y; found {np.unique(y).tolist()} there."
        )
    return np.asarray(target_names)[y]


def _is_outlier(values):
    """Return which values are outliers by Tukey's rule."""
    lower, upper = values.quantile([0.25, 0.75])
    reach = 1.5 * (upper - lower)
    return (values < lower - reach) | (values > upper + reach)


class IntensitySummary:
    """Brightness of the images of each class; made by `intensity_summary`.

    Read more in the :ref:`User Guide <intensity>`.

    Parameters
    ----------
    values : DataFrame of n_images rows
        ``class``, the statistic, ``outlier``.
    statistic : str
        Name of the column with the numbers.

    Attributes
    ----------
    values : DataFrame of n_images rows
        The ``class`` of each image, its statistic, and whether it is an ``outlier``: more than 1.5
        interquartile ranges below the lower or above the upper quartile of its class (Tukey's
        rule, [1]_).
    table : DataFrame of n_classes rows
        For each class ``n``, ``minimum``, ``lower_quartile``, ``median``, ``upper_quartile``,
        ``maximum``, ``skewness`` (0 if all are equal) and the number of ``outliers``.

    References
    ----------
    .. [1] Tukey JW. Exploratory Data Analysis. Addison-Wesley (1977).
    """

    def __init__(self, values: pd.DataFrame, statistic: str) -> None:
        self.values = values
        self.statistic = statistic
        self.table = values.groupby("class").apply(self._summarize, include_groups=False)
        self.table = self.table.astype({"n": int, "outliers": int})

    def _summarize(self, values):
        numbers = values[self.statistic]
        quartiles = numbers.quantile([0, 0.25, 0.5, 0.75, 1]).to_numpy()
        names = ["minimum", "lower_quartile", "median", "upper_quartile", "maximum"]
        deviation = numbers - numbers.mean()
        spread = numbers.std(ddof=0)
        skewness = (deviation**3).mean() / spread**3 if quartiles[0] < quartiles[-1] else 0.0
        return pd.Series(
            {"n": len(numbers)}
            | dict(zip(names, quartiles))
            | {"skewness": skewness, "outliers": values["outlier"].sum()}
        )

    def __repr__(self):
        return self.table.round(3).to_string()

    def _repr_html_(self):
        return self.table.round(3).to_html()

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the distribution of each class: a violin, with a box and outliers in it.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.
        """
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.figure(layout="constrained").add_subplot()
        names = self.table.index.tolist()
        samples = [
            self.values.loc[self.values["class"] == name, self.statistic].to_numpy()
            for name in names
        ]
        ax.violinplot(samples, showextrema=False, widths=0.8)
        ax.boxplot(samples, widths=0.15, medianprops={"color": "black"})
        labels = [f"{name}\nn = {len(sample)}" for name, sample in zip(names, samples)]
        ax.set_xticks(range(1, len(names) + 1), labels)
        ax.set_ylabel(f"{self.statistic} brightness of an image".replace("_", " "))
        return ax
