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
from featbus.bus import FingerprintError, _compute, _fingerprint, digest_image, fingerprint
from featbus.images import ImageError
from featbus.io import ImageReadError
from featbus.masks import with_mask

IMAGE = np.arange(12, dtype=np.uint8).reshape(3, 4)


def test_equal_images_have_equal_digests():
    for other in (IMAGE.copy(), np.asfortranarray(IMAGE)):
        assert digest_image(other) == digest_image(IMAGE)


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
    with pytest.raises(ImageReadError, match="none"):
        digest_image(tmp_path / "none")
    with pytest.raises(ImageError, match="object"):
        digest_image(np.array([[None]]))


def double(rows):
    return 2 * rows


def with_value(value):
    return FunctionTransformer(double, kw_args={"a": value})


def of(function):
    return fingerprint(FunctionTransformer(function))


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
    DeepFeatures("mobilenet", weights=None, random_state=1),
    DeepFeatures("mobilenet", weights=None, layers="C3"),
    DeepFeatures("mobilenet", weights=None, backbone_options={"alpha": 0.5}),
    DeepFeatures("mobilenet_v2", weights=None),
    DeepFeatures("mobilenet_v2"),
]
TRANSFORMERS += NETWORKS if find_spec("keras") else []


def test_different_transformers_have_different_fingerprints():
    keys = [fingerprint(transformer) for transformer in TRANSFORMERS]
    assert len({*keys}) == len(TRANSFORMERS)
    assert keys == [fingerprint(copy.deepcopy(transformer)) for transformer in TRANSFORMERS]


def test_versions_differ():
    assert len({fingerprint(LBP(), version) for version in (None, 1, 2, "1")}) == 4
    assert fingerprint(LBP()) == fingerprint(LBP(), None)


def test_what_does_not_change_a_row_does_not_change_the_fingerprint():
    pairs = [
        (make_union(LBP(), HOG()), make_union(LBP(), HOG(), n_jobs=2, verbose=True)),
        (make_pipeline(Resize(9), LBP()), make_pipeline(Resize(9), LBP(), memory="x", verbose=1)),
        (FeatureBus(LBP()), FeatureBus(LBP(), n_jobs=2, verbose=True, memory="x")),
        (LBP(dtype="float32"), LBP(dtype=np.float32)),
        (LBP(), LBP().fit(np.zeros((1, 9, 9)))),
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


def test_the_weights_file_counts_by_its_content(tmp_path):
    first, second = tmp_path / "a.weights.h5", tmp_path / "b.weights.h5"
    first.write_bytes(b"weights")
    second.write_bytes(b"weights")
    key = fingerprint(DeepFeatures("vgg16", weights=first))
    assert key == fingerprint(DeepFeatures("vgg16", weights=str(second)))
    second.write_bytes(b"others!")
    assert key != fingerprint(DeepFeatures("vgg16", weights=second))


@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_that_a_parameter_names_counts(kind, tmp_path):
    path = tmp_path / "table.txt"
    path.write_text("1")
    before = fingerprint(with_value(kind(path)))
    assert before == fingerprint(with_value(kind(path)))
    path.write_text("2")
    assert before != fingerprint(with_value(kind(path)))


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
        with_value(np.random.default_rng()),
        with_value(np.random.RandomState(0)),
        with_value(random.Random(0)),
        with_value(np.random.PCG64(0)),
        with_value([np.random.default_rng(0).normal]),
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
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(text, name, "exec"), vars(module))
    return module


@pytest.mark.parametrize(
    "template",
    [
        "call = lambda X: X + {0}",
        "def call(X, by={0}): return X + by",
        "def call(X, *, by={0}): return X + by",
        "BY = {0}\ndef call(X): return X + BY",
        "BY = {0}\ndef call(X): return [x + BY for x in X]",
        "BY = {0}\ndef other(X): return X + BY\ndef call(X): return other(X)",
        "def make(by): return lambda X: X + by\ncall = make({0})",
        "import functools\ndef scaled(f):\n    @functools.wraps(f)\n"
        "    def g(X): return {0} * f(X)\n"
        "    return g\n@scaled\ndef call(X): return X",
        "class A:\n    def __init__(self, n): self.n = n\n    def f(self, X): return X + self.n\n"
        "call = A({0}).f",
        "class A:\n    by = {0}\n    def f(self, X): return X + self.by\ncall = A().f",
        "class A:\n    @staticmethod\n    def f(X): return X + {0}\ncall = A.f",
        "class A:\n    @classmethod\n    def f(cls, X): return X + {0}\ncall = A.f",
        "class A:\n    @property\n    def by(self): return {0}\n"
        "    def f(self, X): return X + self.by\ncall = A().f",
        "class B:\n    by = {0}\nclass A(B):\n    def f(self, X): return X + self.by\ncall = A().f",
        "class A:\n    __slots__ = ('by',)\n    def __call__(self, X): return X + self.by\n"
        "call = A()\ncall.by = {0}",
        "class A(dict):\n    def f(self, X): return X + self['by']\ncall = A(by={0}).f",
        "import enum\nclass E(enum.Enum):\n    BY = {0}\ndef call(X): return X + E.BY.value",
        "import enum\nclass F(enum.Flag):\n    A = {0}\n    B = 4\ndef call(X): return F.A | F.B",
        "import functools\n@functools.lru_cache\ndef by(): return {0}\n"
        "def call(X): return X + by()",
        "import functools\ndef call(X): return X\ncall.by = {0}",
        "def call(X): return X if X is None else call(X + {0})",
        "import typing\nclass A(typing.NamedTuple):\n    by: int\n"
        "    def f(self, X): return self.by\ncall = A({0}).f",
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    by: int\n"
        "    def f(self, X): return X + self.by\ncall = A({0}).f",
        "import logging, re\nLOG, DIGIT = logging.getLogger('mine'), re.compile('[0-9]')\n"
        "def call(X):\n    LOG.info('called')\n    return DIGIT.sub('{0}', X)",
    ],
)
def test_code_of_ones_own_counts(template):
    def key(number):
        call = run_module(template.format(number)).call
        return of(call), fingerprint(with_value([call]))

    assert key(1) == key(1)
    assert not set(key(1)) & set(key(2))
    assert len(set(key(1))) == 2


