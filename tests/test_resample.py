"""Images of one pixel size."""

import pickle

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from test_spacing import IMAGE, png, tiff

from featbus import (
    LBP,
    FeatureBus,
    FeatureStore,
    ImageAugmenter,
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


# An outline that was enlarged has steps, which make it longer.
@pytest.mark.parametrize(
    ("spacing", "error"),
    [(0.05, 0.01), ((0.13, 0.07), 0.01), ((0.05, 0.2), 0.05), ((0.1, 0.2), 0.08), (0.2, 0.11)],
)
def test_a_disc_has_the_same_size_in_millimeters_at_any_spacing(spacing, error):
    (image,) = Resample(0.1).transform([disc(spacing)])
    row = ShapeStatistics(spacing=0.1).set_output(transform="pandas").transform([image]).loc[0]
    assert row["shape_area_mm2"] == pytest.approx(np.pi * 6**2, rel=0.01)
    assert row["shape_equivalent_diameter_mm"] == pytest.approx(12, rel=0.005)
    assert row["shape_perimeter_mm"] == pytest.approx(12 * np.pi, rel=error)
    assert row["shape_major_axis_length_mm"] == pytest.approx(12, rel=0.01)
    center = [(part.mean() + 0.5) * 0.1 for part in np.nonzero(inside_mask(image))]
    np.testing.assert_allclose(center, (14, 17), atol=0.011)  # nothing is shifted


@pytest.mark.parametrize("masked", [False, True])
def test_the_pixels_are_those_of_resize(masked):
    rng = np.random.default_rng(0)
    image = rng.integers(65536, size=(23, 31, 3), dtype=np.uint16)
    image = with_mask(image, rng.random((23, 31)) > 0.3) if masked else image
    for spacing, size in ((0.2, (46, 62)), ((0.2, 0.05), (46, 16))):
        (found,) = Resample(0.1).transform([SpacedImage(image, spacing)])
        (expected,) = Resize(size).transform([image])
        assert found.dtype == np.uint16
        for part in (np.ma.getdata, np.ma.getmaskarray):
            np.testing.assert_array_equal(part(found), part(expected))


def test_spacing_of_files(tmp_path):
    paths = [png(tmp_path / "a.png", 5_000, 10_000), tiff(tmp_path / "b.tif", (100, 200))]
    told = [SpacedImage(paths[0], 0.1), SpacedImage(str(paths[1]), 0.3)]
    told.append(SpacedImage(NOISE, (0.0508, 0.0994)))  # 30.48, 79.52
    shapes = [image.shape for image in Resample(0.1).transform(paths + told)]
    assert shapes == [(20, 60), (10, 30), (20, 30), (60, 90), (30, 80)]


def test_images_of_unknown_spacing(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), NOISE)
    for item, name in ((path, r" \('.*a.png'\)"), (NOISE, ""), (SpacedImage(path, None), "")):
        with pytest.raises(ImageError, match=f"image 1{name}: .*no spacing"):
            Resample(0.1).transform([SpacedImage(NOISE, 0.1), item])


def test_what_other_steps_return_has_no_spacing(tmp_path):
    """Another one than that of their image would be wrong without notice."""
    with pytest.raises(ImageError, match="image 0: .*no spacing"):
        make_pipeline(ImageLoader(), Resample()).fit_transform([SpacedImage(NOISE, 0.1)])
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


def test_a_changed_spacing_changes_the_stored_row(tmp_path, memory):
    def row_of(item, spacing=0.1):
        pipeline = make_pipeline(Resample(spacing), LBP())
        return FeatureBus(pipeline, memory=memory).fit_transform([item])[0]

    # Of the file, in which only the header changes; of an item; and the parameter.
    path = tmp_path / "a.png"
    rows = [row_of(png(path, across)) for across in (10_000, 5_000)]
    rows += [
        row_of(SpacedImage(item, spacing)) for item in (NOISE, path) for spacing in (0.15, 0.3)
    ]
    rows += [row_of(SpacedImage(NOISE, 0.15), spacing) for spacing in (0.12, 0.24)]
    assert len(np.unique(rows, axis=0)) == len(rows)
    np.testing.assert_array_equal(row_of(SpacedImage(NOISE, (0.3, 0.3))), rows[3])
    assert FeatureStore(memory).info()["n_rows"].sum() == len(rows)


def test_cross_validation_of_pickled_images():
    images = [disc(spacing, diameter) for spacing in (0.1, 0.2) for diameter in (6, 9) * 2]
    pipeline = make_pipeline(Resample(0.2), ShapeStatistics(spacing=0.2), LogisticRegression())
    copies = pd.Series(pickle.loads(pickle.dumps(images)))
    assert cross_val_score(pipeline, copies, [0, 1] * 4, cv=2).tolist() == [1, 1]


def test_boxes_are_mapped_back(tmp_path):
    path = png(tmp_path / "a.png", 10_000, 5_000)  # 20 x 30 pixels
    (box,) = Resample(0.1).map_boxes([[10, 3, 20, 6]], path)
    np.testing.assert_allclose(box, [5, 3, 10, 6])
    pipeline = make_pipeline(Resample(0.1), LBP(cells=(2, 1))).fit([path])
    weights = np.arange(20) < 10
    for item in (path, SpacedImage(read_image(path), (0.2, 0.1))):
        heat = importance_map(pipeline, weights, item)
        assert heat.shape == (20, 30)
        assert heat[:9].min() > 0
        assert heat[11:].max() == pytest.approx(0, abs=1e-9)


@pytest.fixture
def stated(tmp_path):
    """Write two images whose files state 0.2 mm, and return their folder."""
    for name in "ab":
        png(tmp_path / f"{name}.png", 5_000)
    return tmp_path


def table_of(row, column):
    return pd.DataFrame(
        {"file": ["a.png", "b.png"], "group": [1, 2], "spacing_row": row, "spacing_column": column}
    )


@pytest.mark.parametrize("masks", ["_mask", None])
def test_extract_features_with_the_spacings_of_a_table(stated, masks):
    for name in "ab":
        cv2.imwrite(str(stated / f"{name}_mask.png"), np.uint8(IMAGE > 100))
    pipeline = make_pipeline(Resample(0.2), IntensityStatistics())
    groups = table_of([0.4, float("nan")], [0.4, 0.2])
    table = commands.extract(stated, pipeline, masks=masks, groups=groups)
    image = with_mask(read_image(stated / "a.png"), IMAGE > 100 if masks else None)
    (expected,) = pipeline.fit_transform([SpacedImage(image, 0.4)])
    np.testing.assert_array_equal(table.filter(like="intensity_").iloc[0], expected)
    assert table["error"].iloc[1].startswith("found no spacing")
    assert table["error"].isna().tolist() == [True, False]


@pytest.mark.parametrize("wrong", [0, float("inf"), "0.1 mm"])
def test_wrong_spacings_in_a_table_are_named(stated, wrong):
    groups = table_of(pd.Series([0.1, wrong], dtype=object), 0.1)
    with pytest.raises(ValueError, match=r"no valid spacing for 'b\.png', expected positive"):
        load_images(stated, groups=groups)
