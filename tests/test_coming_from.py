"""What the pages "Coming from" say of other libraries holds for the installed ones."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import skimage
from _data import data_dir
from _lbp import exact_differences, lbp_codes
from packaging.version import Version
from skimage.feature import graycomatrix, graycoprops, hog, local_binary_pattern

from featbus import (
    GLCM,
    GLRLM,
    GLSZM,
    HOG,
    NGLDM,
    NGTDM,
    DeepFeatures,
    IntensityStatistics,
    Resize,
    ShapeStatistics,
    WaveletFilter,
    load_masked,
    make_breast_ultrasound,
)
from featbus.color import to_gray
from featbus.io import read_image

PAGES = Path(__file__).resolve().parents[1] / "docs" / "coming_from"
IMAGES = make_breast_ultrasound(2, random_state=0).images
WIDTH = 8 / 255
NEW = {"mean", "variance", "std", "entropy"}
RELATIONS = {
    "equal": float,
    "square each direction, then average": np.square,
    "add 1": lambda value: value + 1,
    "divide by ln 2": lambda value: value / math.log(2),
    "divide by 255": lambda value: value / 255,
    "divide by 255²": lambda value: value / 255**2,
    "subtract 3": lambda value: value - 3,
    "√(1 - x²)": lambda value: math.sqrt(1 - value**2),
    "multiply by π(1 + √2)/8": lambda value: value * math.pi * (1 + math.sqrt(2)) / 8,
    "add 1/2": lambda value: value + 0.5,
}

OTHER_BINS = {"intensity_entropy", "intensity_uniformity"}  # of responses
WITHOUT_A_COLUMN = {"glcm_MCC", "shape2D_MaximumDiameter", "shape2D_PerimeterSurfaceRatio"}


def read_table(name):
    """Return the rows of a table of names, without the marks of code."""
    with (PAGES / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [[cell.replace("`", "") for cell in row] for row in rows]


def make_row(image):
    """Return all features of the table of pyradiomics for one masked image, by column."""
    options = {"dtype": np.float64}
    row = {}
    for steps in (
        GLCM(bin_width=WIDTH, **options),
        GLRLM(bin_width=WIDTH, **options),
        GLSZM(bin_width=WIDTH, **options),
        NGLDM(bin_width=WIDTH, **options),
        NGTDM(bin_width=WIDTH, **options),
        IntensityStatistics(n_bins=32, **options),
        ShapeStatistics(**options),
    ):
        row |= zip(steps.fit([image]).get_feature_names_out(), steps.transform([image])[0])
    return row


@pytest.fixture(scope="module")
def region():
    return load_masked(make_breast_ultrasound(1, weights=[0, 1, 0], random_state=0))[0]


@pytest.mark.parametrize("is_color", [False, True])
def test_hog_equals_scikit_image(is_color):
    images = IMAGES
    if is_color:
        images = np.stack([IMAGES, IMAGES[:, ::-1], IMAGES[:, :, ::-1]], axis=-1)
    options = {"pixels_per_cell": (32, 32), "cells_per_block": (2, 2)}
    theirs = [hog(image, channel_axis=-1 if is_color else None, **options) for image in images]
    ours = HOG(**options, dtype=np.float64).fit_transform(images)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_lbp_of_real_scans_equals_scikit_image_except_at_ties():
    paths = [data_dir("busi") / kind / f"{kind} (1).png" for kind in ("benign", "normal")]
    largest = 0
    for scan in [to_gray(read_image(path)) for path in paths]:
        ours, theirs = lbp_codes(scan), local_binary_pattern(scan, 8, 1, "uniform").astype(int)
        has_tie = (exact_differences(scan, 8, 1) == 0).any(axis=0)
        np.testing.assert_array_equal(ours[~has_tie], theirs[~has_tie])
        counts = [np.bincount(codes.ravel(), minlength=10) for codes in (ours, theirs)]
        largest = max(largest, abs(counts[0] - counts[1]).max() / scan.size)
    assert 1e-4 < largest < 6e-3


@pytest.mark.parametrize(("theirs", "ours", "relation"), read_table("scikit_image.csv"))
def test_properties_of_scikit_image(theirs, ours, relation):
    if theirs in NEW and Version(skimage.__version__) < Version("0.25"):
        pytest.skip(f"graycoprops has {theirs} from scikit-image 0.25 on")
    image = IMAGES[0]
    low, high = int(image.min()), int(image.max())
    bins = np.minimum((image - low) / (high - low) * 32, 31).astype(np.uint8)
    angles = np.arange(4) * np.pi / 4
    matrices = graycomatrix(bins, [1], angles, 32, symmetric=True, normed=True)
    glcm = GLCM(levels=32, dtype=np.float64).fit([image])
    row = dict(zip(glcm.get_feature_names_out(), glcm.transform([image])[0]))
    values = [RELATIONS[relation](value) for value in graycoprops(matrices, theirs)[0]]
    assert row[f"glcm_d1_{ours}"] == pytest.approx(np.mean(values), rel=1e-6)


@pytest.mark.network
def test_rows_equal_those_of_a_keras_loop():
    import keras
    from keras.applications import mobilenet_v2

    keras.utils.set_random_seed(0)
    network = mobilenet_v2.MobileNetV2(
        input_shape=(96, 96, 3), alpha=0.35, include_top=False, pooling="avg", weights=None
    )
    small = Resize(96).fit_transform(IMAGES)
    batch = np.repeat(small[..., None], 3, axis=-1).astype(np.float32)
    theirs = network.predict(mobilenet_v2.preprocess_input(batch), verbose=0)
    deep = DeepFeatures(
        "mobilenet_v2", input_size=96, backbone_options={"alpha": 0.35}, weights=None
    )
    ours = deep.fit_transform(small)
    assert abs(ours - theirs).max() < 1e-4 * abs(theirs).max()


def test_columns_beside_those_of_pyradiomics_exist(region):
    table = read_table("pyradiomics.csv")
    assert {ours for _, ours, _ in table if ours} <= set(make_row(region))
    assert {name for name, ours, _ in table if not ours} == WITHOUT_A_COLUMN
    exact = [relation for *_, relation in table if relation in RELATIONS]
    index = (PAGES / "index.rst").read_text(encoding="utf-8")
    assert f"{len(exact)} of {len(table)} features" in index


def run_pyradiomics(image, classes, prefix="original_", **settings):
    """Return pyradiomics' values of one masked image or of its response `prefix`, by name."""
    sitk = pytest.importorskip("SimpleITK", reason="needs pyradiomics")
    featureextractor = pytest.importorskip("radiomics.featureextractor", reason="needs pyradiomics")
    settings = {"binWidth": 8, "force2D": True} | settings
    extractor = featureextractor.RadiomicsFeatureExtractor(**settings)
    if prefix.startswith("wavelet"):
        extractor.enableImageTypeByName("Wavelet")
    extractor.disableAllFeatures()
    for name in classes:
        extractor.enableFeatureClassByName(name)
    values = extractor.execute(
        sitk.GetImageFromArray(image.data[None].astype(float)),
        sitk.GetImageFromArray((~image.mask)[None].astype(np.uint8)),
    )
    return {key[len(prefix) :]: float(values[key]) for key in values if key.startswith(prefix)}


