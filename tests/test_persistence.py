"""Model files: the same predictions elsewhere, and no code that the user did not trust."""

import copy
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import types
import zipfile
from functools import partial
from operator import methodcaller
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest, mutual_info_classif
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, RepeatedStratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

import featbus
from featbus import (
    HOG,
    LBP,
    DeepFeatures,
    FeatureBus,
    FineTunedFeatures,
    ImageFunction,
    Resize,
    ROICropper,
    TestTimeAugmentation,
    UNetSegmenter,
    make_breast_ultrasound,
)
from featbus.persistence import ModelFileError, load, read_card, save, write_card_html
from featbus.recipes import classifier_pipelines

DATA = make_breast_ultrasound(24, image_shape=(64, 80), random_state=0)
X, Y = DATA.images, DATA.target
SMALL = {"backbone_options": {"alpha": 0.25}, "input_size": 32}


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATBUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FEATBUS_WEIGHTS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "model.skops"


@pytest.fixture(scope="module")
def fitted():
    return make_pipeline(FeatureBus(LBP()), SVC()).fit(X, Y)


def scores_of(pipeline):
    names = "predict_proba", "decision_function", "transform"
    method = next(name for name in names if hasattr(pipeline, name))
    return np.asarray(getattr(pipeline, method)(X), dtype=float)


def assert_same_elsewhere(pipeline, path, trusted=(), **options):
    save(pipeline, path, trusted=trusted, **options)
    loaded = load(path, trusted=trusted)
    np.testing.assert_allclose(scores_of(loaded), scores_of(pipeline), rtol=0, atol=1e-6)
    if hasattr(pipeline, "predict"):
        assert loaded.predict(X).tolist() == pipeline.predict(X).tolist()
    return loaded


def assert_no_trace_of(path, folder, *names):
    """Find neither paths nor the user's home in a file."""
    content = path.read_bytes()
    for secret in (str(folder), str(Path.home()) + "/", *names):
        assert secret.encode() not in content


def classifiers():
    found = classifier_pipelines(features=LBP())
    forest = {"n_estimators": 5, "random_state": np.random.RandomState(0)}
    found["random forest"]["classifier"].set_params(**forest)
    weighted = LogisticRegression(class_weight={0: 2})
    voters = [("forest", RandomForestClassifier(3)), ("regression", weighted)]
    few_columns = LBP(n_points=4, radius=1, method="uniform")
    some = ColumnTransformer([("some", "passthrough", make_column_selector("lbp"))])
    steps = {
        "vote": [VotingClassifier(voters, voting="soft")],
        "stack": [FunctionTransformer(np.tanh), StackingClassifier([("svc", SVC())], cv=2)],
        "selected": [SelectKBest(mutual_info_classif, k=4), SVC()],
        "Gaussian process": [GaussianProcessClassifier()],
        "boosting": [GradientBoostingClassifier(n_estimators=3)],
        "search of splits": [
            GridSearchCV(SVC(), {"C": [1]}, cv=[(np.arange(12), np.arange(12, 24))])
        ],
    }
    return found | {
        **{name: make_pipeline(LBP(), *rest) for name, rest in steps.items()},
        "isotonic": CalibratedClassifierCV(make_pipeline(LBP(), SVC()), method="isotonic", cv=2),
        "neighbors": make_pipeline(few_columns, KNeighborsClassifier(algorithm="kd_tree")),
        "search of steps": GridSearchCV(
            make_pipeline(FeatureBus(LBP()), SVC()),
            {"svc": [SVC(), RandomForestClassifier(3)], "featurebus__memory": [None]},
            scoring=make_scorer(f1_score, average="macro"),
            cv=RepeatedStratifiedKFold(n_splits=2, n_repeats=1),
        ),
        "columns": make_pipeline(FeatureBus(LBP()).set_output(transform="pandas"), some, SVC()),
        "views": TestTimeAugmentation(make_pipeline(Resize(64), HOG(), SVC())),
    }


@pytest.mark.parametrize("name", classifiers())
def test_classifiers_predict_the_same(name, path):
    assert_same_elsewhere(classifiers()[name].fit(X, Y), path)


def test_classes_may_be_text(path):
    names = np.array([f"/{name}" for name in DATA.target_names], dtype=object)[Y]
    pipeline = make_pipeline(LBP(), SVC()).set_output(transform="pandas").fit(X, names)
    assert_same_elsewhere(pipeline, path, classes=["a", "b", "c"])
    assert read_card(path)["classes"] == ["a", "b", "c"]


