"""HOG."""

import numpy as np
import pytest
from skimage.feature import hog
from sklearn.exceptions import NotFittedError

from featbus import HOG
from featbus.images import ImageError
from featbus.masks import with_mask

SETTINGS = [
    {},
    {"pixels_per_cell": (7, 9), "cells_per_block": (2, 1), "block_norm": "L1-sqrt"},
    {"cells_per_block": (1, 1), "orientations": 12, "block_norm": "L2", "transform_sqrt": True},
    {"pixels_per_cell": (5, 6), "cells_per_block": (2, 2), "orientations": 7, "block_norm": "L1"},
]


def noise(shape, dtype):
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


@pytest.mark.parametrize("parameters", SETTINGS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(67, 91), (67, 91, 3)])
def test_equals_scikit_image(shape, dtype, parameters):
    image = noise(shape, dtype)
    expected = hog(image, **parameters, channel_axis=2 if len(shape) == 3 else None)
    np.testing.assert_allclose(HOG(**parameters).transform([image])[0], expected, atol=1e-6)


@pytest.mark.parametrize("orientations", [1, 4, 9, 14, 18, 49, 64])
def test_gradients_exactly_on_bin_edges_equal_scikit_image(orientations):
    # Integer ramps have gradients of exactly 0, 45, 90 and 135 degrees: edges of many bins.
    rows, columns = np.indices((24, 24))
    for ramp in (rows, columns, rows + columns, 23 + rows - columns, 23 - rows + columns):
        image = ramp.astype(np.uint8)
        result = HOG(orientations=orientations).transform([image])[0]
        np.testing.assert_allclose(result, hog(image, orientations), atol=1e-6)


def test_the_smallest_image_and_one_below():
    assert HOG().transform(np.zeros((1, 24, 24))).shape == (1, 81)
    with pytest.raises(ImageError, match="image 0: .*23 x 30 .*24 x 24"):
        HOG().transform(np.zeros((1, 23, 30)))
    with pytest.raises(ImageError, match="23 x 30 .*24 x 24"):
        HOG().render(np.zeros((23, 30)))


def test_images_of_other_sizes_are_an_error_that_names_the_image():
    images = [np.zeros((32, 64)), np.zeros((32, 64)), np.zeros((64, 32))]
    with pytest.raises(ValueError, match=r"image 2: .*\(6, 2\).*\(2, 6\)"):
        HOG().transform(images)
    with pytest.raises(ValueError, match="image 0: .*Resize"):
        HOG().fit(images).transform(images[2:])


def test_names_need_fit_and_are_built_from_their_parts():
    with pytest.raises(NotFittedError):
        HOG().get_feature_names_out()
    hog = HOG(orientations=12, cells_per_block=(1, 11)).fit([noise((8, 160), np.uint8)])
    names = hog.get_feature_names_out()
    assert names[[0, 12, -1]].tolist() == [
        "hog_r00_c00_b0_o0",
        "hog_r00_c00_b1_o0",
        "hog_r00_c09_b10_o11",
    ]
    where = hog.where("hog_r00_c09_b10_o11", (8, 160))
    assert (where.rows, where.columns) == (slice(0, 8), slice(71, 160))
    assert where.what == "gradients of 165 to 180 degrees"


@pytest.mark.parametrize("orientations", [1, 9])
@pytest.mark.parametrize("cell", [(2, 2), (3, 5), (8, 8), (12, 9)])
def test_render_draws_what_scikit_image_draws(cell, orientations):
    image = noise((61, 70), np.uint8)
    parameters = {"pixels_per_cell": cell, "orientations": orientations, "cells_per_block": (1, 1)}
    _, expected = hog(image, **parameters, visualize=True)
    picture = HOG(**parameters).render(image)
    assert picture.dtype == np.float32
    np.testing.assert_array_equal(picture > 0, expected > 0)
    np.testing.assert_allclose(picture, expected, rtol=1e-5)


@pytest.mark.parametrize("orientations", [2, 9, 14])
@pytest.mark.parametrize("transform_sqrt", [False, True])
def test_signed_gradients_have_a_bin_for_either_direction(orientations, transform_sqrt):
    image = noise((32, 48), np.uint8)
    hog = HOG(cells_per_block=(1, 1), block_norm="L1", transform_sqrt=transform_sqrt)
    unsigned = hog.set_params(orientations=orientations).transform([image])
    signed = hog.set_params(orientations=2 * orientations, signed=True).transform([image])
    turned = hog.transform([image[::-1, ::-1]])
    signed, turned = (rows.reshape(24, 2, orientations) for rows in (signed, turned))
    np.testing.assert_allclose(signed.sum(axis=1).ravel(), unsigned[0], atol=1e-6)
    np.testing.assert_allclose(turned, signed[::-1, ::-1], atol=1e-6)
    assert np.abs(turned - signed[::-1]).max() > 0.01


def test_signed_bins_tell_where_it_is_brighter():
    image = np.zeros((24, 24), np.uint8)
    image[:, 12:] = 200
    extractor = HOG(orientations=4, signed=True).fit([image])
    to_the_right, to_the_left = extractor.transform([image, 200 - image]).reshape(2, 9, 4)
    # The edge lies in the middle column of cells.
    for row, bin_ in ((to_the_right, 0), (to_the_left, 2)):
        np.testing.assert_array_equal(np.argwhere(row > 0), [[1, bin_], [4, bin_], [7, bin_]])
    where = extractor.where("hog_r00_c00_b8_o3", image.shape)
    assert where.what == "gradients of 270 to 360 degrees"


def test_render_points_signed_gradients_to_where_it_is_brighter():
    image = np.zeros((24, 24), np.uint8)
    image[:12] = 200
    extractor = HOG(orientations=8, signed=True, pixels_per_cell=(24, 24), cells_per_block=(1, 1))
    picture = extractor.render(image)
    rows, columns = np.nonzero(picture)
    # The bin from 270 degrees on: up, and a little to the right.
    assert (rows.min(), rows.max()) == (2, 12)
    assert (columns.min(), columns.max()) == (12, 16)
    assert np.ptp(picture[rows, columns]) == 0


def test_an_opaque_alpha_channel_makes_no_difference_to_a_masked_image():
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    rgba, inside = np.dstack([rgb, np.full((64, 64), 255, np.uint8)]), np.indices((64, 64))[0] > 9
    first, second = HOG().fit_transform([with_mask(rgb, inside), with_mask(rgba, inside)])
    np.testing.assert_array_equal(first, second)


def test_a_masked_border_leaves_the_cells_inside_as_they_are():
    image = noise((32, 32), np.uint8)
    inside = np.pad(np.ones((24, 24), bool), 4)
    hog = HOG(cells_per_block=(1, 1), block_norm="L1")
    whole, masked = hog.transform([image, with_mask(image, inside)]).reshape(2, 4, 4, 9)
    np.testing.assert_array_equal(masked[1:3, 1:3], whole[1:3, 1:3])
    other = with_mask(np.where(inside, image, np.uint8(255)), inside)
    np.testing.assert_array_equal(hog.transform([other])[0], masked.ravel())
    # Of the cell in the corner, three rows and columns have their neighbours inside.
    corner = np.s_[5:8, 5:8]
    rows, columns = (part[corner] for part in np.gradient(image.astype(float)))
    bins = (np.rad2deg(np.arctan2(rows, columns)) % 180 // 20).astype(int)
    expected = np.bincount(bins.ravel(), np.hypot(rows, columns).ravel(), minlength=9)
    np.testing.assert_allclose(masked[0, 0], expected / expected.sum(), atol=1e-4)