def test_sharing_does_not_matter():
    shared = [[1], {"a": 2}, (3, 4)]
    once, twice = with_value([shared, shared]), with_value([shared, copy.deepcopy(shared)])
    assert fingerprint(once) == fingerprint(twice)
    cycle = [1]
    cycle.append(cycle)
    assert fingerprint(with_value(cycle)) == fingerprint(with_value(copy.deepcopy(cycle)))
    assert fingerprint(with_value(cycle)) != fingerprint(with_value([1, [1]]))


def test_memory_maps_are_arrays(tmp_path):
    """So joblib hands large arrays to its workers."""
    np.save(tmp_path / "a.npy", np.arange(9))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert fingerprint(with_value(np.arange(9))) == fingerprint(with_value(mapped))


class Forgetful(set):
    """What another process has checked of this one: nothing."""

    def add(self, item):
        pass


@pytest.mark.parametrize("kind", ["store", "parquet"])
def test_workers_with_other_code_store_nothing(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(_compute, "_CHECKED", Forgetful())
    monkeypatch.setattr(_compute, "fingerprint", lambda *_: b"of other code")
    bus, images = FeatureBus(IntensityStatistics(), n_jobs=2), np.ones((2, 3, 3))
    bus.fit(images).transform(images)  # nothing is stored
    use = functools.partial(bus.to_parquet, directory=tmp_path / "rows")
    if kind == "store":
        use = bus.set_params(memory=tmp_path / "s").transform
    with pytest.raises(FingerprintError, match="IntensityStatistics differs"):
        use(images)


class Wrapping(TransformerMixin, BaseEstimator):
    def __init__(self, inner):
        self.inner = inner


def test_the_output_of_a_step_counts_for_the_next():
    for wrap in (make_pipeline, FrozenEstimator, Wrapping):
        assert fingerprint(wrap(LBP())) != fingerprint(wrap(LBP().set_output(transform="pandas")))
    for transformer in (Wrapping(LBP()), FunctionTransformer(double)):
        before = fingerprint(transformer)
        with config_context(transform_output="pandas"):
            assert fingerprint(transformer) != before


class Foreign(TransformerMixin, BaseEstimator):
    def __init__(self, memory=None, verbose=0, n_jobs=1):
        self.memory = memory
        self.verbose = verbose
        self.n_jobs = n_jobs


@pytest.mark.parametrize("name", ["memory", "n_jobs", "learned", "n_features_in_", "errors_"])
def test_names_have_no_meaning_in_foreign_classes(name):
    first, second = Foreign(), Foreign()
    setattr(second, name, 7)
    assert fingerprint(first) != fingerprint(second)


def test_bases_of_a_class_count(monkeypatch):
    class Half(LBP):
        pass

    class Whole(LBP):
        def transform(self, X):
            return 2 * super().transform(X)

    class Scaled(LBP):
        def __init__(self, factor=1):
            super().__init__()
            self.factor = factor

    first, second = Half(), Half()
    first.mean_, second.mean_ = 1, 2
    steps = [LBP(), first, second, Whole(), Scaled(), Scaled(factor=2)]
    before = [fingerprint(step) for step in steps]
    assert len({*before}) == len(steps)
    monkeypatch.setattr(LBP, "_algorithm_version", 99)
    assert not {*before} & {fingerprint(step) for step in steps}


@pytest.mark.network
def test_parameters_of_a_subclass_count():
    class Scaled(DeepFeatures):
        def __init__(self, backbone="mobilenet", *, weights=None, factor=1):
            super().__init__(backbone, weights=weights)
            self.factor = factor

    assert fingerprint(Scaled()) == fingerprint(Scaled()) != fingerprint(Scaled(factor=2))


def test_releases_of_packages_count(tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    (folder / "released_of_mine.py").write_text("__version__ = '1'\ndef call(X): return X\n")
    module = importlib.import_module("released_of_mine")
    before = of(module.call)
    monkeypatch.setattr(module, "__version__", "2")
    _fingerprint._find_release.cache_clear()
    assert of(module.call) != before
    _fingerprint._find_release.cache_clear()
