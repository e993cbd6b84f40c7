"""BreastDensity."""

import numpy as np
import pytest

from featbus import BreastDensity, BreastRegion, PectoralMuscleRemover, make_mammograms
from featbus.masks import with_mask


def row_of(image, **parameters):
    density = BreastDensity(dtype=np.float64, **parameters).set_output(transform="pandas")
    row = density.fit_transform([image]).iloc[0]
    return row.rename(lambda name: name.removeprefix("density_"))


def breast():
    """Return a breast of 60 pixels of fat and 40 of dense tissue beside a bright muscle."""
    image = np.full((10, 20), 255, np.uint8)
    image[:6, :10], image[6:, :10] = 100, 180
    inside = np.zeros(image.shape, bool)
    inside[:, :10] = True
    return with_mask(image, inside)


@pytest.mark.parametrize("threshold", ["median", "otsu", 0.5])
def test_known_parts(threshold):
    row = row_of(breast(), threshold=threshold)
    assert row["percent"] == row["dense_area"] == 40
    assert row["breast_area"] == 100
    np.testing.assert_allclose(row[["dense_mean", "fatty_mean"]], [180 / 255, 100 / 255])


def test_thresholds():
    assert row_of(breast())["threshold"] == pytest.approx(1.2 * 100 / 255)
    assert 100 / 255 < row_of(breast(), threshold="otsu")["threshold"] < 180 / 255
    assert row_of(breast(), threshold=0.6)["threshold"] == 0.6
    with pytest.raises(ValueError, match=r"threshold is 1\.5, expected"):
        BreastDensity(threshold=1.5).fit([breast()])


def test_a_pixel_at_the_threshold_is_fat_whatever_the_dtype():
    image = np.array([[50, 50, 50, 60, 200]], np.uint8)
    for pixels in (image, image * np.uint16(257), np.float32(image / 255), image / 255):
        assert row_of(pixels)["dense_area"] == 1
        assert row_of(pixels, threshold=60 / 255)["dense_area"] == 1


def test_the_gain_does_not_matter():
    image = make_mammograms(1, random_state=0).images / 255
    percent, halved = (row_of(pixels)["percent"] for pixels in (image[0], image[0] / 2))
    assert percent == halved


def test_millimeters():
    row = row_of(breast(), spacing=0.5)
    assert row["dense_area_mm2"] == 10
    assert row["breast_area_mm2"] == 25
    assert row["percent"] == 40


def test_an_even_breast_has_no_dense_tissue():
    for threshold in ("median", "otsu"):
        row = row_of(np.full((9, 9), 100, np.uint8), threshold=threshold)
        assert row["percent"] == 0
        assert row["dense_mean"] == row["threshold"]


def test_the_muscle_counts_unless_it_is_removed():
    images = make_mammograms(6, random_state=0).images
    breasts = BreastRegion().transform(images)
    without = PectoralMuscleRemover().transform(breasts)
    area = [BreastDensity().transform(batch)[:, 2] for batch in (images, breasts, without)]
    assert (area[0] == images[0].size).all()
    assert (area[0] > area[1]).all()
    assert (area[1] > area[2]).all()
