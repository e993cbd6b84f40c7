"""Fingerprints: equal if, and only if, the rows would be."""

import functools
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from featbus import HOG, LBP, DeepFeatures, FeatureBus, ImageLoader, IntensityStatistics, Resize
from featbus.bus import FingerprintError, digest_image, fingerprint
from featbus.bus import _run as module
from featbus.images import with_mask
from featbus.io import ImageReadError

IMAGE = np.arange(12, dtype=np.uint8).reshape(3, 4)


def test_equal_images_have_equal_digests():
    for other in (IMAGE.copy(), np.asfortranarray(IMAGE), IMAGE.tolist()):
        image = np.asarray(other, dtype=np.uint8) if isinstance(other, list) else other
        assert digest_image(image) == digest_image(IMAGE)


def test_whatever_differs_in_an_image_changes_its_digest():
    changed = IMAGE.copy()
    changed[2, 3] += 1
    inside = IMAGE > 5
    images = [
        IMAGE,
        changed,
        IMAGE.T,
        IMAGE.reshape(4, 3),
        IMAGE.astype(np.uint16),
        IMAGE.astype(np.float32),
        IMAGE[..., np.newaxis],
        with_mask(IMAGE, inside),
        with_mask(IMAGE, ~inside),
        with_mask(IMAGE, inside, fill_value=7),
    ]
    assert len({digest_image(image) for image in images}) == len(images)


def test_a_file_is_digested_by_its_bytes(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"same")
    second.write_bytes(b"same")
    assert digest_image(first) == digest_image(str(second))
    second.write_bytes(b"else")
    assert digest_image(first) != digest_image(second)
    with pytest.raises(ImageReadError, match="none': the file cannot be read .No such file"):
        digest_image(tmp_path / "none")


def test_a_file_is_read_again_only_after_it_was_written(tmp_path, monkeypatch):
    reads = []
    update = module.update_with_file
    monkeypatch.setattr(module, "update_with_file", lambda *a: reads.append(a) or update(*a))
    path = tmp_path / "scan.png"
    path.write_bytes(b"first")
    before = digest_image(path)
    assert digest_image(path) == before
    assert len(reads) == 2  # written a moment ago: the file system's clock may not have ticked
    later = time.time_ns() + 60_000_000_000
    monkeypatch.setattr(module.time, "time_ns", lambda: later)
    assert [digest_image(path) for _ in range(3)] == [before] * 3
    assert len(reads) == (3 if os.name == "posix" else 5)
    status = os.stat(path)
    path.write_bytes(b"other")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digest_image(path) != before


def double(rows):
    return 2 * rows


TRANSFORMERS = [
    LBP(),
    LBP(radius=2),
    LBP(radius=2.0, method="ror"),
    LBP(dtype=np.float64),
    IntensityStatistics(),
    HOG(),
    HOG(pixels_per_cell=(4, 8)),
    HOG(pixels_per_cell=(8, 4)),
    make_pipeline(Resize(32), LBP()),
    make_pipeline(Resize(33), LBP()),
    make_pipeline(Resize((32, 33)), LBP()),
    make_pipeline(Resize(32, method="letterbox"), LBP()),
    make_pipeline(ImageLoader(voi_lut=False), LBP()),
    make_union(LBP(), HOG()),
    make_union(HOG(), LBP()),
    make_union(HOG(), LBP(), verbose=True).set_params(lbp="drop"),
    FunctionTransformer(np.sqrt),
    FunctionTransformer(np.square),
    FunctionTransformer(double),
    FunctionTransformer(functools.partial(np.power, 2)),
    FunctionTransformer(functools.partial(np.power, 3)),
    FunctionTransformer(double, kw_args={"a": 1}),
    FunctionTransformer(double, kw_args={"a": "1"}),
    FunctionTransformer(double, kw_args={"a": [1]}),
    FunctionTransformer(double, kw_args={"a": (1,)}),
    FunctionTransformer(double, kw_args={"a": {1}}),
    FunctionTransformer(double, kw_args={"a": np.arange(3)}),
    FunctionTransformer(double, kw_args={"a": np.arange(3.0)}),
    FunctionTransformer(double, kw_args={"a": np.ma.masked_equal(np.arange(3), 1)}),
    FunctionTransformer(double, kw_args={"a": scipy.sparse.eye(3)}),
    FunctionTransformer(double, kw_args={"a": 2 * scipy.sparse.eye(3)}),
    FunctionTransformer(double, kw_args={"a": np.array([1, "x"], dtype=object)}),
    FeatureBus(LBP()),
    DeepFeatures("mobilenet", weights=None),
    DeepFeatures("mobilenet", weights=None, random_state=1),
    DeepFeatures("mobilenet", weights=None, layers="C3"),
    DeepFeatures("mobilenet", weights=None, backbone_options={"alpha": 0.5}),
    DeepFeatures("mobilenet_v2", weights=None),
    DeepFeatures("mobilenet_v2"),
]


def test_different_transformers_have_different_fingerprints():
    assert len({fingerprint(transformer) for transformer in TRANSFORMERS}) == len(TRANSFORMERS)


def test_what_does_not_change_a_row_does_not_change_the_fingerprint():
    pairs = [
        (make_union(LBP(), HOG()), make_union(LBP(), HOG(), n_jobs=2, verbose=True)),
        (make_pipeline(Resize(9), LBP()), make_pipeline(Resize(9), LBP(), memory="x", verbose=1)),
        (DeepFeatures("mobilenet"), DeepFeatures("mobilenet", batch_size=7)),
        (FeatureBus(LBP()), FeatureBus(LBP(), n_jobs=2, verbose=True, memory="x")),
        (LBP(), LBP().set_output(transform="pandas")),
        (LBP(), LBP().fit(np.zeros((1, 9, 9)))),
    ]
    for first, second in pairs:
        assert fingerprint(first) == fingerprint(second)


