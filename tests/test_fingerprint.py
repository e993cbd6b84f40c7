"""Fingerprints: equal if, and only if, the rows would be."""

import builtins
import copy
import functools
import importlib
import itertools
import os
import pkgutil
import platform
import random
import subprocess
import sys
import time
import types
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from featbus import HOG, LBP, DeepFeatures, FeatureBus, ImageLoader, IntensityStatistics, Resize
from featbus.bus import FingerprintError, _compute, _digest, _packages, digest_image, fingerprint
from featbus.bus._packages import find_release
from featbus.images import ImageError
from featbus.io import ImageReadError
from featbus.masks import with_mask

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


def test_files_that_are_dicom_by_their_name(tmp_path):
    digests = {}
    for name in ("a.bin", "b.bin", "c.dcm", "d.DCM"):
        for content in (b"no preamble", bytes(128) + b"DICM"):
            (tmp_path / name).write_bytes(content)
            digests.setdefault(content, []).append(digest_image(tmp_path / name))
    without, preamble = digests.values()
    assert without[0] == without[1] != without[2] == without[3]
    assert len({*preamble}) == 1


@pytest.mark.parametrize("image", [np.array([[None]]), np.array([["a"]])])
def test_arrays_that_have_no_digest(image):
    with pytest.raises(ImageError, match="found dtype .*, expected numbers"):
        digest_image(image)


def test_a_file_is_read_again_only_after_it_was_written(tmp_path, monkeypatch):
    reads = []
    update = _digest.update_with_file
    monkeypatch.setattr(_digest, "update_with_file", lambda *a: reads.append(a) or update(*a))
    path = tmp_path / "scan.png"
    path.write_bytes(b"first")
    before = digest_image(path)
    assert digest_image(path) == before
    assert len(reads) == 2  # written a moment ago: the file system's clock may not have ticked
    later = time.time_ns() + 60_000_000_000
    monkeypatch.setattr(_digest.time, "time_ns", lambda: later)
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
    assert len({fingerprint(transformer) for transformer in TRANSFORMERS}) == len(TRANSFORMERS)


def test_what_does_not_change_a_row_does_not_change_the_fingerprint():
    pairs = [
        (make_union(LBP(), HOG()), make_union(LBP(), HOG(), n_jobs=2, verbose=True)),
        (make_pipeline(Resize(9), LBP()), make_pipeline(Resize(9), LBP(), memory="x", verbose=1)),
        (FeatureBus(LBP()), FeatureBus(LBP(), n_jobs=2, verbose=True, memory="x")),
        (LBP(), LBP().set_output(transform="pandas")),
        (LBP(dtype="float32"), LBP(dtype=np.float32)),
        (LBP(), LBP().fit(np.zeros((1, 9, 9)))),
    ]
    if find_spec("keras"):
        pairs.append((DeepFeatures("mobilenet"), DeepFeatures("mobilenet", batch_size=7)))
    for first, second in pairs:
        assert fingerprint(first) == fingerprint(second)


OF_MAIN = """
class Mine:
    def scale(self, X): return {} * X
def mine(X): return Mine().scale(X)
print(fingerprint(FunctionTransformer(mine)).hex())
"""


def test_in_another_process():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_fingerprint import OF_MAIN, TRANSFORMERS, FunctionTransformer, fingerprint\n"
        "for number in 1, 1, 2: exec(OF_MAIN.format(number))\n"
        "print(*[fingerprint(transformer).hex() for transformer in TRANSFORMERS])"
    )
    arguments = [sys.executable, "-c", code, str(Path(__file__).parent)]
    output = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    # The functions of this file have another module name here: pytest gives them one of its own.
    here = [fingerprint(t).hex() for t in TRANSFORMERS if getattr(t, "func", None) is not double]
    first, again, other, *others = output.split()
    assert first == again != other
    assert set(here) <= set(others)


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


GENERATOR = np.random.default_rng(0)


def with_value(value):
    return FunctionTransformer(double, kw_args={"a": value})


class NoName:
    def __str__(self):
        raise TypeError("no name")


class Local:
    def __reduce__(self):
        raise TypeError("not me")


