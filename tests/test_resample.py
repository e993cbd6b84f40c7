"""Images of one pixel size."""

import pickle

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer
from test_spacing import IMAGE, png, tiff

from featbus import (
    LBP,
    FeatureBus,
    FeatureStore,
    ImageAugmenter,
    ImageFunction,
    ImageLoader,
    IntensityStatistics,
    Resample,
    Resize,
    ShapeStatistics,
    TestTimeAugmentation,
    commands,
)
from featbus.datasets import load_images
from featbus.evaluation import importance_map
from featbus.images import ImageError
from featbus.io import SpacedImage, read_image
from featbus.masks import inside_mask, with_mask

NOISE = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)


def disc(spacing, diameter=12.0, center=(14.0, 17.0), size=(30.0, 36.0)):
    """Return a masked image of a disc; all lengths in millimeters."""
    down, across = np.broadcast_to(spacing, 2)
    row, column = np.ogrid[: round(size[0] / down), : round(size[1] / across)]
    away = np.hypot((row + 0.5) * down - center[0], (column + 0.5) * across - center[1])
    inside = away <= diameter / 2
    return SpacedImage(with_mask(np.where(inside, 200, 50).astype(np.uint8), inside), spacing)


def measure(images, spacing=0.1):
    pipeline = make_pipeline(Resample(spacing), ShapeStatistics(spacing=spacing))
    return pipeline.set_output(transform="pandas").fit_transform(images)


# An outline that was enlarged has steps, which make it longer.
@pytest.mark.parametrize(
    ("spacing", "error"),
    [(0.05, 0.01), ((0.13, 0.07), 0.01), ((0.05, 0.2), 0.05), ((0.1, 0.2), 0.08), (0.2, 0.11)],
)
def test_a_disc_has_the_same_size_in_millimeters_at_any_spacing(spacing, error):
    row = measure([disc(spacing)]).loc[0]
    assert row["shape_area_mm2"] == pytest.approx(np.pi * 6**2, rel=0.01)
    assert row["shape_equivalent_diameter_mm"] == pytest.approx(12, rel=0.005)
    assert row["shape_perimeter_mm"] == pytest.approx(12 * np.pi, rel=error)
    assert row["shape_major_axis_length_mm"] == pytest.approx(12, rel=0.01)


@pytest.mark.parametrize("spacing", [0.05, 0.2, (0.05, 0.2)])
def test_nothing_is_shifted(spacing):
    (image,) = Resample(0.1).transform([disc(spacing)])
    center = [(part.mean() + 0.5) * 0.1 for part in np.nonzero(inside_mask(image))]
    np.testing.assert_allclose(center, (14, 17), atol=0.01)


@pytest.mark.parametrize("dtype", [np.uint16, np.float64])
@pytest.mark.parametrize("masked", [False, True])
def test_the_pixels_are_those_of_resize(dtype, masked):
    rng = np.random.default_rng(0)
    image = (rng.random((23, 31, 3)) * (65535 if dtype is np.uint16 else 1)).astype(dtype)
    image = with_mask(image, rng.random((23, 31)) > 0.3) if masked else image
    for spacing, size in ((0.2, (46, 62)), (0.03, (7, 9)), ((0.2, 0.05), (46, 16))):
        (found,) = Resample(0.1).transform([SpacedImage(image, spacing)])
        (expected,) = Resize(size).transform([image])
        assert found.dtype == dtype
        np.testing.assert_array_equal(np.ma.getdata(found), np.ma.getdata(expected))
        np.testing.assert_array_equal(np.ma.getmaskarray(found), np.ma.getmaskarray(expected))


def test_spacing_of_files(tmp_path):
    images = [SpacedImage(NOISE, 0.1), SpacedImage(NOISE, (0.0508, 0.0994))]
    same, rounded = Resample(0.1).transform(images)
    np.testing.assert_array_equal(same, NOISE)
    assert rounded.shape == (30, 80)  # 30.48, 79.52
    paths = [png(tmp_path / "a.png", 5_000, 10_000), tiff(tmp_path / "b.tif", (100, 200))]
    shapes = [image.shape for image in Resample(0.1).transform(paths)]
    assert shapes == [(20, 60), (10, 30)]
    told = [SpacedImage(paths[0], 0.1), SpacedImage(str(paths[1]), 0.3)]
    assert [image.shape for image in Resample(0.1).transform(told)] == [(20, 30), (60, 90)]