@pytest.mark.parametrize("kind", [list, np.array])
def test_files_that_a_search_tried_are_refused(path, kind):
    pipeline = Pipeline([("bus", FeatureBus(LBP())), ("svc", SVC())])
    search = GridSearchCV(pipeline, {"bus__memory": kind(["x"])})
    search.best_estimator_ = clone(pipeline).fit(X, Y)
    with pytest.raises(ModelFileError, match="memory is .*x.*, expected None"):
        save(search, path)  # which loads the file


def test_networks_that_a_search_tried_travel(path, tmp_path):
    weights = [write_weights(tmp_path / f"{name}.weights.h5") for name in "ab"]
    tried = [*(DeepFeatures("mobilenet", weights=file, **SMALL) for file in weights), LBP()]
    pipeline = Pipeline([("bus", FeatureBus(LBP())), ("svc", SVC())])
    search = GridSearchCV(pipeline, {"bus__transformer": tried}, cv=2)
    search.best_estimator_ = clone(pipeline).fit(X, Y)
    column = np.ma.MaskedArray(np.array(tried, dtype=object), mask=False)
    search.cv_results_ = {"param_bus__transformer": column}
    loaded = assert_same_elsewhere(search, path)
    assert_no_trace_of(path, tmp_path, "a.weights")
    found = loaded.cv_results_["param_bus__transformer"]
    assert found[0] is loaded.param_grid["bus__transformer"][0]
    assert found[-1].get_params() == LBP().get_params()


def write_weights(path):
    """Write a small file of weights, which no network has."""
    h5py = pytest.importorskip("h5py", reason="comes with Keras")
    with h5py.File(path, "w") as file:
        file["kernel"] = np.arange(6.0)
    return path


def test_weights_files_travel(path, tmp_path):
    weights = write_weights(tmp_path / "mine.weights.h5")
    content = weights.read_bytes()
    deep = DeepFeatures("mobilenet", weights=weights, layers="C2", **SMALL)
    other = clone(deep).set_params(weights=str(weights), layers="C3")
    save(FeatureUnion([("deep", FeatureBus(deep)), ("other", other)]), path)
    weights.unlink()
    loaded = [step for _, step in load(path.name).transformer_list]
    for step in (loaded[0].transformer, loaded[1]):
        assert Path(step.weights).read_bytes() == content
        assert Path(step.weights).is_relative_to(tmp_path / "cache")
    assert_no_trace_of(path, tmp_path, "mine.weights")
    Path(loaded[1].weights).write_bytes(b"damaged")
    assert Path(load(path).transformer_list[1][1].weights).read_bytes() == content


def test_weights_files_by_digest(path, tmp_path):
    weights = write_weights(tmp_path / "source.weights.h5")
    save(DeepFeatures("mobilenet", weights=weights, **SMALL), path, embed=False)
    digest = read_card(path)["networks"][0]["sha256"]
    with pytest.raises(ModelFileError, match=f"no network of sha256 {digest}.*FEATBUS_WEIGHTS"):
        load(path)
    cached = tmp_path / "cache" / "networks" / digest / "network.weights.h5"
    cached.parent.mkdir(parents=True)
    weights.rename(cached)
    assert load(path).weights == str(cached)


ELSEWHERE = """
import numpy as np
import featbus
X, pipeline = np.load("X.npy"), featbus.load("model.skops")
np.save("rows.npy", pipeline[:-1].transform(X))
np.save("scores.npy", pipeline.decision_function(X))
"""


@pytest.mark.network
@pytest.mark.slow
def test_networks_in_a_fresh_process(path, tmp_path):
    weights, options = tmp_path / "mine.weights.h5", {"layers": "C2", **SMALL}
    DeepFeatures("mobilenet", weights=None, **SMALL)._source().build().save_weights(weights)
    deep = DeepFeatures("mobilenet", weights=weights, **options).fit(X)
    tuned = FineTunedFeatures("mobilenet", weights=weights, unfreeze=None, **options).fit(X, Y)
    kernel = next(v for v in tuned._source().build().variables if v.path.endswith("conv1_bn/beta"))
    tuned.weights_ = {kernel.path: np.asarray(kernel.value)[np.newaxis] + 0.1}  # as `fit` does
    tuned = copy.deepcopy(tuned)  # forgets the network that `fit` left
    union = FeatureUnion([("deep", deep), ("tuned", tuned)])
    pipeline = make_pipeline(FeatureBus(FrozenEstimator(union)), SVC()).fit(X, Y)
    rows = pipeline[:-1].transform(X)
    assert not np.allclose(*np.split(rows, 2, axis=1))
    save(pipeline, path)
    weights.unlink()
    assert_no_trace_of(path, tmp_path, "mine.weights")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    path.rename(folder / path.name)
    np.save(folder / "X.npy", X)
    environ = os.environ | {"FEATBUS_CACHE": str(folder / "cache")}
    subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=folder, check=True, env=environ)
    for name, values in {"rows": rows, "scores": pipeline.decision_function(X)}.items():
        np.testing.assert_allclose(np.load(folder / f"{name}.npy"), values, rtol=0, atol=1e-6)