@pytest.mark.parametrize(
    ("transformer", "message"),
    [
        (with_value(np.random.default_rng()), "kw_args.a is a Generator, .* Use a seed"),
        (with_value(np.random.RandomState(0)), "Use a seed"),
        (with_value(random.Random(0)), "Use a seed"),
        (with_value(np.random.PCG64(0)), "Use a seed"),
        (with_value([np.random.default_rng(0).normal]), "Use a seed"),
        (FunctionTransformer(np.random.default_rng(0).normal), "Use a seed"),
        (FunctionTransformer(lambda rows: rows + GENERATOR.normal()), "func.GENERATOR is a"),
        (FunctionTransformer(lambda rows: eval("rows")), "uses eval, which hides code"),
        (FunctionTransformer(lambda rows: builtins.eval("rows")), "eval, which hides code"),
        (FunctionTransformer(lambda rows: sys.modules["a"].b), r"sys\.modules, which hides code"),
        (with_value({NoName(): 1}), "cannot be followed .*no name"),
        (with_value(eval), "is eval, which hides code"),
        (with_value(pkgutil.resolve_name), "is resolve_name, which hides code"),
        (FunctionTransformer(lambda rows: pkgutil.resolve_name("a")), "uses resolve_name, which"),
        (FunctionTransformer(lambda rows: double.__annotations__), "uses __annotations__, which"),
        (FunctionTransformer(lambda rows: rows.f.__globals__), "__globals__, which hides code"),
        (with_value(object()), "nothing but its identity"),
        (FunctionTransformer(np.frompyfunc(double, 1, 1)), "the ufunc .*numpy.vectorize"),
        (with_value(iter([1])), "a list_iterator, which changes with each use"),
        (with_value(Path(__file__).parent), "is the folder .* Name its files"),
        (with_value(str(Path(__file__).parent)), "is the folder .* Name its files"),
        (with_value(Local()), "cannot be pickled"),
        (with_value(functools.reduce(lambda inner, _: [inner], range(5000))), "too deeply"),
    ],
)
def test_what_has_no_fingerprint(transformer, message):
    with pytest.raises(FingerprintError, match=message):
        fingerprint(transformer)


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


def test_edited_after_import(my_module, tmp_path):
    """The code in memory counts, not the file, until the module is loaded again."""
    before = of(my_module.base), of(my_module.one.scale)
    text = MODULE.replace("return X", "return 2 * X")
    (tmp_path / "steps_of_mine.py").write_text(text)
    assert (of(my_module.base), of(my_module.one.scale)) == before
    os.utime(tmp_path / "steps_of_mine.py", (0, 0))
    importlib.reload(my_module)
    assert not {of(my_module.base), of(my_module.one.scale)} & {*before}


def test_decorated_functions_count_with_their_closures(my_module):
    half, base = my_module.half, my_module.base
    quarter = my_module.scaled(0.25)(base)
    assert len({of(half), of(base), of(quarter)}) == 3
    assert of(half) == of(my_module.scaled(0.5)(base))


HELPER = "table = [1, 2]\n\ndef shift(X):\n    return X + 1\n\ndef unused(X):\n    return X\n"
CALLERS = {
    "global": "import helper_of_mine\ndef call(X):\n    return helper_of_mine.shift(X)\n",
    "from": "from helper_of_mine import shift\ndef call(X):\n    return shift(X)\n",
    "inside": "def call(X):\n    import helper_of_mine\n    return helper_of_mine.shift(X)\n",
    "from inside": "def call(X):\n    from helper_of_mine import shift\n    return shift(X)\n",
    "nested": "import helper_of_mine as h\ndef call(X):\n    return [h.shift(x) for x in X]\n",
    "getattr": "import helper_of_mine as h\ndef call(X):\n    return getattr(h, 'shift')(X)\n",
    "default": "from helper_of_mine import shift\ndef call(X, f=shift):\n    return f(X)\n",
    "class": "from helper_of_mine import shift\nclass A:\n    def call(self, X):\n"
    "        return shift(X)\ncall = A().call\n",
}


