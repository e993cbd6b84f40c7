"""HOG."""

import numpy as np
import pytest
from skimage.feature import hog

from featbus import HOG
from featbus.images import with_mask

SETTINGS = [
    {},
    {
        "pixels_per_cell": (7, 9),
        "cells_per_block": (2, 1),
        "orientations": 8,
        "block_norm": "L1-sqrt",
    },
    {"cells_per_block": (1, 1), "orientations": 12, "block_norm": "L2", "transform_sqrt": True},
    {"pixels_per_cell": (5, 6), "cells_per_block": (2, 2), "orientations": 7, "block_norm": "L1"},
]


def noise(shape, dtype):
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(64, 64), (67, 91), (67, 91, 3)])
def test_equals_scikit_image(shape, dtype, settings):
    image = noise(shape, dtype)
    expected = hog(image, **settings, channel_axis=2 if len(shape) == 3 else None)
    np.testing.assert_allclose(HOG(**settings).transform([image])[0], expected, atol=1e-6)


def test_gradients_exactly_on_bin_edges_equal_scikit_image():
    # Integer ramps have gradients of exactly 0, 45, 90 and 135 degrees: edges of 4, 8 and 12 bins.
    rows, columns = np.indices((48, 48))
    for ramp in (rows, columns, rows + columns, 47 + rows - columns, 47 - rows + columns):
        image = ramp.astype(np.uint8)
        for orientations in (4, 8, 9, 12):
            result = HOG(orientations=orientations).transform([image])[0]
            np.testing.assert_allclose(result, hog(image, orientations), atol=1e-6)


def test_a_vertical_edge_votes_for_the_horizontal_gradient():
    image = np.zeros((24, 24), np.uint8)
    image[:, 12:] = 200
    extractor = HOG().fit([image])
    row = dict(zip(extractor.get_feature_names_out(), extractor.transform([image])[0]))
    votes = {name for name, value in row.items() if value > 0}
    # The edge lies in the middle column of cells, and its gradient points along 0 degrees.
    assert votes == {f"hog_r00_c00_b{cell}_o0" for cell in (1, 4, 7)}


def test_pixels_outside_the_region_have_no_vote():
    image = noise((32, 32), np.uint8)
    inside = np.zeros((32, 32), bool)
    inside[4:20, 6:25] = True
    first, second = (
        with_mask(np.where(inside, image, outside).astype(np.uint8), inside) for outside in (0, 255)
    )
    rows = HOG().transform([first, second])
    np.testing.assert_array_equal(rows[0], rows[1])
    assert rows[0].any()


def test_a_constant_image_has_finite_zeros():
    assert not HOG().transform(np.full((1, 24, 24), 9, np.uint8)).any()


def test_the_smallest_image_and_one_below():
    assert HOG().transform(np.zeros((1, 24, 24))).shape == (1, 81)
    message = "image 0: the image is 23 x 30 pixels, expected at least 24 x 24"
    with pytest.raises(ValueError, match=message):
        HOG().transform(np.zeros((1, 23, 30)))


def test_images_of_other_sizes_are_an_error_that_names_the_image():
    images = [np.zeros((32, 64)), np.zeros((32, 64)), np.zeros((64, 32))]
    with pytest.raises(ValueError, match=r"image 2: .*\(6, 2\).*\(2, 6\).*put Resize before"):
        HOG().transform(images)
    with pytest.raises(ValueError, match="image 0: .*put Resize before"):
        HOG().fit(images).transform(images[2:])


def test_bad_block_norm():
    with pytest.raises(ValueError, match="block_norm is 'max'"):
        HOG(block_norm="max").fit(np.zeros((1, 24, 24)))


@pytest.mark.parametrize("cell", [(8, 8), (16, 12), (12, 9)])
def test_render_draws_what_scikit_image_draws(cell):
    image = noise((61, 70), np.uint8)
    extractor = HOG(pixels_per_cell=cell, cells_per_block=(1, 1))
    _, expected = hog(image, pixels_per_cell=cell, cells_per_block=(1, 1), visualize=True)
    picture = extractor.render(image)
    assert picture.dtype == np.float32
    np.testing.assert_allclose(picture, expected, rtol=1e-5)


def test_the_last_bit_is_the_same_every_time():
    image = noise((64, 64), np.uint16)
    rows = HOG(dtype=np.float64).transform([image.copy() for _ in range(20)])
    assert (rows == rows[0]).all()
