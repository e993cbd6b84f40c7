"""Fingerprints: equal if, and only if, the rows would be."""

import copy
import functools
import importlib
import os
import random
import subprocess
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import scipy.sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from featbus import HOG, LBP, DeepFeatures, FeatureBus, ImageLoader, IntensityStatistics, Resize
from featbus.bus import FingerprintError, _fingerprint, digest_image, fingerprint
from featbus.color import to_gray
from featbus.images import ImageError
from featbus.io import ImageReadError
from featbus.masks import with_mask

IMAGE = np.arange(12, dtype=np.uint8).reshape(3, 4)


def double(rows):
    return 2 * rows


def with_value(value):
    return FunctionTransformer(double, kw_args={"a": value})


class Foreign(TransformerMixin, BaseEstimator):
    def __init__(self, memory=None, verbose=0, n_jobs=1):
        self.memory = memory
        self.verbose = verbose
        self.n_jobs = n_jobs


def test_digests_of_arrays():
    changed = IMAGE.copy()
    changed[2, 3] += 1
    images = [
        *[IMAGE, changed, IMAGE.T, IMAGE.reshape(4, 3), IMAGE[..., np.newaxis]],
        *[IMAGE.astype(np.uint16), IMAGE.astype(np.float32), with_mask(IMAGE, IMAGE > 5)],
        *[with_mask(IMAGE, IMAGE <= 5), with_mask(IMAGE, IMAGE > 5, fill_value=7)],
    ]
    assert len({digest_image(image) for image in images}) == len(images)
    for same in (IMAGE.copy(), np.asfortranarray(IMAGE)):
        assert digest_image(same) == digest_image(IMAGE)
    with pytest.raises(ImageError, match="object"):
        digest_image(np.array([[None]]))


@pytest.mark.parametrize(
    "digest",
    [
        digest_image,
        lambda path: fingerprint(with_value(path)),
        lambda path: fingerprint(with_value(str(path))),
        pytest.param(
            lambda path: fingerprint(DeepFeatures("vgg16", weights=path)), marks=pytest.mark.network
        ),
    ],
    ids=["image", "parameter", "parameter as text", "weights"],
)
def test_a_file_counts_by_its_content(digest, tmp_path):
    path = tmp_path / "a.weights.h5"
    path.write_bytes(b"same")
    before = digest(path)
    path.write_bytes(b"else")
    assert digest(path) != before
    path.write_bytes(b"same")
    assert digest(path) == before


@pytest.mark.network
def test_names_of_files_do_not_count(tmp_path):
    paths = tmp_path / "a.weights.h5", tmp_path / "b.weights.h5"
    for path in paths:
        path.write_bytes(b"same")
    assert len({digest_image(path) for path in (*paths, str(paths[0]))}) == 1
    assert len({fingerprint(DeepFeatures("vgg16", weights=path)) for path in paths}) == 1
    with pytest.raises(ImageReadError, match="none"):
        digest_image(tmp_path / "none")


VALUES = [
    *[None, True, 1, 1.0, "1", b"1", [1], (1,), [[1]], {1}, frozenset([1])],
    *[{"a": 1, "b": 2}, {"b": 2, "a": 1}, np.float32, np.sqrt, int, len, double, LBP, LBP()],
    *[np.arange(3).astype(dtype) for dtype in ("u1", "<f4", ">f4", "O", "<U1", "M8[s]")],
    *[np.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3).T, np.arange(6).reshape(3, 2)],
    *[np.ma.masked_equal(np.arange(3), 1), np.ma.masked_equal(np.arange(3), 2)],
    *[scipy.sparse.eye(3), 2 * scipy.sparse.eye(3), functools.partial(double, 1)],
]
TRANSFORMERS = [
    *map(with_value, VALUES),
    LBP(radius=2),
    LBP(radius=2.0, method="ror"),
    LBP(dtype=np.float64),
    HOG(pixels_per_cell=(4, 8)),
    HOG(pixels_per_cell=(8, 4)),
    make_pipeline(Resize(32), LBP()),
    make_pipeline(Resize((32, 33)), LBP()),
    make_pipeline(Resize(32, method="letterbox"), LBP()),
    make_pipeline(ImageLoader(voi_lut=False), LBP()),
    make_union(LBP(), HOG()),
    make_union(HOG(), LBP()),
    make_union(HOG(), LBP()).set_params(lbp="drop"),
    FunctionTransformer(np.sqrt),
    FunctionTransformer(scipy.ndimage.sobel),
    FunctionTransformer(functools.partial(np.power, 2)),
    FunctionTransformer(functools.partial(np.power, 3)),
    FunctionTransformer(np.arange(3).take),
    FunctionTransformer(np.arange(4).take),
    FeatureBus(LBP()),
    FeatureBus(LBP(), version=1),
    FeatureBus(LBP(), version="1"),
    FeatureBus(LBP(), on_error="nan"),
]
NETWORKS = [
    DeepFeatures("mobilenet", weights=None),
    DeepFeatures("mobilenet", weights=None, backbone_options={"alpha": 0.5}),
    DeepFeatures("mobilenet_v2"),
]
TRANSFORMERS += NETWORKS if find_spec("keras") else []


