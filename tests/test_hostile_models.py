"""Model files that were made or changed to do harm are refused, and nothing in them is run."""

import hashlib
import io
import json
import os
import pickle
import re
import struct
import warnings
import zipfile
from collections import OrderedDict
from importlib.metadata import version

import numpy as np
import pytest
from _models import read_members, rewrite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.ensemble import (
    GradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC
from sklearn.utils import Bunch

from featbus import LBP, DeepFeatures, FeatureBus, ImageFunction, make_breast_ultrasound
from featbus.persistence import ModelFileError, load, read_card, save
from featbus.persistence._archive import write
from featbus.persistence._model import _dump

DATA = make_breast_ultrasound(12, random_state=0)
X, Y = DATA.images, DATA.target


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model.skops"
    save(make_pipeline(FeatureBus(LBP()), SVC()).fit(X, Y), path, card={"recipe": "lbp_svm"})
    return path


@pytest.fixture
def path(original, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATBUS_CACHE", str(tmp_path / "cache"))
    copy = tmp_path / "model.skops"
    copy.write_bytes(original.read_bytes())
    return copy


def write_zip(path, members, compression=zipfile.ZIP_STORED):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Duplicate name")
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, data in members:
                archive.writestr(name, data)


class Exploit:
    def __reduce__(self):
        return os.mkdir, ("exploited",)


def as_pickle(members):
    return [("schema.json", pickle.dumps(Exploit()))]


def with_pickled_array(members):
    file = io.BytesIO()
    np.save(file, np.array([Exploit()]), allow_pickle=True)
    name = next(name for name in members if name.endswith(".npy"))
    return (members | {name: file.getvalue()}).items()


def added(name, data=b"x"):
    return lambda members: [*members.items(), (name, data)]


def edited(name, old, new):
    def change(members):
        assert old in members[name]
        return (members | {name: members[name].replace(old, new)}).items()

    return change


def without(name):
    return lambda members: [item for item in members.items() if item[0] != name]


NESTED = b'{"a":' * 100_000 + b"1" + b"}" * 100_000

HOSTILE = {
    "only a pickle": (as_pickle, "is missing"),
    "pickle in an array": (with_pickled_array, "digest"),
    "a member of pickle": (added("model.pkl", pickle.dumps(Exploit())), "'model.pkl', which"),
    "a compressed array": (added("1.npz"), "'1.npz', which"),
    "path traversal": (added("../evil.npy"), "'../evil.npy', which"),
    "network traversal": (added(f"networks/{'0' * 64}/../../x.h5"), "x.h5', which"),
    "hidden network": (added(f"networks/{'0' * 64}/..h5"), "..h5', which"),
    "absolute name": (added("/etc/1.npy"), "'/etc/1.npy', which"),
    "drive": (added("C:\\1.npy"), "1.npy', which"),
    "two of one name": (added("card.json", b"{}"), "two members of one name"),
    "one more": (added("1.npy"), "digest"),
    "edited card": (edited("card.json", b"lbp_svm", b"LBP_SVM"), "digest"),
    "edited schema": (edited("schema.json", b"FeatureBus", b"FeatureBut"), "digest"),
    "edited manifest": (edited("featbus.json", b'"format": 1', b'"format": 1.0'), "format is 1.0"),
    "another featbus": (edited("featbus.json", b'"featbus": "', b'"featbus": "9'), "digest"),
    "no manifest": (without("featbus.json"), "featbus.json is missing"),
    "no card": (without("card.json"), "card.json is missing"),
    "nested manifest": (
        lambda members: (members | {"featbus.json": NESTED}).items(), "RecursionError"
    ),
    "long manifest": (
        lambda members: (members | {"featbus.json": b" " * (1 << 21)}).items(), "at most 1048576"
    ),
    "list": (lambda members: (members | {"featbus.json": b"[]"}).items(), "is a list"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_other_members(kind, path, monkeypatch):
    monkeypatch.chdir(path.parent)
    change, message = HOSTILE[kind]
    write_zip(path, change(read_members(path)))
    for function in (load, read_card):
        with pytest.raises(ModelFileError, match=message):
            function(path)
    assert [item.name for item in path.parent.iterdir()] == ["model.skops"]


@pytest.mark.parametrize("data", [b"", b"text", pickle.dumps(Exploit()), b"PK\x05\x06" + bytes(18)])
def test_other_files(data, path, monkeypatch):
    monkeypatch.chdir(path.parent)
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"model.skops.*expected a file that featbus.save"):
        load(path)
    assert not os.path.exists("exploited")


def test_a_zip_bomb_is_refused_unread(path, monkeypatch):
    members = read_members(path)
    write_zip(path, [*members.items(), ("1.npy", bytes(1 << 24))], zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    with pytest.raises(ModelFileError, match="compressed"):
        load(path)


def test_members_that_share_bytes(path):
    """Stored members cannot inflate, unless many of them are the same bytes of the file."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("1.npy", bytes(100_000))
        first = archive.infolist()[-1]
        for number in range(2, 20):
            twin = zipfile.ZipInfo(f"{number}.npy")
            for name in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(twin, name, getattr(first, name))
            archive.filelist.append(twin)
    with pytest.raises(ModelFileError, match="members of .* bytes in a file of"):
        load(path)


def test_an_array_that_asks_for_more_than_it_has(path):
    header = io.BytesIO()
    description = {"descr": "<f8", "fortran_order": False, "shape": (1 << 45,)}
    np.lib.format.write_array_header_1_0(header, description)
    rewrite(path, arrays=lambda data: header.getvalue() + bytes(64))
    with pytest.raises(ModelFileError, match="found an array"):
        load(path)


def schema_of(value):
    """Return the schema of a value."""
    with zipfile.ZipFile(io.BytesIO(_dump(value))) as archive:
        return archive.read("schema.json").decode()


def node(name, loader, number, **fields):
    module, _, name = name.rpartition(".")
    return {
        "__class__": name,
        "__module__": module,
        "__loader__": loader,
        "__id__": number,
    } | fields


def listed(number, *items):
    return node("builtins.list", "ListNode", number, content=list(items))


def doubling(depth):
    """Return a schema of lists that have the one inside twice: few nodes, 2 ** depth visits."""
    found = listed(1)
    for number in range(2, depth):
        found = listed(number, found, {"__id__": number - 1})
    return found


def text(content="mkdir exploited"):
    return node("builtins.str", "JsonNode", 2, content=json.dumps(content))


def system(loader, **more):
    return node("os.system", loader, 1, **({"content": text()} | more))


def behind_a_decoy(hidden):
    """Return a node behind an id that a field, unknown to skops, has used for a harmless one."""
    return listed(1, listed(2, hidden) | {"decoy": node("builtins.list", "ListNode", 2)})


def keyed_by(kind):
    types = listed(3, kind)
    return node("builtins.dict", "DictNode", 2, key_types=types, content={"x": listed(5)})


CLASS = "xgboost.sklearn.XGBClassifier"
ATTRIBUTES = node("builtins.dict", "DictNode", 2, key_types=listed(3), content={})


FOREIGN = {
    "function": (schema_of(FunctionTransformer(os.mkdir)), "posix.mkdir|nt.mkdir"),
    "method": (schema_of(FunctionTransformer({}.get)), "found .*get"),
    "own function": (schema_of(FunctionTransformer(doubling)), "test_hostile_models.doubling"),
    "own type": (schema_of(Exploit), "test_hostile_models.Exploit"),
    "constructor": (json.dumps(system("ConstructorFromReduceNode")), "ConstructorFromReduceNode"),
    "type": (json.dumps(node("os.system", "TypeNode", 1)), "os.system"),
    "object": (json.dumps(system("ObjectNode", content=ATTRIBUTES)), "os.system"),
    "set": (schema_of([{1, 2}]), "builtins.set as SetNode in 0"),
    "call by a list": (json.dumps(node(CLASS, "ListNode", 1, content=[])), "XGBClassifier as List"),
    "call by a key": (json.dumps(keyed_by(node(CLASS, "TypeNode", 4))), "XGBClassifier as Type"),
    "call of a loss": (
        json.dumps(
            node(CLASS, "LossNode", 1, content=ATTRIBUTES, __reduce__={"args": listed(4)})
        ), "XGBClassifier as LossNode"
    ),
    "call of a function": (json.dumps(node(CLASS, "FunctionNode", 1)), "XGBClassifier as Function"),
    "compressed": (
        json.dumps(node("scipy.sparse._matrix.spmatrix", "SparseMatrixNode", 1)), "SparseMatrix"
    ),
    "nested JSON": (json.dumps(listed(1, text([[]]))), "neither text nor a number in 0"),
    "void": (
        json.dumps(node("numpy.void", "NdArrayNode", 1, type="numpy", file="1.npy")), "numpy.void"
    ),
    "file": (
        json.dumps(node("numpy.ndarray", "NdArrayNode", 1, type="numpy", file="card.json")), "card"
    ),
    "decoy": (json.dumps(behind_a_decoy(system("MethodNode"))), "unexpected field 'decoy'"),
    "decoy at the root": (json.dumps({"decoy": listed(1)} | listed(1)), "field 'decoy'"),
    "twice": (json.dumps(listed(1, listed(2), listed(2))), "an id for the second time in 1"),
    "operator": (json.dumps(system("OperatorFuncNode", attrs={})), "OperatorFuncNode"),
    "unknown": (json.dumps(system("NoNode")), "NoNode"),
    "doubling": (json.dumps(doubling(40)), "repeats"),
    "itself": (json.dumps(listed(1, {"__id__": 1})), "not given before in 0"),
    "nested": ('{"a":' * 100_000 + "1" + "}" * 100_000, "Recursion"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_schemas_of_a_valid_digest(kind, path, monkeypatch):
    monkeypatch.chdir(path.parent)
    save(LBP(), path)
    schema, message = FOREIGN[kind]
    if schema[:3] != '{"a' and "protocol" not in schema:
        schema = json.dumps(json.loads(schema) | {"protocol": 2})
    rewrite(path, schema=lambda _: schema)
    with pytest.raises(ModelFileError, match=message):
        load(path)
    assert not os.path.exists("exploited")


@pytest.mark.parametrize("protocol", [-1, 1, 10_000, True, None, "2"])
def test_protocols_of_no_skops_are_refused(protocol, path):
    rewrite(path, schema=lambda text: json.dumps(json.loads(text) | {"protocol": protocol}))
    with pytest.raises(ModelFileError, match="protocol"):
        load(path)


def save_unchecked(estimator, path):
    """Write what `save` would never write."""
    manifest = {
        "featbus": "1",
        "scikit-learn": version("scikit-learn"),
        "algorithms": {},
        "networks": [],
    }
    write(path, _dump(estimator), card={}, files={}, manifest=manifest)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (FeatureBus(LBP(), memory="/tmp/rows.sqlite"), "memory is '/tmp/rows.sqlite'"),
        (DeepFeatures("mobilenet", weights="/etc/passwd"), "weights is '/etc/passwd'"),
        (DeepFeatures("/tmp/evil.keras", preprocessing="tf"), "backbone is '/tmp/evil.keras'"),
        (DeepFeatures("/tmp/evil.onnx", preprocessing="tf"), "backbone is '/tmp/evil.onnx'"),
        (DeepFeatures("mobilenet", preprocessing="/etc/passwd"), "preprocessing is '/etc/passwd'"),
        (DeepFeatures("mobilenet", weights=f"networks/{'0' * 64}/a.h5"), "not in the file"),
    ],
)
@pytest.mark.parametrize("hide", ["no", "list", "key", "array", "masked"])
def test_files_outside(hide, estimator, message, path):
    hidden = np.empty((1, 1), dtype=object)
    hidden[0, 0] = estimator
    search = LBP()
    search.best_ = {
        "no": estimator,
        "list": [({"step": Bunch(inner=estimator)},)],
        "key": {0: OrderedDict(inner=[estimator])},
        "array": hidden,
        "masked": np.ma.MaskedArray(hidden, True),
    }[hide]
    save_unchecked(search, path)
    with pytest.raises(ModelFileError, match=message):
        load(path)


def test_files_that_nothing_names(path, tmp_path):
    name = min(name for name in read_members(path) if name.endswith(".npy"))
    rewrite(path, schema=lambda text: text.replace(f'"{name}"', '"1.npy"'))
    with pytest.raises(ModelFileError, match="in the file or in its schema only"):
        load(path)


@pytest.mark.parametrize("where", ["featbus", "scikit-learn", "algorithms", "schema"])
def test_names_in_a_file_reach_no_terminal(where, path):
    evil = "\x1b[2J\x07\u202eOK\n"
    manifest = {
        "featbus": {"format": 99, "featbus": evil},
        "scikit-learn": {"scikit-learn": f"9{evil}"},
        "algorithms": {"algorithms": {evil: [1]}},
        "schema": {},
    }[where]
    change = json.dumps(node(f"a.{evil}", evil, 1) | {"protocol": 2})
    rewrite(path, manifest=manifest, schema=(lambda _: change) if where == "schema" else None)
    with pytest.raises(ModelFileError, match=r"\\x1b\[2J\\x07\\u202eOK") as caught:
        load(path)
    assert str(caught.value).isprintable()


def test_trees_that_lead_out_of_themselves(path):
    forest = RandomForestClassifier(1, random_state=0).fit(X.reshape(len(X), -1)[:, ::997], Y)
    pipeline = make_pipeline(forest)
    save(pipeline, path)
    load(path)

    def misled(data):
        array = np.load(io.BytesIO(data))
        if array.dtype.names and "left_child" in array.dtype.names:
            array["left_child"][0] = 1_000_000
            file = io.BytesIO()
            np.save(file, array)
            return file.getvalue()
        return data

    rewrite(path, arrays=misled)
    with pytest.raises(ModelFileError, match="decision tree"):
        load(path)


def number(value):
    return node("builtins.str", "JsonNode", 1 << 30, content=json.dumps(value), is_json=True)


def dicts_of(value):
    """Yield all dicts in a schema."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, (dict, list)):
            yield from dicts_of(item)


def test_trees_made_of_too_few_numbers(path, monkeypatch):
    save(RandomForestClassifier(1).fit(X.reshape(len(X), -1)[:, ::9997], Y), path)

    def claimed(text):
        schema = json.loads(text)
        nodes = {part["__id__"]: part for part in dicts_of(schema) if "__loader__" in part}
        (tree,) = [part for part in nodes.values() if part["__loader__"] == "TreeNode"]
        nodes[tree["__reduce__"]["args"]["__id__"]]["content"][2] = number(100_000_000)
        return json.dumps(schema)

    rewrite(path, schema=claimed)
    monkeypatch.setattr("skops.io.load", None)  # it would read past the array
    with pytest.raises(ModelFileError, match="found an array"):
        load(path)


def test_trees_that_are_deeper_than_they_say(path):
    save(RandomForestClassifier(1).fit(X.reshape(len(X), -1)[:, ::9997], Y), path)

    def flattened(text):
        schema = json.loads(text)
        (state,) = [part for part in dicts_of(schema) if "max_depth" in part and "nodes" in part]
        state["max_depth"] = number(0)
        return json.dumps(schema)

    rewrite(path, schema=flattened)
    with pytest.raises(ModelFileError, match="not as deep as it says"):
        load(path)


def test_forests_of_trees_that_differ(path):
    rows = X.reshape(len(X), -1)[:, ::9997]
    forest = RandomForestClassifier(2).fit(rows, Y)
    forest.estimators_[1] = RandomForestClassifier(1).fit(np.hstack([rows, rows]), Y)[0]
    save_unchecked(forest, path)
    with pytest.raises(ModelFileError, match="do not fit together"):
        load(path)


def test_isolation_forests_of_trees_that_differ(path):
    rows = X.reshape(len(X), -1)[:, ::9997]
    forest = IsolationForest(n_estimators=2, max_features=2).fit(rows)
    save_unchecked(forest, path)
    assert load(path).predict(rows).tolist() == forest.predict(rows).tolist()
    forest.estimators_[1] = IsolationForest(n_estimators=1).fit(rows).estimators_[0]
    save_unchecked(forest, path)
    with pytest.raises(ModelFileError, match="do not fit together"):
        load(path)


def test_boostings_of_trees_that_differ(path):
    rows = X.reshape(len(X), -1)[:, ::9997]
    boosting = GradientBoostingClassifier(n_estimators=2).fit(rows, Y)
    save_unchecked(boosting, path)
    load(path)
    wider = np.hstack([rows, rows])
    other = GradientBoostingClassifier(n_estimators=2).fit(wider, Y).estimators_
    boosting.estimators_ = np.vstack([boosting.estimators_[:1], other[1:]])
    save_unchecked(boosting, path)
    with pytest.raises(ModelFileError, match="do not fit together"):
        load(path)
    boosting.estimators_ = other
    boosting.n_trees_per_iteration_ = 1  # the matrix that the trees would write to
    save_unchecked(boosting, path)
    with pytest.raises(ModelFileError, match="do not fit together"):
        load(path)


BOOSTERS = {
    "nothing": lambda text: b"",
    "no JSON": lambda text: text[:-1],
    "empty": lambda text: b"{}",
    "child": lambda text: text.replace(b'"left_children":[1', b'"left_children":[99', 1),
    "root": lambda text: text.replace(b'"left_children":[1', b'"left_children":[0', 1),
    "cycle": lambda text: text.replace(b'"right_children":[2', b'"right_children":[1', 1),
    "feature": lambda text: text.replace(b'"split_indices":[', b'"split_indices":[-', 1),
}


@pytest.mark.xgboost
@pytest.mark.parametrize("kind", BOOSTERS)
def test_boosters_that_lead_out_of_themselves(kind, path):
    from xgboost import XGBClassifier

    rows = X.reshape(len(X), -1)[:, ::997]
    save(XGBClassifier(n_estimators=2, min_child_weight=0).fit(rows, Y), path)
    (name,) = [name for name in read_members(path) if name.endswith(".bin")]
    before = read_members(path)[name]
    changed = BOOSTERS[kind](before)
    assert changed != before
    rewrite(path, arrays=lambda data: changed if data == before else data)
    with pytest.raises(ModelFileError):
        load(path)


@pytest.mark.xgboost
def test_boosters_of_escaped_keys(path):
    """XGBoost takes an escaped key for another one, Python for the same."""
    from xgboost import XGBClassifier

    rows = X.reshape(len(X), -1)[:, ::997]
    classifier = XGBClassifier(n_estimators=1, max_depth=1).fit(rows, Y > 0)
    save(classifier, path)

    def doubled(data):
        name, value = b'"left_children":', b"[1,-1,-1]"
        other = name.replace(b"_", b"\\u005f")
        return data.replace(name + value, name + b"[0,-1,-1]," + other + value)

    assert any(doubled(data) != data for data in read_members(path).values())
    rewrite(path, arrays=doubled)
    assert load(path).predict_proba(rows).tolist() == classifier.predict_proba(rows).tolist()


def with_attributes(estimator, **attributes):
    vars(estimator).update(attributes)
    return estimator


ALLIANCES = {
    "file": FixedThresholdClassifier(SVC(), response_method="save_model"),
    "scorer": with_attributes(make_scorer(f1_score), _response_method=("predict", "save_model")),
    "stack": StackingClassifier([("a", SVC())], stack_method="save_model"),
    "fitted stack": with_attributes(StackingClassifier([]), stack_method_=np.array(["save_model"])),
    "keys": with_attributes(StackingClassifier([]), stack_method_={"save_model": 1}),
    "tried": GridSearchCV(SVC(), {"a__response_method": ["save_model"]}),
    "output": FunctionTransformer(np.logical_not, kw_args={"out": np.array("/x"), "where": False}),
    "image": ImageFunction(np.logical_not, {"out": np.zeros(3)}),
    "type": FunctionTransformer(str),
    "type of images": ImageFunction(str),
    "way back": FunctionTransformer(inverse_func=np.add),
    "metric": FunctionTransformer(f1_score),
    "tried function": GridSearchCV(SVC(), {"transformer__func": [str]}),
    "kernel": SVC(kernel=np.add),
    "method": with_attributes(LBP(), transform="x"),
    "parameter": SVC(C="x"),
}


@pytest.mark.parametrize("kind", ALLIANCES)
def test_trusted_parts_that_would_call_each_other(kind, path):
    save_unchecked(make_pipeline(LBP(), ALLIANCES[kind]), path)
    with pytest.raises(ModelFileError, match="which no model has|C is 'x'"):
        load(path)


def test_estimators_that_read_files(path):
    save_unchecked(make_pipeline(CountVectorizer(input="filename")), path)
    with pytest.raises(ModelFileError, match="CountVectorizer as ObjectNode in steps.0.1"):
        load(path)


def spoil(model, kind):
    """Return the content of an ONNX file after a change."""
    import onnx

    if kind == "custom operator":
        model.graph.node[0].domain = "evil.example"
        model.opset_import.append(onnx.helper.make_opsetid("evil.example", 1))
    elif kind == "external data":
        tensor = model.graph.initializer[0]
        onnx.external_data_helper.set_external_data(tensor, "../../../../../etc/passwd")
        tensor.ClearField("raw_data")
    content = model.SerializeToString()
    return content[: len(content) // 2] if kind == "truncated" else content


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("custom operator", "evil.onnx' cannot be used.*evil"),
        ("external data", "evil.onnx' cannot be used.*external data"),
        ("truncated", "evil.onnx' cannot be used.*parsing"),
        ("nothing", None),
    ],
)
def test_onnx_files_that_are_hostile(kind, message, path, tmp_path):
    import onnx
    from _onnx import save_convnet

    file = tmp_path / "evil.onnx"
    save_convnet(file)
    file.write_bytes(spoil(onnx.load(file), kind))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    member = f"networks/{digest}/evil.onnx"
    deep = DeepFeatures(member, preprocessing="tf", input_size=32)
    line = {"network": "evil", "sha256": digest, "member": member, "embedded": True}
    manifest = {"featbus": "1", "scikit-learn": version("scikit-learn"), "algorithms": {}}
    manifest["networks"] = [line]
    write(path, _dump(deep), card={}, files={member: str(file)}, manifest=manifest)
    if message is None:
        assert load(path).transform(X[:1]).shape == (1, 8)
        return
    with pytest.raises(ValueError, match=message):
        load(path).transform(X[:1])


def test_networks_of_foreign_layers(tmp_path):
    from featbus.persistence._networks import _check_layers

    def of(**layer):
        path = tmp_path / "model.keras"
        config = {"class_name": "Sequential", "module": "keras", "registered_name": None}
        write_zip(path, [("config.json", json.dumps(config | {"config": {"layers": [layer]}}))])
        return path

    function = {"class_name": "function", "registered_name": "function"}
    for layer in (
        {"class_name": "Conv2D", "module": "keras.layers", "shared_object_id": 1 << 40},
        {"class_name": "Functional", "module": "keras.src.models.functional"},
        {"class_name": "Add", "module": "keras.src.ops.numpy", "registered_name": "Add"},
        {"class_name": "Dropout", "module": "keras.layers", "config": {"seed": 1 << 31}},
        function | {"module": "builtins", "config": "binary_crossentropy"},
    ):
        _check_layers(of(**layer))
    for layer in (
        {"class_name": "Lambda", "module": "keras.layers"},
        {"class_name": "TFSMLayer", "module": "keras.layers"},
        {"class_name": "Lambda", "module": "keras.src.layers.core.lambda_layer"},
        {"class_name": "layers.Lambda", "module": "keras"},
        {"class_name": "schedules.Lambda", "module": "keras.optimizers"},
        {"class_name": "deserialize", "module": "keras.layers"},
        {"class_name": "Lambda", "module": None},
        {"class_name": "__lambda__", "module": None},
        {"class_name": "__tensor__", "module": None},
        {"class_name": "__numpy__", "module": None},
        {"class_name": ["Lambda"], "module": "keras.layers"},
        {"class_name": "system", "module": "os"},
        {"class_name": "run", "module": "kerasx"},
        {"class_name": "Conv2D", "module": None, "registered_name": "mine>Conv2D"},
        function | {"module": "keras.visualization", "config": "plot_image_gallery"},
        function | {"module": "keras.activations", "config": "get"},
        function | {"module": "keras.activations", "config": "layers.Lambda"},
    ):
        message = re.escape(f"{layer['module']}.{layer['class_name']}")
        with pytest.raises(ModelFileError, match=message):
            _check_layers(of(**layer))
    wide = {"class_name": "Dense", "module": "keras.layers", "config": {"units": 250_000_000}}
    with pytest.raises(ModelFileError, match="units=250000000"):
        _check_layers(of(**wide))


def test_networks_of_long_configurations(tmp_path):
    from featbus.networks import read_model_config

    path = tmp_path / "model.keras"
    write_zip(path, [("config.json", b"[" + b"[]," * 3_000_000 + b"0]")], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1e5
    with pytest.raises(ValueError, match="config.json has 9000003 bytes"):
        read_model_config(path)


def harmless(path):
    """Tell whether a file was refused, or is the model that was saved."""
    try:
        pipeline = load(path)
    except ModelFileError:
        return True
    return bool((pipeline.predict(X[:3]) == _EXPECTED[0]).all()) and read_card(path) == _CARD[0]


_EXPECTED, _CARD = [], []


@pytest.fixture
def expected(original):
    _EXPECTED[:], _CARD[:] = [load(original).predict(X[:3])], [read_card(original)]


FEW = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@FEW
@given(data=st.data())
def test_flipped_bits(data, original, path, expected):
    content = bytearray(original.read_bytes())
    position = data.draw(st.integers(0, 8 * len(content) - 1))
    content[position // 8] ^= 1 << position % 8
    path.write_bytes(content)
    assert harmless(path)


@FEW
@given(data=st.data())
def test_truncated_files(data, original, path, expected):
    content = original.read_bytes()
    start = data.draw(st.integers(0, len(content) - 1))
    stop = data.draw(st.integers(start, len(content) - (not start)))
    path.write_bytes(content[start:stop])
    assert harmless(path)


@FEW
@given(data=st.data())
def test_swapped_members(data, original, path, expected):
    members = read_members(original)
    first, second = data.draw(
        st.lists(st.sampled_from(sorted(members)), min_size=2, max_size=2, unique=True)
    )
    swapped = members | {first: members[second], second: members[first]}
    write_zip(path, swapped.items())
    assert harmless(path)
    if members[first] != members[second]:
        with pytest.raises(ModelFileError):
            load(path)


_NAMES = ["", "format", "content", "__id__", "__loader__", "__class__"]


@FEW
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text("ab", max_size=3),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(_NAMES), inner),
    ),
    name=st.sampled_from(["schema.json", "featbus.json", "card.json"]),
)
def test_any_other_json(value, name, original, path, expected):
    write_zip(path, (read_members(original) | {name: json.dumps(value).encode()}).items())
    with pytest.raises(ModelFileError):
        load(path)


@FEW
@given(
    changes=st.dictionaries(
        st.sampled_from(["format", "featbus", "scikit-learn", "algorithms", "networks"]),
        st.none() | st.integers() | st.text(max_size=5) | st.lists(st.text(), max_size=2)
        | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
        min_size=1,
    )
)  # fmt: skip
def test_any_other_manifest_of_a_valid_digest(changes, original, path, expected):
    path.write_bytes(original.read_bytes())
    told = {name: value for name, value in changes.items() if name != "format"}
    rewrite(path, manifest=told | {"format": changes.get("format", 1)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert harmless(path)


def test_a_prefix_does_no_harm(original, path, expected):
    path.write_bytes(struct.pack("<I", 7) + original.read_bytes())
    assert harmless(path)