def run_module(name, text):
    """Return a module made of a text, as if it had been imported."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(text, name, "exec"), vars(module))
    return module


@pytest.mark.parametrize("caller", CALLERS.values(), ids=CALLERS)
def test_helpers_count(caller, monkeypatch):
    def key(helper):
        monkeypatch.setitem(sys.modules, "helper_of_mine", None)
        run_module("helper_of_mine", helper)
        monkeypatch.setitem(sys.modules, "caller_of_mine", None)
        return of(run_module("caller_of_mine", caller).call)

    assert key(HELPER) == key(HELPER)
    assert key(HELPER) != key(HELPER.replace("X + 1", "X + 2"))
    is_whole = "getattr" in caller
    assert (key(HELPER) != key(HELPER.replace("return X\n", "return 2 * X\n"))) == is_whole


@pytest.mark.parametrize(
    "template",
    [
        "call = lambda X: X + {0}",
        "def call(X):\n    'The same.'\n    return X + {0}",
        "def call(X, by={0}): return X + by",
        "def call(X, *, by={0}): return X + by",
        "BY = {0}\ndef call(X): return X + BY",
        "BY = {0}\ndef other(X): return X + BY\ndef call(X): return other(X)",
        "def make(by): return lambda X: X + by\ncall = make({0})",
        "import functools\ndef by(n, X): return X + n\ncall = functools.partial(by, {0})",
        "import numpy as np\ncall = np.vectorize(lambda x: x + {0})",
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
        "A = type('A', (), {{'by': {0}, 'f': lambda self, X: X + self.by}})\ncall = A().f",
        "class A(dict):\n    def f(self, X): return X + self['by']\ncall = A(by={0}).f",
        "import enum\nclass E(enum.Enum):\n    BY = {0}\ndef call(X): return X + E.BY.value",
        "import functools\n@functools.lru_cache\ndef by(): return {0}\n"
        "def call(X): return X + by()",
        "import functools\ndef call(X): return X\ncall.by = {0}",
        "def call(X): return X if X is None else call(X + {0})",
        "import numpy as np\ncall = np.arange({0}, 9).take",
        "import operator\ncall = operator.itemgetter({0})",
        "import typing\nclass A(typing.NamedTuple):\n    by: int\n"
        "    def f(self, X): return self.by\ncall = A({0}).f",
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    by: int\n"
        "    def f(self, X): return X + self.by\ncall = A({0}).f",
    ],
)
def test_code_counts(template, monkeypatch):
    def key(number, name="steps_of_main"):
        monkeypatch.setitem(sys.modules, name, None)
        module = run_module(name, template.format(number))
        return of(module.call), fingerprint(with_value([module.call]))

    assert key(1) == key(1)
    assert not set(key(1)) & set(key(2))
    assert len(set(key(1))) == 2


# What changes the rows of a function, before and after: the rest of the code is the same.
CHANGES = {
    "environment": (
        "import os\nos.environ['GAIN_OF_MINE'] = '1'\n"
        "def call(X): return X * float(os.environ['GAIN_OF_MINE'])",
        "os.environ['GAIN_OF_MINE'] = '2'",
    ),
    "its name in a global": (
        "from os import getenv, environ as e\nNAME = 'GAIN_OF_MINE'\ne[NAME] = '1'\n"
        "def call(X): return X * float(getenv(NAME))",
        "e['GAIN_OF_MINE'] = '2'",
    ),
    "attribute of a cached function": (
        "import functools\n@functools.lru_cache\ndef table(): return table.gain\n"
        "table.gain = 1\ndef call(X): return X * table()",
        "table.gain = 2",
    ),
    "singleton": (
        "class Settings:\n    def __reduce__(self): return 'SETTINGS'\n"
        "SETTINGS = Settings()\nSETTINGS.gain = 1\ndef call(X): return X * SETTINGS.gain",
        "SETTINGS.gain = 2",
    ),
    "class of a singleton": (
        "class Settings:\n    gain = 1\n    def __reduce__(self): return 'SETTINGS'\n"
        "SETTINGS = Settings()\ndef call(X): return X * SETTINGS.gain",
        "Settings.gain = 2",
    ),
    "built in": (
        "import builtins\nbuiltins.gain_of_mine = lambda: 1\n"
        "def call(X): return X * gain_of_mine()",
        "builtins.gain_of_mine = lambda: 2",
    ),
    "name": ("def call(X): return X * len(call.__name__)", "call.__name__ = 'other'"),
    "vars of a module": (
        "import steps_of_main as m\ndef by(X): return X\nKEY = 'b'\n"
        "def call(X): return m.__dict__[KEY + 'y'](X)",
        "by = lambda X: 2 * X",
    ),
    "getattr on a local module": (
        "def by(X): return X\n"
        "def call(X, kind='b'):\n    import steps_of_main as m\n"
        "    return getattr(m, kind + 'y')(X)",
        "by = lambda X: 2 * X",
    ),
    "local module handed on": (
        "def by(X): return X\ndef use(module, kind): return vars(module)[kind + 'y']\n"
        "def call(X, kind='b'):\n    import steps_of_main\n    return use(steps_of_main, kind)(X)",
        "by = lambda X: 2 * X",
    ),
    "dispatched": (
        "import functools\n@functools.singledispatch\ndef by(x): return 1\n"
        "by.register(int)(lambda x: 1)\ndef call(X): return X * by(X)",
        "by.register(int)(lambda x: 2)",
    ),
    "empty file": (
        "import os, tempfile\nPATH = os.path.join(tempfile.mkdtemp(), 'flag')\n"
        "def call(X): return X * os.path.exists(PATH)",
        "open(PATH, 'w').close()",
    ),
}


@pytest.mark.parametrize(("code", "change"), CHANGES.values(), ids=CHANGES)
def test_what_a_function_depends_on_counts(code, change, monkeypatch):
    monkeypatch.setitem(sys.modules, "steps_of_main", None)
    monkeypatch.setenv("GAIN_OF_MINE", "")
    monkeypatch.setattr(builtins, "gain_of_mine", None, raising=False)
    module = run_module("steps_of_main", code)
    before = of(module.call)
    assert of(module.call) == before
    exec(change, vars(module))
    assert of(module.call) != before


LAZY = [
    "def call(X):\n    from lazy_of_mine import part\n    return part.by(X)",
    "def call(X):\n    import lazy_of_mine.part\n    return lazy_of_mine.part.by(X)",
    "def call(X):\n    import lazy_of_mine.part as p\n    return p.by(X)",
    "def call(X, name='by'):\n    from lazy_of_mine import part\n"
    "    return getattr(part, name[:1] + 'y')(X)",
]


@pytest.mark.parametrize("code", LAZY)
def test_modules_count_that_are_imported_when_the_function_runs(code, tmp_path, monkeypatch):
    package = tmp_path / "lazy_of_mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def key(number):
        (package / "part.py").write_text(f"def by(X):\n    return {number} * X\n")
        for name in ("lazy_of_mine", "lazy_of_mine.part"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        call = run_module("steps", code).call
        keys = of(call), of(call)
        assert keys[0] == keys[1]
        return keys[0]

    assert key(1) == key(1) != key(2)
    del sys.modules["lazy_of_mine"], sys.modules["lazy_of_mine.part"]


def test_packages_that_are_imported_when_the_function_runs(monkeypatch):
    call = run_module("steps", "def call(X):\n    import imblearn\n    return X").call
    before = of(call)
    _packages._find_release.cache_clear()
    monkeypatch.delitem(sys.modules, "imblearn")
    assert of(call) == before


def test_installed_packages_are_listed_once(monkeypatch):
    calls = []
    monkeypatch.setattr(_packages.importlib.metadata, "packages_distributions", calls.append)
    for number in range(3):
        find_release(f"module_of_mine_{number}")
        monkeypatch.setitem(sys.modules, f"module_{number}", sys.modules[__name__])
        find_release(f"module_{number}")
    assert not calls


def test_combinations_of_flags_keep_the_key():
    text = "import enum\nclass F(enum.Flag):\n    A = 1\n    B = 2\ndef call(X): return F.A | F.B"
    module = run_module("steps", text)
    before = of(module.call)
    module.call(0)
    assert of(module.call) == before


def parents(is_shared):
    first, second = {"gain": 1}, {"gain": 2}
    first["child"] = [first]
    second["child"] = first["child"] if is_shared else [second]
    return [first, second]


def test_what_a_cycle_leads_back_to_counts():
    shared, own = (fingerprint(with_value(parents(is_shared))) for is_shared in (True, False))
    assert shared != own
    for first, second in itertools.product(range(3), repeat=2):
        nodes = [[], [], []]
        for number, node in enumerate(nodes):
            node += [number, nodes[(number + 1) % 3], nodes[first]]
        other = copy.deepcopy(nodes)
        assert fingerprint(with_value(nodes)) == fingerprint(with_value(other))
        other[2][2] = other[second]
        assert (fingerprint(with_value(nodes)) == fingerprint(with_value(other))) == (
            first == second
        )


def test_memory_maps_are_arrays(tmp_path):
    """So joblib hands large arrays to its workers."""
    np.save(tmp_path / "a.npy", np.arange(9))
    assert fingerprint(with_value(np.arange(9))) == fingerprint(
        with_value(np.load(tmp_path / "a.npy", mmap_mode="r"))
    )


@pytest.mark.parametrize("kind", ["store", "parquet"])
def test_workers_with_other_code_store_nothing(kind, tmp_path, monkeypatch):
    numbers = itertools.count()
    monkeypatch.setattr(_compute, "_process", lambda: next(numbers))
    monkeypatch.setattr(_compute, "fingerprint", lambda _: b"%d" % next(numbers))
    bus, images = FeatureBus(IntensityStatistics(), n_jobs=1), np.ones((2, 3, 3))
    bus.fit(images).transform(images)  # nothing is stored
    use = functools.partial(bus.to_parquet, directory=tmp_path / "rows")
    if kind == "store":
        use = bus.set_params(memory=tmp_path / "s").transform
    with pytest.raises(FingerprintError, match="IntensityStatistics is another one in this worker"):
        use(images)


HANDED_ON = [
    "import helper_of_mine as h\ndef scale(m): return m.BY\ndef call(X): return X * scale(h)",
    "import helper_of_mine as h\nNAME = 'BY'\ndef call(X): return X * getattr(h, NAME)",
    "import helper_of_mine as h\ndef call(X, name='BY'): return X * vars(h)[name]",
    "import helper_of_mine as h\ndef call(X): return X * h.found",
    "def call(X):\n    import helper_of_mine as h\n    return X * h.BY",
]


@pytest.mark.parametrize("caller", HANDED_ON)
def test_modules_count_that_are_handed_on(caller, monkeypatch):
    def key(number):
        helper = f"BY = {number}\ndef __getattr__(name): return BY"
        monkeypatch.setitem(sys.modules, "helper_of_mine", None)
        run_module("helper_of_mine", helper)
        monkeypatch.setitem(sys.modules, "caller_of_mine", None)
        return of(run_module("caller_of_mine", caller).call)

    assert key(1) == key(1) != key(2)


def test_sharing_and_size_do_not_matter():
    shared = [[1], {"a": 2}]
    once, twice = with_value([shared, shared]), with_value([shared, copy.deepcopy(shared)])
    assert fingerprint(once) == fingerprint(twice)
    dag = functools.reduce(lambda inner, _: [inner, inner], range(60), [])
    assert fingerprint(with_value(dag)) != fingerprint(with_value([dag]))
    nodes = [types.SimpleNamespace() for _ in range(12)]
    for node in nodes:
        node.others = nodes
    assert fingerprint(with_value(nodes)) == fingerprint(with_value(copy.deepcopy(nodes)))


def test_packages_whose_modules_import_each_other(tmp_path, monkeypatch):
    package = tmp_path / "rings_of_mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    names = [f"part{number}" for number in range(14)]
    for number, name in enumerate(names):
        text = f"from . import {', '.join(names)}\ndef f(X):\n    return X + {number}"
        text += "".join(f" + {other}.by" for other in names) + f"\nby = {number}\n"
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("rings_of_mine.part0")
    before = of(module.f)
    monkeypatch.setattr(sys.modules["rings_of_mine.part9"], "by", -1)
    assert of(module.f) != before


@pytest.mark.parametrize(
    "text",
    [
        "def call(X):\n    try:\n        from . import fast\n"
        "    except ImportError:\n        fast = 0",
        "def call(X):\n    import not_there_at_all",
        "def call(X):\n    import os\n" + "".join(f"    a{n} = {n + 1000}\n" for n in range(600)),
        "import cv2\ncall = cv2.equalizeHist",
        "import cv2, functools\ncall = functools.partial(cv2.GaussianBlur, ksize=(3, 3), sigmaX=1)",
        "from scipy.stats import norm\ndef call(X): return norm.cdf(X)",
        "import threading\nLOCK = threading.Lock()\ndef call(X):\n    with LOCK:\n        return X",
        "import logging, re\nLOG, DIGIT = logging.getLogger('mine'), re.compile('[0-9]')\n"
        "def call(X):\n    LOG.info('called')\n    return DIGIT.sub('', X)",
        "from typing import Generic, TypeVar\nT = TypeVar('T')\nclass A(Generic[T]):\n"
        "    def f(self, X): return X\ncall = A().f",
    ],
)
def test_ordinary_code_has_a_fingerprint(text):
    module = run_module("steps", text)
    assert of(module.call) == of(module.call)


def test_vectorized_functions_keep_their_key():
    function = np.vectorize(double, otypes=[float])
    before = of(function)
    function(np.arange(3))
    assert of(function) == before != of(np.vectorize(double))


@pytest.mark.network
def test_attributes_of_subclasses_count():
    class Scaled(DeepFeatures):
        def __init__(self, backbone="mobilenet", *, weights=None, factor=1):
            super().__init__(backbone, weights=weights)
            self.factor = factor

    class Learning(LBP):
        pass

    assert fingerprint(Scaled()) == fingerprint(Scaled()) != fingerprint(Scaled(factor=2))
    first, second = Learning(), Learning()
    first.mean_, second.mean_ = 1, 2
    assert fingerprint(first) != fingerprint(second)
    first, second = Foreign(), Foreign()
    first.errors_, second.errors_ = 1, 2
    assert fingerprint(first) != fingerprint(second)


def test_the_output_of_a_step_counts_for_the_next():
    plain = make_pipeline(LBP(), FunctionTransformer(double))
    tables = make_pipeline(LBP().set_output(transform="pandas"), FunctionTransformer(double))
    assert fingerprint(plain) != fingerprint(tables)
    for wrap in (make_pipeline, FrozenEstimator, Wrapping):
        assert fingerprint(wrap(LBP())) != fingerprint(wrap(LBP().set_output(transform="pandas")))
    for transformer in (plain, Wrapping(LBP()), FunctionTransformer(double)):
        before = fingerprint(transformer)
        with config_context(transform_output="pandas"):
            assert fingerprint(transformer) != before


def test_a_file_that_code_names_counts(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text("1")
    transformers = [
        with_value(str(path)),
        with_value(path),
        FunctionTransformer(run_module("steps", f"call = lambda X: open({str(path)!r})").call),
    ]
    before = [fingerprint(transformer) for transformer in transformers]
    assert before == [fingerprint(transformer) for transformer in transformers]
    path.write_text("2")
    assert not set(before) & {fingerprint(transformer) for transformer in transformers}


class Wrapping(TransformerMixin, BaseEstimator):
    def __init__(self, inner):
        self.inner = inner


class Foreign(TransformerMixin, BaseEstimator):
    def __init__(self, memory=None, verbose=0, n_jobs=1):
        self.memory = memory
        self.verbose = verbose
        self.n_jobs = n_jobs

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X


@pytest.mark.parametrize("parameter", ["memory", "verbose", "n_jobs"])
def test_names_have_no_meaning_in_foreign_classes(parameter):
    assert fingerprint(Foreign()) != fingerprint(Foreign(**{parameter: 7}))


@pytest.mark.parametrize("name", ["learned", "n_features_in_", "feature_names_in_"])
def test_what_a_foreign_estimator_keeps_counts(name):
    first, second = Foreign(), Foreign()
    setattr(second, name, 1)
    assert fingerprint(first) != fingerprint(second)


def test_bases_of_a_class_count(monkeypatch):
    class Half(LBP):
        pass

    class Whole(LBP):
        def transform(self, X):
            return 2 * super().transform(X)

    assert len({fingerprint(LBP()), fingerprint(Half()), fingerprint(Whole())}) == 3
    before = fingerprint(Half())
    monkeypatch.setattr(LBP, "_algorithm_version", 99)
    assert fingerprint(Half()) != before


def test_what_was_learned_counts_behind_frozen_estimators():
    rng = np.random.default_rng(0)
    frozen = [FrozenEstimator(StandardScaler().fit(rng.normal(size=(9, 2)))) for _ in range(2)]
    assert fingerprint(frozen[0]) != fingerprint(frozen[1])
    assert fingerprint(frozen[0]) == fingerprint(clone(frozen[0]))


def test_packages_that_are_no_releases_count_by_their_files(monkeypatch, tmp_path):
    def clear():
        _packages._find_release.cache_clear()
        _packages._files.cache_clear()
        _packages._distributions.cache_clear()

    clear()
    name = "package_of_mine"
    (tmp_path / f"{name}.py").write_text("def call(X): return X")
    info = tmp_path / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "top_level.txt").write_text(name)
    (info / "RECORD").write_text(f"{name}.py,sha256=a,1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_release(name) == f"{name} 1.0"
    assert find_release(f"{name}.part") is None
    (info / "direct_url.json").write_text("{}")
    clear()
    first = find_release(name)
    (info / "RECORD").write_text(f"{name}.py,sha256=b,1\n")
    clear()
    assert f"{name} 1.0 " in first != find_release(name)
    assert find_release("sklearn.base") == f"sklearn {sklearn.__version__}"
    assert find_release("json.decoder") == f"python {platform.python_version()}"
    assert find_release("builtins") == find_release("json")
    assert find_release(__name__) is find_release("not_a_module") is None
    clear()


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(max_size=3),
        st.binary(max_size=3),
        st.sampled_from([np.float32, np.float64, np.sqrt, np.square, LBP, HOG, int, len, double]),
        st.builds(
            np.array,
            st.lists(st.integers(0, 2), max_size=3),
            st.sampled_from(["u1", "i1", "<f4", "<f8", ">f8", "?", "<U2", "S2", "O", "M8[s]"]),
        ),
        st.builds(
            np.ma.MaskedArray,
            st.lists(st.integers(0, 2), min_size=2, max_size=2),
            st.lists(st.booleans(), min_size=2, max_size=2),
            fill_value=st.integers(0, 2),
        ),
        st.builds(
            lambda names: np.zeros(1, dtype=[(name, "u1") for name in names]),
            st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True),
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2), inner, max_size=3),
        st.lists(st.integers(0, 5), max_size=4).map(set),
        st.lists(st.integers(0, 5), max_size=4).map(frozenset),
        st.builds(functools.partial, st.just(double), inner),
        st.builds(lambda value: np.vectorize(lambda x: (x, value)), inner),
        st.builds(lambda value: with_value(value), inner),
        st.builds(lambda value: FunctionTransformer(double, inv_kw_args={"a": value}), inner),
    ),
    max_leaves=6,
)


def shown(value):
    """Return a text that is the same for what cannot be told apart, and for nothing else."""
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        filled = repr(value.fill_value) if np.ma.isMaskedArray(value) else ""
        mask = np.ma.getmaskarray(value).tolist() if filled else ""
        data = np.ma.getdata(value)
        return f"{kind}{data.dtype!r}{data.shape}{data.tolist()!r}{mask}{filled}"
    if isinstance(value, (list, tuple)):
        return f"{kind}({', '.join(map(shown, value))})"
    if isinstance(value, (set, frozenset)):
        return f"{kind}({', '.join(sorted(map(shown, value)))})"
    if isinstance(value, dict):
        return f"{kind}({', '.join(f'{shown(k)}: {shown(v)}' for k, v in value.items())})"
    if isinstance(value, functools.partial):
        return f"partial({shown(value.args)})"
    if isinstance(value, np.vectorize):
        return f"vectorize({shown(value.pyfunc.__closure__[0].cell_contents)})"
    if isinstance(value, FunctionTransformer):
        return f"step({shown(value.kw_args)}, {shown(value.inv_kw_args)})"
    return f"{kind} {value!r}"


@settings(max_examples=200, deadline=None)
@given(VALUES, VALUES)
def test_values_share_a_key_only_if_they_are_the_same(first, second):
    same = shown(first) == shown(second)
    assert (fingerprint(with_value(first)) == fingerprint(with_value(second))) == same
    assert fingerprint(with_value(first)) == fingerprint(with_value(copy.deepcopy(first)))
