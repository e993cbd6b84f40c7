import threading

import cv2
import numpy as np
import pytest

from featbus.base import iter_images
from featbus.io import ImageReadError, read_image


@pytest.fixture
def paths(tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(20)]
    for index, path in enumerate(paths):
        cv2.imwrite(str(path), np.full((4, 5), index, dtype=np.uint8))
    return paths


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_images_come_in_order(paths, n_threads):
    batch = [*paths[:10], np.full((4, 5), 10, dtype=np.uint8), *paths[11:]]
    images = list(iter_images(batch, n_threads=n_threads))
    np.testing.assert_array_equal([image[0, 0] for image in images], range(20))


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_error_comes_in_its_turn(paths, n_threads):
    paths[7].write_bytes(b"nothing")
    images = iter_images(paths, n_threads=n_threads)
    for _ in range(7):
        next(images)
    with pytest.raises(ImageReadError, match=r"^image 7 \('.*7\.png'\): unknown content"):
        next(images)


def test_several_are_read_at_a_time_and_no_more_than_needed(paths):
    both, read = threading.Barrier(2), []

    def read_in_pairs(path):
        both.wait(timeout=30)  # breaks where one is read after the other
        read.append(path)
        return read_image(path)

    before = set(threading.enumerate())
    images = iter_images(paths, read_in_pairs, n_threads=2)
    next(images)
    both.abort()  # nobody waits for a partner that does not come
    images.close()
    assert 2 <= len(read) <= 6
    assert set(threading.enumerate()) <= before