def test_different_transformers_have_different_fingerprints():
    keys = [fingerprint(transformer) for transformer in TRANSFORMERS]
    assert len({*keys}) == len(TRANSFORMERS)
    assert keys == [fingerprint(copy.deepcopy(transformer)) for transformer in TRANSFORMERS]


def test_what_does_not_change_a_row_does_not_change_the_fingerprint(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(9))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")  # so joblib hands arrays to its workers
    shared = [[1], {"a": 2}, (3, 4)]
    pairs = [
        (make_union(LBP(), HOG()), make_union(LBP(), HOG(), n_jobs=2, verbose=True)),
        (make_pipeline(Resize(9), LBP()), make_pipeline(Resize(9), LBP(), memory="x", verbose=1)),
        (FeatureBus(LBP()), FeatureBus(LBP(), n_jobs=2, verbose=True, memory="x")),
        (LBP(dtype="float32"), LBP(dtype=np.float32)),
        (LBP(), LBP().fit(np.zeros((1, 9, 9)))),
        (with_value(np.arange(9)), with_value(mapped)),
        (with_value([shared, shared]), with_value([shared, copy.deepcopy(shared)])),
        (FunctionTransformer(lambda X: X), FunctionTransformer(lambda X: X)),
    ]
    if find_spec("keras"):
        pairs.append((DeepFeatures("mobilenet"), DeepFeatures("mobilenet", batch_size=7)))
    for first, second in pairs:
        assert fingerprint(first) == fingerprint(second)


# Code whose pickles differ between processes: sets, constants that may be shared, classes.
OF_MAIN = """
import enum, functools, typing
from dataclasses import dataclass
SIZES = frozenset(["small", "large", "huge", None, 3])
class Kind(enum.Enum):
    ONE = 1
@dataclass
class Point:
    x: int = 1
class Pair(typing.NamedTuple):
    a: int
class Mine(Pair):
    kinds = {{"a", "b", "c"}}
    @functools.cached_property
    def size(self): return super().__len__()
    def scale(self, X): return {} * X
    def again(self, X): return mine(X) if X in {{"one", "two", "three"}} else (1, 2)
def mine(X, kind=Kind.ONE): return Mine(1).scale(X) if X in SIZES else (1, 2), Point(), Mine.again
print(fingerprint(FunctionTransformer(mine)).hex())
"""


def test_fingerprints_are_equal_in_all_processes():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_fingerprint import OF_MAIN, TRANSFORMERS, FunctionTransformer, fingerprint\n"
        "for number, lines in (1, 0), (1, 5), (2, 0):\n"
        "    exec(compile(lines * '\\n' + OF_MAIN.format(number), f'file{lines}', 'exec'))\n"
        "print(*[fingerprint(transformer).hex() for transformer in TRANSFORMERS])"
    )
    arguments = [sys.executable, "-c", code, str(Path(__file__).parent)]
    processes = [
        subprocess.Popen(
            arguments, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONHASHSEED": seed}
        )
        for seed in "03"
    ]
    outputs = [process.communicate()[0].split() for process in processes]
    first, again, other, *others = outputs[0]
    assert outputs[0] == outputs[1]
    assert first == again != other
    assert others == [fingerprint(transformer).hex() for transformer in TRANSFORMERS]


def test_learned_state_counts():
    rows = np.random.default_rng(0).normal(size=(20, 5))
    one, same, other = (
        make_pipeline(StandardScaler(), PCA(2, random_state=0)).fit(part)
        for part in (rows, rows.copy(), rows[1:])
    )
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    keys = [fingerprint(FrozenEstimator(step)) for step in (one, same, other)]
    assert keys[0] == keys[1] != keys[2]
    assert fingerprint(clone(FrozenEstimator(one))) == keys[0]


class NoName:
    def __reduce__(self):
        raise TypeError("not me")


@pytest.mark.parametrize(
    "transformer",
    [
        with_value(np.random.RandomState(0)),
        with_value(random.Random(0)),
        FunctionTransformer(np.random.default_rng(0).normal),
        FunctionTransformer(np.frompyfunc(double, 1, 1)),
        with_value(iter([1])),
        with_value(NoName()),
        with_value(functools.reduce(lambda inner, _: [inner], range(5000))),
    ],
)
def test_what_has_no_fingerprint(transformer):
    with pytest.raises(FingerprintError, match="memory=None"):
        fingerprint(transformer)


def run_module(text, name="steps_of_mine"):
    """Return a module made of a text, as if it had been imported."""
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), vars(module))
    return module