def test_what_a_segmenter_learned_travels(path, tmp_path):
    weights, places = tmp_path / "encoder.weights.h5", {"checkpoint": tmp_path / "checkpoints"}
    segmenter = UNetSegmenter("mobilenet", encoder_weights=weights, input_size=32, **places)
    segmenter.weights_ = [np.arange(3.0), np.ones((2, 2), dtype=np.float32)]  # as `fit` does
    save(ROICropper(FrozenEstimator(segmenter), size=64), path)
    found = load(path).segmenter.estimator
    assert all(map(np.array_equal, found.weights_, segmenter.weights_))
    assert found.checkpoint is None
    assert found.encoder_weights == "encoder.weights.h5"
    assert_no_trace_of(path, tmp_path)


def small_model(name="mine"):
    import keras

    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, strides=2, name="only")]
    return keras.Sequential(layers, name=name)


@pytest.mark.network
@pytest.mark.parametrize("kind", ["small_cnn", "tuned small_cnn", "model", "random weights"])
def test_networks_without_a_file_travel(kind, path):
    random = {"weights": None, "input_size": 32, "random_state": 3}
    deep = {
        "small_cnn": lambda: DeepFeatures("small_cnn", **random),
        "tuned small_cnn": lambda: FineTunedFeatures("small_cnn", unfreeze=None, **random),
        "model": lambda: DeepFeatures(small_model(), preprocessing="tf"),
        "random weights": lambda: DeepFeatures("mobilenet", weights=None, **SMALL),
    }[kind]()
    backbone, pipeline = deep.backbone, make_pipeline(deep, SVC()).fit(X, Y)
    loaded = assert_same_elsewhere(pipeline, path)
    names = [steps[0].get_feature_names_out().tolist() for steps in (pipeline, loaded)]
    assert names[0] == names[1]
    assert pipeline[0].backbone is backbone
    if kind == "model":  # random weights are made again
        with pytest.raises(ModelFileError, match=r"no file that could be named.*embed=True"):
            save(pipeline, path, embed=False)


@pytest.mark.network
def test_imagenet_weights_of_keras_are_named(path):
    save(DeepFeatures("mobilenet", **SMALL), path, embed=False)
    assert load(path).weights == "imagenet"
    assert read_card(path)["networks"][0]["network"].startswith("mobilenet(alpha=0.25)")


def test_what_belongs_to_a_machine_stays(path, tmp_path):
    bus = FeatureBus(LBP(), memory=tmp_path / "rows.sqlite", on_error="nan")
    pipeline = make_pipeline(bus, SVC(), memory=str(tmp_path / "steps")).fit(X, Y)
    with pytest.warns(UserWarning, match="their rows are NaN"):
        pipeline[0].transform([X[0], str(tmp_path / "missing.png")])
    before = vars(bus).copy()
    loaded = assert_same_elsewhere(pipeline, path)
    assert (loaded.memory, loaded[0].memory, loaded[0].errors_) == (None, None, [])
    assert vars(bus) == before
    assert_no_trace_of(path, tmp_path)


def test_resamplers_travel_without_training_rows(path):
    pipeline = classifier_pipelines(features=LBP())["SVM"].fit(X, Y)
    loaded = assert_same_elsewhere(pipeline, path)
    assert hasattr(pipeline["smote"], "nn_k_")
    assert not hasattr(loaded["smote"], "nn_k_")
    assert loaded.fit(X, Y).predict(X).tolist() == pipeline.predict(X).tolist()


def double(X):
    return 2 * X


class Mine(LBP):
    """An extractor of somebody else."""


