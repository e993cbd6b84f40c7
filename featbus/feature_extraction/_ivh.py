"""Intensity-volume histogram."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from featbus.feature_extraction._texture import GrayLevelFeatures, as_levels, discretize

_FRACTIONS = (0.1, 0.9)


def volume_histogram_features(levels: np.ndarray, n_levels: int | None = None) -> dict[str, float]:
    """Compute IBSI's features of the intensity-volume histogram ([1]_, section 3.5).

    Parameters
    ----------
    levels : ndarray or MaskedArray of int
        Gray levels from 1; 0, or masked, outside of the region.
    n_levels : int or None, default=None
        The level with the intensity fraction 1; None for the highest found.

    Returns
    -------
    dict of str to float
        By IBSI's names and the percentages. An *intensity* is a level, `n_levels` plus 1 if more
        pixels have the highest level than the volume fraction allows.

    References
    ----------
    .. [1] Zwanenburg A et al. Image biomarker standardisation initiative, reference manual,
       arXiv:1612.07003.

    Examples
    --------
    >>> from featbus.feature_extraction._ivh import volume_histogram_features
    >>> features = volume_histogram_features([1, 1, 1, 4, 6])
    >>> features["volume_at_intensity_fraction_10"], features["intensity_at_volume_fraction_90"]
    (0.4, 2.0)
    """
    levels = as_levels(levels)
    n_levels = int(levels.max()) if n_levels is None else n_levels
    counts = np.bincount(levels[levels > 0], minlength=n_levels + 2)[1:]
    # The share of the pixels of each level or a higher one; 0 above the highest.
    volume = counts[::-1].cumsum()[::-1] / counts.sum()
    intensity = np.arange(n_levels + 1) / max(n_levels - 1, 1)
    volumes = volume[np.searchsorted(intensity, _FRACTIONS)]
    intensities = 1.0 + np.searchsorted(-volume, np.negative(_FRACTIONS))
    features = {
        "volume_at_intensity_fraction_10": volumes[0],
        "volume_at_intensity_fraction_90": volumes[1],
        "intensity_at_volume_fraction_10": intensities[0],
        "intensity_at_volume_fraction_90": intensities[1],
        "volume_fraction_difference_10_90": volumes[0] - volumes[1],
        "intensity_fraction_difference_10_90": intensities[0] - intensities[1],
    }
    return {name: float(value) for name, value in features.items()}


class IntensityVolumeHistogram(GrayLevelFeatures):
    """Intensity-volume histogram: how much of the region is how bright.

    Six features are read from the curve of the share of pixels that have a level or a higher one
    ([1]_, [2]_).

    Read more in the :ref:`User Guide <ivh>`.

    Parameters
    ----------
    levels : int, default=1000
        Number of bins of equal width (IBSI's *fixed bin number*, for which it recommends 1000); up
        to 1024. Unused with `bin_width`.
    bin_width : float or None, default=None
        Width of a bin, as a fraction of the largest value of the image's dtype: ``10 / 255`` is 10
        levels of an 8-bit image. With `intensity_range`, bins start at its lower bound (IBSI's
        *fixed bin size*): the same level means the same brightness in all images. Without it, the
        edges of bins are multiples of the width, and level 1 is the darkest bin of the image or
        its region, as in pyradiomics.
    intensity_range : tuple of float or None, default=None
        Brightness ``(low, high)``, from 0 to 1, that the bins span; pixels beyond it belong to the
        first or last bin. None for the range of each image or, if it is masked, of its region.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Data type of the rows; the computation uses double precision.

    See Also
    --------
    IntensityStatistics : Mean, spread and histogram of the brightness.

    Notes
    -----
    Columns are named ``ivh_volume_at_intensity_fraction_10``: ``ivh_``, IBSI's name of the feature
    and the percentage. An *intensity fraction* is the position between the lowest and the highest
    level: of the image or its region, or of `intensity_range`. A *volume* is a share of the pixels,
    from 0 to 1; an *intensity* is a gray level.

    The IBSI has no reference value for the area under the curve, and it is not computed.

    Color images are converted to their luma. Only pixels inside the mask are used. A constant image
    without `intensity_range` has the volumes 0 and the intensities 2.

    References
    ----------
    .. [1] El Naqa I et al. Exploring feature-based approaches in PET images for predicting cancer
       treatment outcomes. Pattern Recognition 42 (2009) 1162-1171,
       doi:10.1016/j.patcog.2008.08.011.
    .. [2] Zwanenburg A et al. The Image Biomarker Standardization Initiative. Radiology 295 (2020)
       328-338, doi:10.1148/radiol.2020191145; reference manual arXiv:1612.07003.

    Examples
    --------
    >>> from featbus import IntensityVolumeHistogram, make_breast_ultrasound
    >>> images = make_breast_ultrasound(4, random_state=0).images
    >>> ivh = IntensityVolumeHistogram(intensity_range=(0, 1))
    >>> ivh.fit_transform(images).shape
    (4, 6)
    >>> str(ivh.get_feature_names_out()[0])
    'ivh_volume_at_intensity_fraction_10'
    """

    _family = "ivh"

    def __init__(
        self,
        *,
        levels: int = 1000,
        bin_width: float | None = None,
        intensity_range: tuple[float, ...] | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(
            levels=levels, bin_width=bin_width, intensity_range=intensity_range, dtype=dtype
        )

    def _compute(self, levels):
        n_levels = None
        if self.intensity_range is not None:
            brightest = np.array([[self.intensity_range[1]]], np.float64)
            bins = discretize(brightest, None, self.levels, self.bin_width, self.intensity_range)
            n_levels = int(bins[0, 0]) + 1
        return volume_histogram_features(levels, n_levels)
