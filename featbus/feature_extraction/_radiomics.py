"""All families of radiomics in one step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from featbus.base import Column, FeatureExtractor
from featbus.feature_extraction._glcm import GLCM
from featbus.feature_extraction._gldzm import GLDZM
from featbus.feature_extraction._glrlm import GLRLM
from featbus.feature_extraction._glszm import GLSZM
from featbus.feature_extraction._intensity import IntensityStatistics
from featbus.feature_extraction._ivh import IntensityVolumeHistogram
from featbus.feature_extraction._ngldm import NGLDM
from featbus.feature_extraction._ngtdm import NGTDM
from featbus.feature_extraction._shape import ShapeStatistics
from featbus.feature_extraction._texture import GrayLevelFeatures, gray_levels
from featbus.parameters import HasMethods, SequenceOf, StrOptions

_MATRICES = {
    "glcm": GLCM,
    "glrlm": GLRLM,
    "glszm": GLSZM,
    "gldzm": GLDZM,
    "ngtdm": NGTDM,
    "ngldm": NGLDM,
}
_FAMILIES = ("intensity", "ivh", *_MATRICES, "shape")


class Radiomics(FeatureExtractor):
    """All families of radiomics, of the image and of filtered images.

    One step in place of a union of `IntensityStatistics`, `IntensityVolumeHistogram`, `GLCM`,
    `GLRLM`, `GLSZM`, `GLDZM`, `NGTDM`, `NGLDM` and `ShapeStatistics`, with the same columns and the
    same values: features as the Image Biomarker Standardisation Initiative defines them ([1]_).

    Read more in the :ref:`User Guide <radiomics>`.

    Parameters
    ----------
    families : sequence of str or None, default=None
        Any of "intensity", "ivh", "glcm", "glrlm", "glszm", "gldzm", "ngtdm", "ngldm" and "shape";
        the columns are in this order. None for all but "shape", which needs a mask: a mask that an
        expert drew can reveal the diagnosis, see `ShapeStatistics`.
    filters : sequence of filters or None, default=None
        Image steps with a method ``get_response_name``, each with its own columns of all families
        but "shape". They are used as they are, and must not require `fit`.
    levels : int, default=32
        Number of bins of equal width (IBSI's *fixed bin number*), up to 1024, of all families but
        "ivh", which has 1000 as the IBSI recommends. The gray-level matrices do not use it with
        `bin_width`.
    bin_width : float or None, default=None
        Width of a bin of "ivh" and of the gray-level matrices, as a fraction of the largest value
        of the image's dtype, see `GLCM`.
    intensity_range : tuple of float or None, default=None
        Brightness ``(low, high)``, from 0 to 1, that the bins of "ivh" and of the gray-level
        matrices span; None for the range of each image or, if it is masked, of its region.
    spacing : float or None, default=None
        Millimeters between the pixels of all images, for "shape"; None measures in pixels.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Data type of the rows; the computation uses double precision.

    See Also
    --------
    GLCM : One of the families, with all of its parameters.
    IntensityStatistics : The family "intensity".

    Notes
    -----
    Columns are named as those of the families, ``glcm_d1_contrast``; those of a filtered image
    start with the name of the filter's response, ``log_sigma_2_glcm_d1_contrast``. Each image is
    filtered once, and discretized once for all gray-level matrices.

    "intensity" has the columns of ``IntensityStatistics(n_bins=levels, bin_range="region")``:
    statistics of brightness and of its histogram. Bins of filtered images are those of their own
    range, unless there is an `intensity_range` or a `bin_width`, which then apply to the values of
    the response, too.

    Color images are converted to their luma. Features are those of pixels inside the mask; filters
    use pixels around it, too. Each column can depend on all pixels of the region.

    References
    ----------
    .. [1] Zwanenburg A et al. The Image Biomarker Standardization Initiative. Radiology 295 (2020)
       328-338, doi:10.1148/radiol.2020191145; reference manual arXiv:1612.07003.

    Examples
    --------
    >>> from featbus import Radiomics, load_masked, make_breast_ultrasound
    >>> data = make_breast_ultrasound(4, weights=[1, 1, 0], random_state=0)
    >>> radiomics = Radiomics(levels=16)
    >>> radiomics.fit_transform(load_masked(data)).shape
    (4, 145)
    >>> Radiomics(families=["glcm", "ngtdm"]).get_feature_names_out()[-2:].tolist()
    ['ngtdm_complexity', 'ngtdm_strength']
    """

    _takes_responses = True

    _parameter_constraints = {
        "families": [None, SequenceOf(StrOptions(set(_FAMILIES)))],
        "filters": [None, SequenceOf(HasMethods(["_transform_image", "get_response_name"]))],
        **{
            name: GrayLevelFeatures._parameter_constraints[name]
            for name in ("levels", "bin_width", "intensity_range")
        },
        "spacing": ShapeStatistics._parameter_constraints["spacing"],
    }

    def __init__(
        self,
        *,
        families: Sequence[str] | None = None,
        filters: Sequence[Any] | None = None,
        levels: int = 32,
        bin_width: float | None = None,
        intensity_range: tuple[float, ...] | None = None,
        spacing: float | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.families = families
        self.filters = filters
        self.levels = levels
        self.bin_width = bin_width
        self.intensity_range = intensity_range
        self.spacing = spacing
        self.dtype = dtype

    def _check_parameters(self):
        super()._check_parameters()
        for step in self._filters():
            step._check_parameters()
        names = [step.get_response_name() for step in self._filters()]
        if len(set(names)) < len(names):
            raise ValueError(f"filters have the names {names}, expected different filters.")

    def _fingerprint_params(self):
        # Rows depend on the algorithm versions of the families, too.
        return super()._fingerprint_params() | {"extractors": self._extractors()}

    def _filters(self):
        return () if self.filters is None else self.filters

    def _extractors(self):
        """Return the extractor of each family."""
        bins = {"bin_width": self.bin_width, "intensity_range": self.intensity_range}
        extractors = {
            "intensity": IntensityStatistics(n_bins=self.levels, bin_range="region"),
            "ivh": IntensityVolumeHistogram(**bins),
            **{name: family(levels=self.levels, **bins) for name, family in _MATRICES.items()},
            "shape": ShapeStatistics(spacing=self.spacing),
        }
        chosen = _FAMILIES[:-1] if self.families is None else self.families
        return {name: extractors[name] for name in _FAMILIES if name in chosen}

    def _extract(self, image):
        extractors = self._extractors()
        row = _describe(image, extractors)
        extractors.pop("shape", None)
        for step in self._filters():
            row += _describe(step._transform_image(image), extractors)
        return np.concatenate(row)

    def _columns(self):
        extractors = self._extractors()
        for extractor in extractors.values():
            yield from extractor._columns()
        extractors.pop("shape", None)
        for name in [step.get_response_name() for step in self._filters()]:
            for column in (column for step in extractors.values() for column in step._columns()):
                yield Column(f"{name}_{column.name}", f"{column.what} of the response {name}")


def _describe(image, extractors):
    """Return the features of each extractor; gray levels are made once for all that share bins."""
    find_levels = cache(partial(gray_levels, image))
    row = []
    for extractor in extractors.values():
        if isinstance(extractor, GrayLevelFeatures):
            limits = extractor.intensity_range
            limits = None if limits is None else tuple(limits)
            levels = find_levels(extractor.levels, extractor.bin_width, limits)
            row.append(extractor._make_row(levels))
        else:
            row.append(extractor._extract(image))
    return row