def test_trusted_types_of_others_travel(path, monkeypatch):
    trusted = [Mine, f"{__name__}.double"]
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__, sys.modules["__main__"]))
    steps = FeatureBus(Mine(n_points=16)), FunctionTransformer(double), SVC()
    pipeline = make_pipeline(*steps).fit(X, Y)
    root = types.SimpleNamespace(__version__="1.0")
    monkeypatch.setitem(sys.modules, root_name := __name__.partition(".")[0], root)
    loaded = assert_same_elsewhere(pipeline, path, trusted=trusted)
    assert type(loaded[0].transformer) is Mine
    root.__version__ = "1.1"
    with pytest.warns(UserWarning, match=f"saved with {root_name} 1.0, and 1.1 is installed"):
        load(path, trusted=trusted)
    for some, missing in ((trusted[:1], "double"), (trusted[1:], "Mine")):
        for use in (partial(load, path), partial(save, pipeline, path)):
            with pytest.raises(ModelFileError, match=rf"{missing}.*trusted="):
                use(trusted=some)


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (ImageFunction(lambda image: image), "<lambda>"),
        (ImageFunction(getattr), "builtins.getattr"),
        (FunctionTransformer(partial(np.add, 1)), "functools.partial"),
        (FunctionTransformer(methodcaller("save", "x")), "operator.methodcaller"),
        (FunctionTransformer(SVC().fit), "SVC"),
        (FunctionTransformer(FeatureBus), "FeatureBus in a TypeNode"),
        (make_pipeline(LBP(), HistGradientBoostingClassifier(max_iter=2)), "TreePredictor"),
    ],
)
def test_what_is_not_trusted_is_not_saved(step, name, path):
    path.write_text("before")
    with pytest.raises(ModelFileError, match=name):
        save(make_pipeline(Resize(32), step).fit(X, Y), path)
    assert path.read_text() == "before"
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_bad_parameters(fitted, path):
    with pytest.raises(NotFittedError):
        save(make_pipeline(LBP(), SVC()), path)
    with pytest.raises(ValueError, match="classes has 2 names"):
        save(fitted, path, classes=["a", "b"])
    with pytest.raises(ValueError, match="embed is 'no'"):
        save(fitted, path, embed="no")
    for use in (partial(save, fitted), load):
        with pytest.raises(FileNotFoundError, match="missing"):
            use(path.parent / "missing" / "model.skops")


def read_members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path, **changes):
    """Write a model file again with other members: bytes, or what a function makes of the old."""
    members = read_members(path)
    with zipfile.ZipFile(path, "w") as archive:
        for name in {**members, **changes}:
            change = changes.get(name, members.get(name))
            archive.writestr(name, change(members[name]) if callable(change) else change)


def changed_json(**changes):
    return lambda data: json.dumps(json.loads(data) | changes)


def test_files_of_other_formats_and_releases(fitted, path):
    save(fitted, path)
    card = read_card(path)
    for package in ("featbus", "scikit-learn"):
        versions = card["versions"] | {package: "0.0.2"}
        rewrite(path, **{"featbus.json": changed_json(card=card | {"versions": versions})})
        with pytest.warns(UserWarning, match=f"{package} 0.0.2"):
            load(path)
    first = {"format": 1, "featbus": "0.1", "scikit-learn": "1.8", "algorithms": {}, "networks": []}
    for number, change in ((3, changed_json(format=3)), (1, json.dumps(first))):
        rewrite(path, **{"featbus.json": change})
        for read in (load, read_card):
            with pytest.raises(ModelFileError, match=f"featbus .* in format {number}"):
                read(path)


def test_the_card(fitted, path):
    card = {
        "data set": {"images": np.int64(24), "n_patients": 12},
        "scores": {"roc_auc": {"mean": 0.81, "low": np.float64(0.7)}, "pr_auc": np.nan},
        "rows": np.arange(2),
        "url": "https://doi.org/10.1016/j.dib.2019.104863",
        "contrast": "benign/malignant, normal / abnormal, per 1/2 film, </b>",
        "patients": 12,
    }
    save(fitted, path, classes=list(DATA.target_names), card=card)
    found = read_card(path)
    assert found["data set"] == {"images": 24, "n_patients": 12}
    assert found["scores"] == {"roc_auc": {"mean": 0.81, "low": 0.7}, "pr_auc": None}
    assert found["rows"] == [0, 1]
    assert found["classes"] == ["benign", "malignant", "normal"]
    assert found["steps"] == ["Pipeline", "FeatureBus", "LBP", "SVC"]
    assert found["versions"]["featbus"] == featbus.__version__
    assert "not for clinical use" in found["note"]


