"""From columns back to pixels: `where` and `plot_importance`."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from featbus import (
    HOG,
    LBP,
    FeatureBus,
    IntensityStatistics,
    Resize,
    make_breast_ultrasound,
    plot_importance,
)
from featbus.evaluation._importance import importance_map

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64)).astype(np.uint8)
FROM_24, TO_32 = slice(24, 48), slice(0, 32)


@pytest.mark.parametrize(
    "extractor",
    [
        HOG(pixels_per_cell=(4, 3), cells_per_block=(2, 1)),
        HOG(pixels_per_cell=(5, 6), cells_per_block=(1, 1), signed=True, block_norm="L1-sqrt"),
        LBP(cells=(2, 3)),
        LBP(cells=(2, 1), n_points=[8, 5], radius=[1, 2.5], method="nri_uniform"),
        LBP(cells=(3, 2), n_points=2, radius=3, method="var"),
    ],
)
def test_where_is_the_box_of_all_pixels_that_can_change_a_column(extractor):
    """Invert one pixel at a time: nothing outside of the box counts, and no smaller box does."""
    shape = 19, 17
    pixels = np.ravel_multi_index(np.indices(shape), shape)
    single = pixels.ravel()[:, np.newaxis, np.newaxis] == pixels
    changed = False
    for seed in range(3):
        image = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
        extractor.fit([image])
        rows = extractor.transform(np.where(single, 255 - image, image))
        changed = changed | (rows != extractor.transform([image]))
    together = {}
    for name, by_pixel in zip(extractor.get_feature_names_out(), changed.T.reshape(-1, *shape)):
        box = extractor.where(name, shape)[:2]
        inside = np.zeros(shape, bool)
        inside[box] = True
        assert not by_pixel[~inside].any(), name
        key = box[0].start, box[0].stop, box[1].start, box[1].stop
        together[key] = together.get(key, False) | by_pixel
    for (top, bottom, left, right), by_pixel in together.items():
        rows, columns = np.nonzero(by_pixel)
        assert (rows.min(), rows.max() + 1) == (top, bottom)
        assert (columns.min(), columns.max() + 1) == (left, right)


@pytest.mark.parametrize(
    ("extractor", "name", "place"),
    [
        # Two by two cells, and the neighbors that their gradients need.
        (
            HOG(pixels_per_cell=(8, 6), cells_per_block=(2, 2)).fit([NOISE]),
            "hog_r03_c02_b1_o4",
            (slice(23, 41), slice(11, 25), "gradients of 80 to 100 degrees"),
        ),
        (IntensityStatistics(), "intensity_skewness", (slice(0, 48), slice(0, 64), "skewness")),
    ],
)
def test_where_of_a_column(extractor, name, place):
    assert extractor.where(name, NOISE.shape) == place


def test_an_unknown_column():
    with pytest.raises(ValueError, match="no column 'intensity_skew'.*intensity_skewness"):
        IntensityStatistics().where("intensity_skew", (49, 64))


def test_the_map_sums_to_the_weights_and_lies_where_they_belong():
    hog = HOG(pixels_per_cell=(8, 8), cells_per_block=(2, 2)).fit([NOISE])
    names = hog.get_feature_names_out().tolist()
    weights = np.zeros(len(names))
    weights[names.index("hog_r03_c02_b1_o4")] = 2
    weights[names.index("hog_r00_c00_b0_o0")] = -1
    heat = importance_map(hog, weights, NOISE)
    expected = np.zeros(NOISE.shape)
    expected[24:32, 24:32] = 2 / 64
    expected[:8, :8] = -1 / 64
    np.testing.assert_allclose(heat, expected, atol=1e-12)


def test_through_pipelines_unions_and_the_bus():
    union = make_union(HOG(pixels_per_cell=(8, 8)), LBP(cells=(2, 2)), IntensityStatistics())
    bus = FeatureBus(make_pipeline(Resize((96, 96)), union))
    pipeline = make_pipeline(bus, StandardScaler()).fit([NOISE, NOISE[::-1]])
    names = bus.fit([NOISE]).get_feature_names_out()
    weights = np.where([name.startswith("lbp__lbp_p8_r1_c01_00") for name in names], 1.0, 0)
    heat = importance_map(pipeline, weights, NOISE)
    assert heat.shape == NOISE.shape
    assert heat[24:, :32].sum() == pytest.approx(weights.sum())
    np.testing.assert_allclose(heat[:24], 0, atol=1e-12)


def weigh_cell(transformer, cell, image=NOISE, foreign=False):
    """Return the map of weights that sum to 1 for the columns of one cell of an LBP."""
    transformer.fit([image], [0])
    names = (transformer[1:] if foreign else transformer).get_feature_names_out()
    weights = np.array([cell in name for name in names], dtype=float)
    return importance_map(transformer, weights / weights.sum(), image)


def assert_spread(heat, rows, columns):
    """Assert that weights that sum to 1 are spread evenly over a box."""
    expected = np.zeros(heat.shape)
    expected[rows, columns] = 1
    np.testing.assert_allclose(heat, expected / expected.sum(), atol=1e-12)


@pytest.mark.parametrize(
    ("cell", "rows", "columns"),
    [
        # 48 x 64 pixels become the rows 4 to 28 of 32 x 32.
        ("_c00_00_", slice(0, 8), slice(0, 16)),
        ("_c01_02_", slice(8, 24), slice(32, 48)),
        ("_c03_03_", slice(40, 48), slice(48, 64)),
    ],
)
def test_weights_of_a_letterboxed_image_land_on_its_pixels(cell, rows, columns):
    pipeline = make_pipeline(Resize(32, method="letterbox"), LBP(cells=(4, 4)))
    assert_spread(weigh_cell(pipeline, cell), rows, columns)


def test_weights_of_a_letterbox_padding_are_left_out():
    image = NOISE[:16]  # becomes the rows 12 to 20 of 32
    pipeline = make_pipeline(Resize(32, method="letterbox"), LBP(cells=(4, 4)))
    assert not weigh_cell(pipeline, "_c00_01_", image).any()
    assert_spread(weigh_cell(pipeline, "_c01_01_", image), slice(0, 8), slice(16, 32))


def test_steps_are_mapped_back_in_reverse():
    # 48 x 64 -> 24 x 64 -> rows 10 to 22 of 32 x 32: a row is 4, a column 2 pixels of the image.
    image_steps = make_pipeline(Resize((24, 64)), "passthrough", Resize(32, method="letterbox"))
    pipeline = make_pipeline(image_steps, FeatureBus(make_pipeline(LBP(cells=(4, 4)))))
    assert_spread(weigh_cell(pipeline, "_c01_01_"), slice(0, 24), slice(16, 32))


def test_foreign_steps_count_as_a_stretch():
    halve = FunctionTransformer(lambda images: [image[::2, ::4] for image in images])
    pipeline = make_pipeline(halve, LBP(cells=(2, 2)))
    assert_spread(weigh_cell(pipeline, "_c01_00_", foreign=True), FROM_24, TO_32)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda lbp: make_pipeline("passthrough", make_union(make_pipeline(lbp, "passthrough"))),
        lambda lbp: make_union("drop", FrozenEstimator(lbp), "drop"),
        lambda lbp: make_pipeline(FrozenEstimator(FeatureBus(lbp).fit([NOISE])), StandardScaler()),
    ],
)
def test_through_placeholders_and_frozen_steps(wrap):
    assert_spread(weigh_cell(wrap(LBP(cells=(2, 2))), "_c01_00_"), FROM_24, TO_32)


def test_unions_with_steps_of_their_own():
    own = make_pipeline(Resize((96, 32), method="letterbox"), LBP(cells=(4, 1), radius=2))
    pipeline = make_pipeline(Resize((24, 32)), make_union(LBP(cells=(2, 2)), "drop", own))
    assert_spread(weigh_cell(pipeline, "lbp__lbp_p8_r1_c01_00_"), FROM_24, TO_32)
    # 24 x 32 are the rows 36 to 60 of 96 x 32, of which a cell has 24.
    assert_spread(weigh_cell(pipeline, "_r2_c01_00_"), slice(0, 24), slice(0, 64))


def test_steps_of_a_union_transform_the_image_once():
    seen = []
    step = FunctionTransformer(lambda images: seen.append(len(images)) or images)
    pipeline = make_pipeline(step, make_union(LBP(), IntensityStatistics(), LBP(radius=2)))
    n_columns = pipeline.fit_transform([NOISE]).shape[1]
    seen.clear()
    importance_map(pipeline, np.ones(n_columns), NOISE)
    assert seen == [1]


def test_boxes_of_less_than_a_pixel_keep_their_weight():
    heat = weigh_cell(make_pipeline(Resize(64), LBP(cells=(16, 16))), "_c05_09_", NOISE[:8, :8])
    assert_spread(heat, slice(2, 3), slice(4, 5))


def test_the_plot():
    images = make_breast_ultrasound(2, random_state=0).images
    hog = HOG(pixels_per_cell=(16, 16)).fit(images)
    weights = np.random.default_rng(0).normal(size=len(hog.get_feature_names_out()))
    figure, axes = plt.subplots()
    assert plot_importance(hog, weights, images[0], ax=axes) is axes
    gray, heat = axes.get_images()
    np.testing.assert_allclose(heat.get_array(), importance_map(hog, weights, images[0]))
    assert gray.get_array().max() <= 1
    plt.close(figure)


@pytest.mark.parametrize(
    ("transformer", "n_weights", "message"),
    [
        (LBP(), 9, r"shape \(9,\), expected \(10,\)"),
        (StandardScaler(), 10, "cannot be traced back to pixels"),
        (make_pipeline(Resize(32), StandardScaler()), 10, "cannot be traced back to pixels"),
        (make_union(LBP(), "passthrough"), 10, "'passthrough' has columns that cannot be traced"),
    ],
)
def test_what_cannot_be_painted(transformer, n_weights, message):
    with pytest.raises(ValueError, match=message):
        importance_map(transformer, np.ones(n_weights), NOISE)