def test_numbers_equal_those_of_pyradiomics(region):
    classes = ["firstorder", "shape2D", "glcm", "glrlm", "glszm", "gldm", "ngtdm"]
    theirs, ours = run_pyradiomics(region, classes), make_row(region)
    assert set(theirs) == {name for name, *_ in read_table("pyradiomics.csv")}
    for name, column, relation in read_table("pyradiomics.csv"):
        if relation in RELATIONS:
            value = RELATIONS[relation](theirs[name])
            assert ours[column] == pytest.approx(value, rel=1e-6), name
    sphericity = 0.948 * math.sqrt(ours["shape_circularity"])
    assert theirs["shape2D_Sphericity"] == pytest.approx(sphericity, rel=1e-3)


@pytest.mark.parametrize("width", [8, 10, 25])
def test_first_order_bins_of_pyradiomics_by_division(region, width):
    theirs = run_pyradiomics(region, ["firstorder"], binWidth=width)
    statistics = IntensityStatistics(n_bins=256, dtype=np.float64).fit([region])
    bins = np.ma.array(region.data // width, mask=region.mask)
    ours = dict(zip(statistics.get_feature_names_out(), statistics.transform([bins])[0]))
    for name in ("Entropy", "Uniformity"):
        value = theirs[f"firstorder_{name}"]
        assert ours[f"intensity_{name.lower()}"] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("is_odd", [False, True])
@pytest.mark.parametrize("band", ["LL", "LH", "HL", "HH"])
def test_wavelets_equal_those_of_pyradiomics(region, band, is_odd):
    if is_odd:  # the border goes through the region
        rows, columns = np.argwhere(~region.mask).mean(axis=0).astype(int) // 2 * 2 + 1
        region = region[:rows, :columns]
    classes = ["firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm"]
    theirs = run_pyradiomics(region, classes, prefix=f"wavelet-{band}_")
    if is_odd:
        mask = np.pad(region.mask, [(0, 1), (0, 1)], constant_values=True)
        region = np.ma.array(np.pad(region.data, [(0, 1), (0, 1)], "wrap"), mask=mask)
    wavelet = WaveletFilter(wavelet="coif1", band=band, invariant=False, boundary="periodic")
    ours = make_row(wavelet.transform([region])[0])
    for name, column, relation in read_table("pyradiomics.csv"):
        if name in theirs and relation in RELATIONS and column not in OTHER_BINS:
            value = RELATIONS[relation](theirs[name])
            assert ours[column] == pytest.approx(value, rel=1e-6), name


def test_neighborhoods_of_pyradiomics(region):
    theirs = run_pyradiomics(region, ["gldm", "ngtdm"], gldm_a=1, distances=[1, 2])
    ours = {}
    for steps in (NGLDM(coarseness=1, distance=2), NGTDM(distance=2)):
        steps.set_params(bin_width=WIDTH, dtype=np.float64).fit([region])
        ours |= zip(steps.get_feature_names_out(), steps.transform([region])[0])
    columns = {name: column for name, column, _ in read_table("pyradiomics.csv")}
    for name, value in theirs.items():
        assert ours[columns[name]] == pytest.approx(value, rel=1e-6), name


def test_pixels_without_neighbors_differ_from_pyradiomics():
    mask = np.ones((5, 7), bool)
    mask[1:4, 1:3] = mask[2, 5] = False
    image = np.ma.array(np.arange(0, 175, 5, np.uint8).reshape(5, 7), mask=mask)
    theirs, ours = run_pyradiomics(image, ["gldm", "ngtdm"]), make_row(image)
    large = "gldm_LargeDependenceEmphasis", "ngldm_high_dependence_emphasis"
    assert ours[large[1]] == pytest.approx(theirs[large[0]], rel=1e-6)
    # Theirs is 1 / sum(p * s) with 7 pixels instead of 6 in p.
    assert theirs["ngtdm_Coarseness"] == pytest.approx(ours["ngtdm_coarseness"] * 7 / 6, rel=1e-6)