def test_images_of_unknown_spacing(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), NOISE)
    for item, name in ((path, r" \('.*a.png'\)"), (NOISE, ""), (SpacedImage(path, None), "")):
        with pytest.raises(ImageError, match=f"image 1{name}: .*no spacing"):
            Resample(0.1).transform([SpacedImage(NOISE, 0.1), item])


def test_other_steps_lose_the_spacing(tmp_path):
    for item in (SpacedImage(NOISE, 0.1), png(tmp_path / "a.png", 10_000)):
        with pytest.raises(ImageError, match="image 0: .*no spacing"):
            make_pipeline(ImageLoader(), Resample()).fit_transform([item])


def test_views_and_copies_have_no_spacing(tmp_path):
    """Another one than that of their image would be wrong without notice."""
    images, y = [png(tmp_path / "a.png", 5_000), SpacedImage(NOISE, 0.2)] * 2, [0, 1] * 2
    pipeline = make_pipeline(Resample(0.2), IntensityStatistics(), LogisticRegression())
    views = TestTimeAugmentation(pipeline).fit(images, y)
    with pytest.raises(ImageError, match="no spacing"):
        views.predict(images)
    images, _ = ImageAugmenter(n_copies=1).fit_resample(images, y)
    with pytest.raises(ImageError, match="image 4: .*no spacing"):
        pipeline.fit(images, y * 2)


@pytest.mark.parametrize("old", [100, 1e-300])
def test_spacings_in_another_unit_are_refused(old):
    with pytest.raises(ImageError, match="image 1: .*60, 80. pixels of .* mm"):
        Resample(0.1).transform([SpacedImage(NOISE, 0.1), SpacedImage(NOISE, old)])


def test_the_limit_of_pixels_is_that_of_the_reader(monkeypatch):
    monkeypatch.setenv("FEATBUS_MAX_PIXELS", str(120 * 160))
    assert Resample(0.1).transform([SpacedImage(NOISE, 0.2)]).shape == (1, 120, 160)
    with pytest.raises(ImageError, match="19200"):
        Resample(0.1).transform([SpacedImage(NOISE, (0.2, 0.21))])


def stored_row(item, memory, spacing=0.1):
    pipeline = make_pipeline(Resample(spacing), LBP())
    return FeatureBus(pipeline, memory=memory).fit_transform([item])


def test_a_changed_spacing_changes_the_stored_row(tmp_path):
    path, memory = tmp_path / "a.png", tmp_path / "rows"
    # Of the file, in which only the header changes; of an item; and the parameter.
    rows = [stored_row(png(path, across), memory) for across in (10_000, 5_000)]
    items = [SpacedImage(item, spacing) for spacing in (0.15, 0.3) for item in (NOISE, path)]
    rows += [stored_row(item, memory) for item in items]
    rows += [stored_row(items[0], memory, spacing) for spacing in (0.12, 0.24)]
    assert len(np.unique(np.concatenate(rows), axis=0)) == len(rows)
    assert FeatureStore(memory).info()["n_rows"].sum() == len(rows)
    again = stored_row(SpacedImage(NOISE, (0.3, 0.3)), memory)
    np.testing.assert_array_equal(again, rows[4])
    assert FeatureStore(memory).info()["n_rows"].sum() == len(rows)


def test_a_masked_image_of_another_spacing_has_another_row(tmp_path):
    masked = with_mask(NOISE, NOISE > 100)
    items = [SpacedImage(masked, spacing) for spacing in (0.1, 0.2, 0.1)]
    pipeline = make_pipeline(Resample(0.1), IntensityStatistics())
    bus = FeatureBus(pipeline, memory=tmp_path / "rows")
    np.testing.assert_array_equal(bus.fit_transform(items), pipeline.fit_transform(items))


def test_a_function_after_it_does_not_change_the_images():
    def blacken(image):
        image[:] = 0
        return image

    kept = NOISE.copy()
    bus = FeatureBus(make_pipeline(Resample(0.1), ImageFunction(blacken), IntensityStatistics()))
    bus.fit_transform([SpacedImage(kept, 0.1)])
    np.testing.assert_array_equal(kept, NOISE)


def test_cross_validation_of_copies():
    images = [disc(spacing, diameter) for spacing in (0.1, 0.2) for diameter in (6, 9) * 4]
    area = FunctionTransformer(lambda rows: rows[:, [1]])
    shape = ShapeStatistics(spacing=0.2)
    pipeline = make_pipeline(Resample(0.2), shape, area, LogisticRegression())
    copies = pd.Series(pickle.loads(pickle.dumps(images)))
    assert cross_val_score(pipeline, copies, [0, 1] * 8, cv=2).tolist() == [1, 1]