def test_the_same_in_another_process():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_fingerprint import TRANSFORMERS, fingerprint\n"
        "print(*[fingerprint(transformer).hex() for transformer in TRANSFORMERS])"
    )
    arguments = [sys.executable, "-c", code, str(Path(__file__).parent)]
    output = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    # The functions of this file have another module name here: pytest gives them one of its own.
    here = [fingerprint(t).hex() for t in TRANSFORMERS if getattr(t, "func", None) is not double]
    assert set(here) <= set(output.split())


def test_the_weights_file_counts_by_its_content(tmp_path):
    first, second = tmp_path / "a.weights.h5", tmp_path / "b.weights.h5"
    first.write_bytes(b"weights")
    second.write_bytes(b"weights")
    key = fingerprint(DeepFeatures("vgg16", weights=first))
    assert key == fingerprint(DeepFeatures("vgg16", weights=str(second)))
    second.write_bytes(b"others!")
    assert key != fingerprint(DeepFeatures("vgg16", weights=second))


def test_the_algorithm_version_counts(monkeypatch):
    before = fingerprint(LBP())
    monkeypatch.setattr(LBP, "_algorithm_version", 99)
    assert fingerprint(LBP()) != before


def test_learned_state_counts():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 5))
    one, same, other = (
        make_pipeline(StandardScaler(), PCA(2, random_state=0)).fit(part)
        for part in (rows, rows.copy(), rows[1:])
    )
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)


class Local:
    def __reduce__(self):
        raise TypeError("not me")


@pytest.mark.parametrize(
    ("transformer", "message"),
    [
        (FunctionTransformer(lambda rows: rows), "is '<lambda>' of module"),
        (FunctionTransformer(double, kw_args={"a": np.random.default_rng()}), "Use a seed"),
        (FunctionTransformer(double, kw_args={"a": np.random.RandomState(0)}), "Use a seed"),
        (FunctionTransformer(double, kw_args={"a": Local()}), "cannot be pickled"),
    ],
)
def test_what_has_no_fingerprint(transformer, message):
    with pytest.raises(FingerprintError, match=message):
        fingerprint(transformer)


def test_functions_of_main_have_none():
    code = (
        "from sklearn.preprocessing import FunctionTransformer\n"
        "from featbus.bus import fingerprint, FingerprintError\n"
        "def mine(X): return X\n"
        "try: fingerprint(FunctionTransformer(mine))\n"
        "except FingerprintError as error: print(error)"
    )
    arguments = [sys.executable, "-c", code]
    output = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    assert "'mine' of module '__main__'" in output
    assert "Move it to the top level of a module" in output


MODULE = """
import functools

class Scaler:
    def __init__(self, factor):
        self.factor = factor

    def scale(self, X):
        return X

    @classmethod
    def kind(cls, X):
        return X

def scaled(factor):
    def decorate(function):
        @functools.wraps(function)
        def inner(X):
            return factor * function(X)
        return inner
    return decorate

def base(X):
    return X

half = scaled(0.5)(base)
one, two = Scaler(1), Scaler(2)
"""


@pytest.fixture
def my_module(tmp_path, monkeypatch):
    (tmp_path / "steps_of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("steps_of_mine")
    del sys.modules["steps_of_mine"]


def of(function):
    return fingerprint(FunctionTransformer(function))


def test_methods_count_with_their_object(my_module):
    assert of(my_module.one.scale) != of(my_module.two.scale)
    assert of(my_module.one.scale) == of(my_module.Scaler(1).scale)
    assert of(my_module.one.kind) != of(my_module.one.scale)
    tables = np.arange(256), np.arange(256)[::-1]
    assert of(tables[0].take) == of(tables[0].copy().take) != of(tables[1].take)
    with pytest.raises(FingerprintError, match="Use a seed"):
        of(np.random.default_rng(0).normal)


def test_the_module_of_a_method_counts(my_module, tmp_path):
    code = "from steps_of_mine import one\nfrom sklearn.preprocessing import FunctionTransformer\n"
    code += "from featbus.bus import fingerprint\n"
    code += "print(fingerprint(FunctionTransformer(one.scale)).hex())"

    def in_another_process():
        arguments = [sys.executable, "-c", code]
        options = {"capture_output": True, "text": True, "check": True, "cwd": tmp_path}
        return subprocess.run(arguments, **options).stdout

    before = in_another_process()
    (tmp_path / "steps_of_mine.py").write_text(MODULE.replace("return X", "return 2 * X"))
    assert before != in_another_process()


def test_methods_of_main_have_no_fingerprint():
    code = (
        "from sklearn.preprocessing import FunctionTransformer\n"
        "from featbus.bus import fingerprint, FingerprintError\n"
        "class Mine:\n"
        "    def scale(self, X): return X\n"
        "try: fingerprint(FunctionTransformer(Mine().scale))\n"
        "except FingerprintError as error: print(error)"
    )
    arguments = [sys.executable, "-c", code]
    output = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    assert "of module '__main__'" in output


def test_what_a_name_does_not_lead_to_has_no_fingerprint(my_module):
    of(my_module.base)
    with pytest.raises(FingerprintError, match=r"is not what steps_of_mine\.base names"):
        of(my_module.half)