@pytest.mark.parametrize(
    "template",
    [
        "call = lambda X: X + {0}",
        "def call(X, by={0}): return X + by",
        "BY = {0}\ndef other(X): return [x + BY for x in X]\ndef call(X): return other(X)",
        "def make(by): return lambda X: X + by\ncall = make({0})",
        "import functools\ndef scaled(f):\n    @functools.wraps(f)\n"
        "    def g(X): return {0} * f(X)\n"
        "    return g\n@scaled\ndef call(X): return X",
        "class A:\n    def __init__(self, n): self.n = n\n    def f(self, X): return X + self.n\n"
        "call = A({0}).f",
        "class A:\n    @property\n    def by(self): return {0}\n"
        "    def f(self, X): return X + self.by\ncall = A().f",
        "class B:\n    by = {0}\nclass A(B):\n    def f(self, X): return X + self.by\ncall = A().f",
        "import functools\n@functools.lru_cache\ndef by(): return {0}\n"
        "def call(X): return X + by()",
        "import functools\ndef call(X): return X\ncall.by = {0}",
        "def call(X): return X if X is None else call(X + {0})",
        "import logging, re\nLOG, DIGIT = logging.getLogger('mine'), re.compile('[0-9]')\n"
        "def call(X):\n    LOG.info('called')\n    return DIGIT.sub('{0}', X)",
    ],
)
def test_code_of_ones_own_counts(template):
    def keys(number):
        call = run_module(template.format(number)).call
        return {fingerprint(FunctionTransformer(call)), fingerprint(with_value([call]))}

    assert keys(1) == keys(1)
    assert len(keys(1) | keys(2)) == 4


class Forgetful(set):
    """What another process has checked of this one: nothing."""

    def add(self, item):
        pass


@pytest.mark.parametrize("kind", ["store", "parquet"])
def test_workers_with_other_code_store_nothing(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(_fingerprint, "CHECKED", Forgetful())
    monkeypatch.setattr(_fingerprint, "fingerprint", lambda *_: b"of other code")
    bus, images = FeatureBus(IntensityStatistics(), n_jobs=2), np.ones((2, 3, 3))
    bus.fit(images).transform(images)  # nothing is stored
    use = functools.partial(bus.to_parquet, directory=tmp_path / "rows")
    if kind == "store":
        use = bus.set_params(memory=tmp_path / "s").transform
    with pytest.raises(FingerprintError, match="IntensityStatistics differs"):
        use(images)


def test_the_output_of_a_step_counts_for_the_next():
    for wrap in (make_pipeline, FrozenEstimator, Foreign):
        assert fingerprint(wrap(LBP())) != fingerprint(wrap(LBP().set_output(transform="pandas")))
    for transformer in (Foreign(LBP()), FunctionTransformer(double)):
        before = fingerprint(transformer)
        with config_context(transform_output="pandas"):
            assert fingerprint(transformer) != before


@pytest.mark.parametrize("name", ["memory", "n_jobs", "learned", "n_features_in_", "errors_"])
def test_names_have_no_meaning_in_foreign_classes(name):
    first, second = Foreign(), Foreign()
    setattr(second, name, 7)
    assert fingerprint(first) != fingerprint(second)


class Scaled(FeatureBus):
    """A subclass with a parameter, which the inherited hook does not know."""

    def __init__(self, transformer, factor=1):
        super().__init__(transformer)
        self.factor = factor


def test_bases_of_a_class_count(monkeypatch):
    class Half(LBP):
        pass

    class Whole(LBP):
        def transform(self, X):
            return 2 * super().transform(X)

    first, second = Half(), Half()
    first.mean_, second.mean_ = 1, 2
    steps = [LBP(), first, second, Whole()]
    before = [fingerprint(step) for step in steps]
    assert len({*before}) == len(steps)
    monkeypatch.setattr(LBP, "_algorithm_version", 99)
    assert not {*before} & {fingerprint(step) for step in steps}
    one, same, other = (fingerprint(Scaled(LBP(), factor)) for factor in (1, 1, 2))
    assert one == same != other


def test_releases_of_packages_count(tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    code = "import featbus\n__version__ = '1'\ndef call(X): return X\nclass My(featbus.LBP): pass\n"
    (folder / "released_of_mine.py").write_text(code)
    module = importlib.import_module("released_of_mine")
    keys = []
    for owner in (None, LBP, module.My, module):
        if owner is not None:
            name = "__version__" if owner is module else "_algorithm_version"
            monkeypatch.setattr(owner, name, "2", raising=False)
        keys.append((fingerprint(FunctionTransformer(module.call)), fingerprint(module.My())))
        _fingerprint._find_release.cache_clear()
    assert [len({*key}) for key in zip(*keys)] == [2, 4]


def test_releases_of_featbus_count_and_commits_do_not(monkeypatch):
    def key(version):
        monkeypatch.setattr("featbus.__version__", version)
        _fingerprint._find_release.cache_clear()
        return fingerprint(FunctionTransformer(to_gray))

    assert key("0.1.0") != key("0.1.1")
    before = key("0.1.1.dev3+gabc")
    assert before == key("0.1.1.dev4+gdef.d20260101")
    monkeypatch.setattr(to_gray, "__code__", double.__code__)
    assert before != key("0.1.1.dev4+gdef.d20260101")
    _fingerprint._find_release.cache_clear()