def test_boxes_are_mapped_back(tmp_path):
    path = png(tmp_path / "a.png", 10_000, 5_000)  # 20 x 30 pixels
    boxes = [[0, 0, 40, 30], [10, 3, 20, 6]]
    np.testing.assert_allclose(
        Resample(0.1).map_boxes(boxes, path), [[0, 0, 20, 30], [5, 3, 10, 6]]
    )
    pipeline = make_pipeline(Resample(0.1), LBP(cells=(2, 1))).fit([path])
    n_features = len(pipeline[-1].get_feature_names_out())
    weights = np.arange(n_features) < n_features // 2
    for item in (path, SpacedImage(read_image(path), (0.2, 0.1))):
        heat = importance_map(pipeline, weights, item)
        assert heat.shape == (20, 30)
        assert heat[:9].min() > 0
        assert heat[11:].max() == pytest.approx(0, abs=1e-9)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Write one lesion of 12 mm twice, as TIFF files of different spacing, with its masks."""
    root = tmp_path_factory.mktemp("scans")
    for name, spacing in (("near", 0.1), ("deep", 0.2)):
        image = disc(spacing).image
        for folder, pixels in (("lesion", image.data), ("masks", inside_mask(image))):
            path = root / folder / ("lesion" if folder == "masks" else "") / f"{name}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tiff(path, (10 / spacing,) * 2, pixels=pixels.astype(np.uint8))
    return root


def test_extract_features_of_masked_images(scans, tmp_path):
    pipeline = make_pipeline(Resample(0.1), ShapeStatistics(spacing=0.1))
    table = commands.extract(
        scans / "lesion", pipeline, masks=scans / "masks" / "lesion", memory=tmp_path / "rows"
    )
    assert table["error"].isna().all()
    np.testing.assert_allclose(table["shape_area_mm2"], np.pi * 36, rtol=0.01)
    np.testing.assert_allclose(table["spacing_row"], [0.2, 0.1])


@pytest.fixture
def stated(tmp_path):
    """Write two images whose files state 0.2 mm, and return their folder."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in "ab":
        png(folder / f"{name}.png", 5_000)
    return folder


def table_of(row, column):
    return pd.DataFrame(
        {"file": ["a.png", "b.png"], "group": [1, 2], "spacing_row": row, "spacing_column": column}
    )


def test_extract_features_with_the_spacings_of_a_table(stated):
    features = make_pipeline(Resample(0.2), make_union(LBP(), IntensityStatistics()))
    spacings = [0.4, 0.2]
    table = commands.extract(stated, features, groups=table_of(spacings, spacings))
    assert table["spacing_row"].tolist() == spacings
    images = [SpacedImage(stated / "a.png", 0.4), stated / "b.png"]
    np.testing.assert_array_equal(table.filter(like="lbp_"), features.fit_transform(images)[:, :10])


def test_a_table_that_states_the_same_finds_the_rows_of_the_files(stated, tmp_path):
    memory = tmp_path / "rows"
    for groups in (None, table_of(0.2, 0.2)):
        commands.extract(stated, make_pipeline(Resample(0.1), LBP()), groups=groups, memory=memory)
    assert FeatureStore(memory).info()["n_rows"].sum() == 1  # both show the same


@pytest.mark.parametrize(("unknown", "masks"), [(None, "_mask"), (float("nan"), None)])
def test_extract_features_of_unknown_spacing(stated, unknown, masks):
    for name in "ab":
        cv2.imwrite(str(stated / f"{name}_mask.png"), np.uint8(IMAGE > 100))
    pipeline = make_pipeline(Resample(0.1), IntensityStatistics())
    groups = table_of(pd.Series([unknown, 0.2], dtype=object), 0.2)
    table = commands.extract(stated, pipeline, masks=masks, groups=groups)
    assert table["error"].iloc[0].startswith("found no spacing")
    assert table["error"].isna().tolist() == [False, True]


@pytest.mark.parametrize("wrong", [0, float("inf"), "0.1 mm"])
def test_wrong_spacings_in_a_table_are_named(stated, wrong):
    groups = table_of(pd.Series([0.1, wrong], dtype=object), 0.1)
    with pytest.raises(ValueError, match=r"no valid spacing for 'b\.png', expected positive"):
        load_images(stated, groups=groups)
