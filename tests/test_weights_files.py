"""Files of weights and models: what they may ask for."""

import zipfile

import numpy as np
import pytest

from featbus import DeepFeatures
from featbus.networks import check_weights_file

IMAGES = np.zeros((1, 32, 32), np.uint8)

h5py = pytest.importorskip("h5py", reason="comes with Keras")


def inflating(file):
    with h5py.File(file, "w") as content:
        content.create_dataset("a/b", (20_000, 10_000), "f4", chunks=(1000, 1000), compression=1)


def linked(file):
    with h5py.File(file, "w") as content:
        content["a"] = np.zeros(3)
        content["b"] = h5py.ExternalLink("other.h5", "/a")


def stored_elsewhere(file):
    with h5py.File(file, "w") as content:
        content.create_dataset("a", (3,), "u1", external=[("other.bin", 0, 3)])


HOSTILE = [
    (inflating, "inflates to 800000000"),
    (linked, "other files"),
    (stored_elsewhere, "other"),
]


@pytest.mark.parametrize(("make", "message"), HOSTILE)
def test_hostile_files(make, message, tmp_path):
    path = tmp_path / "hostile.weights.h5"
    make(path)
    archive = tmp_path / "hostile.keras"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("config.json", '{"config": {"layers": []}}')
        opened.write(path, "model.weights.h5")
    for file in (path, archive):
        with pytest.raises(ValueError, match=message):
            check_weights_file(file)
    with pytest.raises(ValueError, match="cannot be loaded .*" + message):
        DeepFeatures(archive, preprocessing="tf").fit(IMAGES)


@pytest.mark.parametrize(("make", "message"), HOSTILE)
def test_hostile_weights(make, message, tmp_path):
    path = tmp_path / "hostile.weights.h5"
    make(path)
    deep = DeepFeatures("mobilenet", weights=path, input_size=32, backbone_options={"alpha": 0.25})
    with pytest.raises(ValueError, match=message):
        deep.fit_transform(IMAGES)


@pytest.mark.parametrize(("make", "message"), HOSTILE)
def test_an_empty_archive_at_the_end_does_not_hide_an_hdf5_file(make, message, tmp_path):
    path = tmp_path / "hostile.weights.h5"
    make(path)
    with path.open("ab") as file:
        file.write(b"PK\5\6" + bytes(18))
    assert zipfile.is_zipfile(path)
    with pytest.raises(ValueError, match=message):
        check_weights_file(path)


def test_other_files_are_left_to_keras(tmp_path):
    path = tmp_path / "text.weights.h5"
    path.write_text("text")
    check_weights_file(path)
    with h5py.File(path, "w") as content:
        content["a"] = np.zeros(3)
        content["b"] = h5py.SoftLink("/a")
    check_weights_file(path)