@pytest.mark.parametrize(
    ("card", "message"),
    [
        *[({"data": text}, "a path") for text in ("C:\\x", {"~/busi": 3}, "<b>//server/share/x")],
        ({"data": ["read from `/home/alice/x`"]}, "a path"),
        ({"data": {"PatientName": "x"}}, "attribute of a patient"),
        ({"Patient's Birth Date": 7}, "attribute of a patient"),
        ({"versions": {}}, "'versions', which save writes"),
        ({"data": {1, 2}}, "'set'"),
    ],
)
def test_cards_that_say_too_much(card, message, fitted, path):
    with pytest.raises(ValueError, match=message):
        save(fitted, path, card=card)
    assert not path.exists()


def test_the_page_of_a_card(fitted, path, tmp_path):
    evil, hidden = "<script>alert('x')</script>", "\u202etxt.exe\x1b[2J"
    scores = {"auc": {"mean": 0.5, "low": 0, "high": 1}, "small": 0.00392, "pr_auc": None}
    card = {hidden: hidden, "recipe": evil, evil: [evil], "scores": [scores], "passed": True}
    save(fitted, path, card=card, classes=["benign", "malignant", evil])
    write_card_html(path, tmp_path / "card.html")
    page = (tmp_path / "card.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("&lt;script") == 4
    for shown in ("0.500", "[0, 1]", "0.00392", "–", "yes", "not for clinical use"):
        assert shown in page
    assert not {"\u202e", "\x1b"} & {*page}
    assert "default-src 'none'" in page


class Exploit:
    def __reduce__(self):
        return os.mkdir, ("exploited",)


@pytest.mark.parametrize("data", [b"", pickle.dumps(Exploit()), b"PK\x05\x06" + bytes(18)])
def test_other_files(data, path):
    path.write_bytes(data)
    for read in (load, read_card):
        with pytest.raises(ModelFileError, match=r"model.skops.*expected a file of featbus.save"):
            read(path)
    assert not os.path.exists("exploited")


NESTED = '{"a":' * 100_000 + "1" + "}" * 100_000


def pickled_array():
    file = io.BytesIO()
    np.save(file, np.array([Exploit()]), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("member", "content"),
    [
        ("schema.json", pickle.dumps(Exploit())),
        ("schema.json", changed_json(protocol=1)),
        ("featbus.json", NESTED),
        ("featbus.json", "[]"),
        (".npy", pickled_array()),
    ],
    ids=["pickle", "protocol", "nested", "list", "pickled array"],
)
def test_members_that_are_damaged(member, content, fitted, path):
    save(fitted, path)
    members = [name for name in read_members(path) if name.endswith(member)]
    rewrite(path, **dict.fromkeys(members, content))
    with pytest.raises(ModelFileError, match="model.skops"):
        load(path)
    assert not os.path.exists("exploited")


def node(name, loader, number, **fields):
    module, _, name = name.rpartition(".")
    fixed = {"__class__": name, "__module__": module, "__loader__": loader, "__id__": number}
    return fixed | fields


CLASS = "xgboost.sklearn.XGBClassifier"
LIST, DICT = "builtins.list", "builtins.dict"
NOTHING = node(LIST, "ListNode", 3, content=[])
EMPTY = node(DICT, "DictNode", 2, key_types=NOTHING, content={})
CALLED = node(CLASS, "ListNode", 4, content=[])
METHOD = {"func": "clear", "obj": EMPTY | {"__class__": "OrderedDict", "__module__": "collections"}}
FOREIGN = {
    "type": node("os.system", "TypeNode", 1),
    "operator": node("operator.methodcaller", "OperatorFuncNode", 1, attrs=NOTHING),
    "method": node("collections.OrderedDict", "MethodNode", 1, content=METHOD),
    "call by a constructor": node(CLASS, "ConstructorFromReduceNode", 1, content=EMPTY),
    "call by a key": EMPTY | {"key_types": node(LIST, "ListNode", 3, content=[CALLED])},
    "call of a loss": node(CLASS, "LossNode", 1, content=EMPTY, __reduce__={"args": EMPTY}),
    "call by a scalar": node(CLASS, "NdArrayNode", 1, type="numpy", file="1.npy"),
    "call in a decoy": node(LIST, "ListNode", 1, content=[], decoy=CALLED),
    "itself": node(LIST, "ListNode", 1, content=[{"__id__": 1, "__loader__": "CachedNode"}]),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_nodes_that_would_call_what_is_not_trusted(kind, path):
    save(LBP(), path)
    rewrite(path, **{"schema.json": json.dumps(FOREIGN[kind] | {"protocol": 2})})
    with pytest.raises(ModelFileError, match="model.skops"):
        load(path)
    assert not os.path.exists("exploited")


def with_attributes(estimator, **attributes):
    vars(estimator).update(attributes)
    return estimator


BOOSTED = GradientBoostingClassifier(n_estimators=1).fit(np.eye(4), [0, 1, 2, 0])
HOSTILE = {
    "file": FixedThresholdClassifier(SVC(), response_method="save_model"),
    "scorer": with_attributes(make_scorer(f1_score), _response_method=("predict", "save_model")),
    "stack": with_attributes(StackingClassifier([]), stack_method_=np.array(["save_model"])),
    "tried": GridSearchCV(SVC(), {"a__response_method": ["save_model"]}),
    "bus": FeatureBus(LBP(), memory="/tmp/rows.sqlite"),
    "folder": with_attributes(LBP(), best_=[({0: FineTunedFeatures(checkpoint="/tmp/x")},)]),
    "masked": np.ma.MaskedArray(np.array([FeatureBus(LBP(), memory="x"), 1], dtype=object), True),
    "outputs of trees": with_attributes(BOOSTED, n_trees_per_iteration_=1),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_trusted_parts_would_be_told_to_do(kind, path):
    import skops.io

    save(LBP(), path)
    members = read_members(path)
    evil = with_attributes(LBP(), best_=HOSTILE[kind])
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(evil))) as archive:
        members |= {name: archive.read(name) for name in archive.namelist()}
    rewrite(path, **members)
    with pytest.raises(ModelFileError, match="no saved model contains|expected|fit together"):
        load(path)


@pytest.mark.parametrize(
    "changes", [{"left_child": 1_000_000}, {"left_child": 0}, {"feature": 99}, {"feature": -5}]
)
def test_trees_that_lead_out_of_themselves(changes, path):
    rows = X.reshape(len(X), -1)[:, ::1024]
    save(RandomForestClassifier(1, random_state=0).fit(rows, Y), path)

    def mislead(data):
        array, file = np.load(io.BytesIO(data)), io.BytesIO()
        if array.dtype.names and "left_child" in array.dtype.names:
            for name, value in changes.items():
                array[name][0] = value
        np.save(file, array)
        return file.getvalue()

    load(path)
    arrays = [name for name in read_members(path) if name.endswith(".npy")]
    rewrite(path, **dict.fromkeys(arrays, mislead))
    with pytest.raises(ModelFileError, match="decision tree"):
        load(path)


@pytest.mark.network
def test_a_network_with_code_does_not_run(path, tmp_path):
    """Keras refuses a Lambda layer in a file by default."""
    import keras

    save(DeepFeatures(small_model(), preprocessing="tf"), path)
    images, trace = keras.Input((32, 32, 3)), str(tmp_path / "trace")
    code = keras.layers.Lambda(lambda x: (open(trace, "w").close(), x)[1])
    keras.Model(images, code(images)).save(tmp_path / "evil.keras")
    os.remove(trace)
    evil = (tmp_path / "evil.keras").read_bytes()
    (member,) = [name for name in read_members(path) if name.startswith("networks/")]
    rewrite(path, **{member: evil})
    with pytest.raises(ModelFileError, match="another digest"):
        load(path)
    other = member.replace(member.split("/")[1], hashlib.sha256(evil).hexdigest())
    schema = read_members(path)["schema.json"].replace(member.encode(), other.encode())
    rewrite(path, **{"schema.json": schema, other: evil})
    with pytest.raises(ValueError, match="Lambda"):
        load(path).transform(X[:1])
    assert not os.path.exists(trace)
    keras.saving.load_model(tmp_path / "evil.keras", safe_mode=False)
    assert os.path.exists(trace)  # it would have run


def test_files_that_are_damaged_or_cut_off(fitted, path):
    """They are refused, or are the model that was saved."""
    save(fitted, path, card={"recipe": "lbp_svm"})
    content, rng = path.read_bytes(), np.random.default_rng(0)
    expected = fitted.predict(X[:3]).tolist(), read_card(path)
    for position in rng.integers(8 * len(content), size=15):
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        for damaged in (flipped, content[: position // 8], content[1 + position // 8 :]):
            path.write_bytes(damaged)
            try:
                assert (load(path).predict(X[:3]).tolist(), read_card(path)) == expected
            except ModelFileError as error:
                assert "model.skops" in str(error)  # noqa: PT017
