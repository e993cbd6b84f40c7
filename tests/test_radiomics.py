"""Radiomics."""

import cv2
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from featbus import (
    GLCM,
    GLDZM,
    GLRLM,
    GLSZM,
    NGLDM,
    NGTDM,
    FeatureBus,
    IntensityStatistics,
    IntensityVolumeHistogram,
    Radiomics,
    ShapeStatistics,
    load_masked,
    make_breast_ultrasound,
)
from featbus.base import ImageTransformer
from featbus.bus import fingerprint
from featbus.feature_extraction import _radiomics
from featbus.images import ImageError
from featbus.masks import with_mask_of

IMAGES = make_breast_ultrasound(2, random_state=0).images
REGIONS = load_masked(make_breast_ultrasound(2, weights=[1, 1, 0], random_state=0))
FAMILIES = ["intensity", "ivh", "glcm", "glrlm", "glszm", "gldzm", "ngtdm", "ngldm", "shape"]


class Blur(ImageTransformer):
    """A filter whose response is an image."""

    def __init__(self, sigma=1.0):
        self.sigma = sigma

    def _transform_image(self, image):
        pixels = np.ma.getdata(image)
        return with_mask_of(cv2.GaussianBlur(pixels, (0, 0), self.sigma), image)

    def get_response_name(self):
        return f"blur_{self.sigma:g}"


def join(images, with_shape=True, spacing=None, **bins):
    """Return the rows and names of the single extractors."""
    levels = bins.pop("levels", 32)
    matrices = [GLCM, GLRLM, GLSZM, GLDZM, NGTDM, NGLDM]
    extractors = [
        IntensityStatistics(n_bins=levels, bin_range="region"),
        IntensityVolumeHistogram(**bins),
        *(family(levels=levels, **bins) for family in matrices),
        *([ShapeStatistics(spacing=spacing)] if with_shape else []),
    ]
    extractors = [extractor.set_params(dtype=np.float64) for extractor in extractors]
    rows = np.hstack([extractor.fit_transform(images) for extractor in extractors])
    return rows, [name for step in extractors for name in step.get_feature_names_out()]


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"levels": 8, "spacing": 0.1},
        {"bin_width": 0.05},
        {"bin_width": 0.05, "intensity_range": [0, 1]},
    ],
)
def test_rows_equal_those_of_the_families_on_each_response(parameters):
    filters = [Blur(1), Blur(2.5)]
    radiomics = Radiomics(families=FAMILIES, filters=filters, dtype=np.float64, **parameters)
    expected, names = join(REGIONS, **parameters)
    for step in filters:
        rows, of_families = join(step.transform(REGIONS), with_shape=False, **parameters)
        expected = np.hstack([expected, rows])
        names += [f"{step.get_response_name()}_{name}" for name in of_families]
    np.testing.assert_array_equal(radiomics.fit_transform(REGIONS), expected)
    assert radiomics.get_feature_names_out().tolist() == names


def test_images_without_a_mask_have_all_families_but_shape():
    expected, names = join(IMAGES, with_shape=False)
    radiomics = Radiomics(dtype=np.float64)
    np.testing.assert_array_equal(radiomics.fit_transform(IMAGES), expected)
    assert radiomics.get_feature_names_out().tolist() == names
    with pytest.raises(ImageError, match="image 0: found no mask"):
        Radiomics(families=["shape"]).transform(IMAGES)


def test_the_order_of_families_does_not_matter():
    names = [Radiomics(families=part).get_feature_names_out()[0] for part in (FAMILIES[::-1], None)]
    assert names[0] == names[1] == "intensity_mean"


def test_gray_levels_are_made_once_for_all_matrices(monkeypatch):
    calls = []

    def count(*arguments):
        calls.append(arguments)
        return gray_levels(*arguments)

    gray_levels = _radiomics.gray_levels
    monkeypatch.setattr(_radiomics, "gray_levels", count)
    Radiomics(filters=[Blur()]).transform(REGIONS[:1])
    assert sorted(levels for _, levels, *_ in calls) == [32, 32, 1000, 1000]


def test_where_a_column_of_a_response_comes_from():
    radiomics = Radiomics(families=["glcm"], filters=[Blur()])
    where = radiomics.where("blur_1_glcm_d1_contrast", (20, 30))
    assert where == (slice(0, 20), slice(0, 30), "contrast at distance 1 of the response blur_1")


def test_filters_are_parameters():
    radiomics = Radiomics(families=["ngtdm"], filters=[Blur(1)])
    copy = clone(radiomics)
    assert copy.filters[0] is not radiomics.filters[0]
    rows = [
        clone(radiomics).set_params(**chosen).fit_transform(IMAGES)
        for chosen in ParameterGrid({"filters": [None, [Blur(1)], [Blur(1), Blur(2)]]})
    ]
    assert [part.shape[1] for part in rows] == [5, 10, 15]
    assert vars(radiomics.filters[0]) == {"sigma": 1}


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"families": ["glcm", "gldm"]}, "gldm"),
        ({"families": "glcm"}, "glcm"),
        ({"families": []}, "families"),
        ({"filters": [GLCM()]}, "get_response_name"),
        ({"filters": [Blur(), Blur()]}, "blur_1"),
        ({"levels": 0}, "levels"),
        ({"spacing": 0}, "spacing"),
    ],
)
def test_invalid_parameters(parameters, found):
    with pytest.raises(ValueError, match=found):
        Radiomics(**parameters).fit(IMAGES)


def test_keys_depend_on_filters_and_on_the_versions_of_the_families(monkeypatch):
    keys = [fingerprint(Radiomics(filters=[Blur(sigma)])) for sigma in (1, 2, 1)]
    assert keys[0] == keys[2] != keys[1]
    monkeypatch.setattr(GLCM, "_algorithm_version", 1000)
    assert fingerprint(Radiomics(filters=[Blur(1)])) != keys[0]
    without = [fingerprint(Radiomics(families=["ivh"])) for _ in range(2)]
    assert without[0] == without[1]


def test_rows_of_a_bus_are_stored(tmp_path):
    radiomics = Radiomics(families=["ngtdm", "shape"], filters=[Blur()])
    bus = FeatureBus(radiomics, memory=tmp_path / "rows.sqlite")
    np.testing.assert_array_equal(bus.fit_transform(REGIONS), radiomics.transform(REGIONS))
    assert bus.fit(REGIONS).get_feature_names_out()[-1] == "blur_1_ngtdm_strength"
