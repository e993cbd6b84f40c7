"""Model files: the same predictions elsewhere, and nothing that belongs to a machine."""

import getpass
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn
from _models import read_manifest, rewrite
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest, mutual_info_classif
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    ParameterGrid,
    RandomizedSearchCV,
    RepeatedStratifiedKFold,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC
from sklearn.utils.fixes import parse_version

import featbus
from featbus import (
    HOG,
    LBP,
    DeepFeatures,
    FeatureBus,
    FineTunedFeatures,
    ImageFunction,
    IntensityStatistics,
    Resize,
    ROICropper,
    TestTimeAugmentation,
    UNetSegmenter,
    make_breast_ultrasound,
)
from featbus.feature_extraction._training import digest_weights
from featbus.networks import fetch_weights
from featbus.persistence import ModelFileError, load, read_card, save, write_card_html
from featbus.recipes import classifier_pipelines
from featbus.segmentation._unet import build_unet

DATA = make_breast_ultrasound(24, random_state=0)
X, Y = DATA.images, DATA.target
SMALL = {"backbone_options": {"alpha": 0.25}, "input_size": 32}


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATBUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FEATBUS_WEIGHTS", raising=False)
    return tmp_path / "model.skops"


@pytest.fixture(scope="module")
def fitted():
    return make_pipeline(FeatureBus(LBP()), SVC()).fit(X, Y)


def scores_of(pipeline):
    for method in ("predict_proba", "decision_function", "transform"):
        if hasattr(pipeline, method):
            return np.asarray(getattr(pipeline, method)(X), dtype=float)
    raise AssertionError


def assert_same_elsewhere(pipeline, path, **options):
    save(pipeline, path, **options)
    loaded = load(path)
    np.testing.assert_allclose(scores_of(loaded), scores_of(pipeline), rtol=0, atol=1e-6)
    return loaded


def classifiers():
    found = classifier_pipelines(features=LBP())
    found["random forest"].set_params(classifier__n_estimators=5)
    forest, regression = RandomForestClassifier(3), LogisticRegression(class_weight={0: 2})
    vote = VotingClassifier([("forest", forest), ("regression", regression)], voting="soft")
    return found | {
        "vote": make_pipeline(LBP(), vote),
        "calibrated": CalibratedClassifierCV(make_pipeline(FeatureBus(LBP()), SVC()), cv=2),
        "selected": make_pipeline(LBP(), SelectKBest(mutual_info_classif, k=4), SVC()),
        "search": make_pipeline(
            LBP(), GridSearchCV(SVC(), {"C": [1, 10]}, scoring="f1_macro", cv=2)
        ),
        "Gaussian process": make_pipeline(LBP(), GaussianProcessClassifier()),
        "boosting": make_pipeline(LBP(), GradientBoostingClassifier(n_estimators=3)),
        "search of steps": GridSearchCV(
            make_pipeline(FeatureBus(LBP()), SVC()),
            {"svc": [SVC(), RandomForestClassifier(3)], "featurebus__memory": [None]},
            scoring=make_scorer(f1_score, average="macro"),
            cv=RepeatedStratifiedKFold(n_splits=2, n_repeats=1),
        ),
        "search of splits": make_pipeline(
            LBP(), GridSearchCV(SVC(), {"C": [1]}, cv=[(np.arange(12), np.arange(12, 24))])
        ),
        "columns": make_pipeline(
            FeatureBus(LBP()).set_output(transform="pandas"),
            ColumnTransformer([("some", "passthrough", make_column_selector("lbp"))]),
            SVC(),
        ),
        "views": TestTimeAugmentation(make_pipeline(Resize(64), HOG(), SVC())),
    }


@pytest.mark.xgboost
@pytest.mark.parametrize("booster", ["gbtree", "gblinear", "dart"])
def test_boosters_predict_the_same(booster, path):
    from xgboost import XGBClassifier

    pipeline = make_pipeline(LBP(), XGBClassifier(n_estimators=3, booster=booster)).fit(X, Y)
    loaded = assert_same_elsewhere(pipeline, path)
    assert loaded.predict(X).tolist() == pipeline.predict(X).tolist()


@pytest.mark.xgboost
def test_a_model_that_needs_a_missing_package(path, monkeypatch):
    from xgboost import XGBClassifier

    save(make_pipeline(LBP(), XGBClassifier(n_estimators=2)).fit(X, Y), path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "xgboost"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"needs a package that is missing: .*xgboost"):
        load(path)


@pytest.mark.parametrize("name", classifiers())
def test_classifiers_predict_the_same(name, path):
    pipeline = classifiers()[name].fit(X, Y)
    loaded = assert_same_elsewhere(pipeline, path)
    assert loaded.predict(X).tolist() == pipeline.predict(X).tolist()


@pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.8"),
    reason="scikit-learn 1.8 brought temperatures",
)
def test_temperatures_travel(path):
    classifier = make_pipeline(FeatureBus(LBP()), SVC())
    calibrated = CalibratedClassifierCV(classifier, cv=2, method="temperature").fit(X, Y)
    assert_same_elsewhere(calibrated, path)


def test_thresholds_travel(path):
    classifier = make_pipeline(FeatureBus(LBP()), LogisticRegression())
    tuned = TunedThresholdClassifierCV(classifier, cv=2, scoring="f1").fit(X, Y > 0)
    loaded = assert_same_elsewhere(tuned, path)
    assert loaded.predict(X).tolist() == tuned.predict(X).tolist()


def test_paths_that_a_search_tried_stay(path, tmp_path):
    weights = [write_weights(tmp_path / f"{name}.weights.h5") for name in "ab"]
    networks = [DeepFeatures("mobilenet", weights=file, **SMALL) for file in weights]
    tried = {
        "lbp__memory": [tmp_path / "rows.sqlite", str(tmp_path / "others.sqlite")],
        "lbp__transformer": [*networks, LBP()],
        "svc__C": [1, 10],
    }
    pipeline = Pipeline([("lbp", FeatureBus(LBP())), ("svc", SVC())])
    search = GridSearchCV(pipeline, tried, cv=2).set_params(n_jobs=1)
    search.best_estimator_ = clone(pipeline).fit(X, Y)
    candidates = list(ParameterGrid(tried))
    search.best_params_, search.cv_results_ = candidates[0], {"params": candidates}
    for name in tried:
        column = np.ma.MaskedArray(np.empty(len(candidates), dtype=object), mask=False)
        column[:] = [candidate[name] for candidate in candidates]
        search.cv_results_[f"param_{name}"] = column
    loaded = assert_same_elsewhere(search, path)
    assert_no_trace_of(path, tmp_path, "a.weights")
    assert loaded.param_grid["svc__C"] == [1, 10]
    assert loaded.param_grid["lbp__memory"] == ["rows.sqlite", "others.sqlite"]
    assert set(loaded.cv_results_["param_lbp__memory"]) == {"rows.sqlite", "others.sqlite"}
    found = loaded.cv_results_["param_lbp__transformer"]
    assert found[-1].get_params() == LBP().get_params()
    assert loaded.best_params_["lbp__transformer"] is loaded.param_grid["lbp__transformer"][0]


def test_text_that_is_no_path_stays(path):
    union = FeatureUnion([("a/b", LBP()), ("~", HOG())], transformer_weights={"a/b": 2.0})
    loaded = assert_same_elsewhere(make_pipeline(Resize(32), union).fit(X, Y), path)
    assert loaded[1].transformer_list[0][0] == "a/b"
    labels = np.array(["/a", "/b"], dtype=object)[(Y > 0).astype(int)]
    pipeline = make_pipeline(LBP(), SVC()).fit(X, labels)
    loaded = assert_same_elsewhere(pipeline, path, classes=["a", "b"])
    assert loaded.classes_.tolist() == ["/a", "/b"]


@pytest.mark.parametrize(
    ("classifier", "message"),
    [
        (HistGradientBoostingClassifier(max_iter=2), "Generator as RandomGeneratorNode in steps.1"),
        (
            RandomizedSearchCV(SVC(), {"C": loguniform(1, 10)}, n_iter=1, cv=2),
            r"rv_continuous_frozen in steps.1.1.param_distributions.C,.*lists",
        ),
        (SVC().set_params(kernel=lambda a, b: a @ b.T), "<lambda> in steps.1.1.kernel"),
    ],
)
def test_messages_say_where(classifier, message, path):
    pipeline = make_pipeline(LBP(), classifier).fit(X, Y)
    with pytest.raises(ModelFileError, match=message):
        save(pipeline, path)


def test_a_file_that_load_would_refuse_is_not_written(fitted, path, monkeypatch):
    from featbus.persistence import _model

    def unpack(pipeline, networks):
        raise ModelFileError("this part is refused")

    monkeypatch.setattr(_model, "unpack", unpack)
    with pytest.raises(ModelFileError, match="this part"):
        save(fitted, path)
    assert not path.exists()


def test_classes_may_be_text(path):
    names = np.array(DATA.target_names)[Y]
    pipeline = make_pipeline(LBP(), SVC()).set_output(transform="pandas").fit(X, list(names))
    loaded = assert_same_elsewhere(pipeline, path)
    assert loaded.predict(X).tolist() == pipeline.predict(X).tolist()
    assert read_card(path)["classes"] == sorted(DATA.target_names)


_CHILD = """
import sys
import numpy as np
import featbus
given = np.load(sys.argv[2])
pipeline = featbus.load(sys.argv[1])
rows = pipeline[:-1].transform(given["X"])
np.savez(sys.argv[3], rows=rows, p=pipeline.decision_function(given["X"]))
"""


def assert_same_in_a_fresh_process(expected, path):
    """Compare rows and scores with those of another process in another folder."""
    folder = path.parent / "elsewhere"
    folder.mkdir()
    path.rename(folder / "copy.skops")
    np.savez(folder / "given.npz", X=X)
    subprocess.run(
        [sys.executable, "-c", _CHILD, "copy.skops", "given.npz", "found.npz"],
        cwd=folder,
        check=True,
        timeout=300,
        env=_environment(FEATBUS_CACHE=str(folder / "cache")),
    )
    found = np.load(folder / "found.npz")
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_fresh_process_predicts_the_same(fitted, path):
    expected = {"rows": fitted[:-1].transform(X), "p": fitted.decision_function(X)}
    save(fitted, path)
    assert_same_in_a_fresh_process(expected, path)


@pytest.fixture
def network_pipeline(tmp_path):
    """Return a pipeline of networks from a file, and the file."""
    weights = tmp_path / "mine.weights.h5"
    DeepFeatures("mobilenet", weights=None, **SMALL)._source().build().save_weights(weights)
    deep = DeepFeatures("mobilenet", weights=weights, layers="C2", **SMALL)
    tuned = FineTunedFeatures("mobilenet", weights=weights, layers="C2", unfreeze=None, **SMALL)
    union = FeatureUnion([("deep", deep), ("tuned", tuned)]).fit(X, Y)
    _train(tuned)
    return make_pipeline(FeatureBus(FrozenEstimator(union)), SVC()).fit(X, Y), weights


def write_weights(path):
    """Write a small file of weights, which no network has."""
    h5py = pytest.importorskip("h5py", reason="comes with Keras")
    with h5py.File(path, "w") as file:
        file["kernel"] = np.arange(6.0)
    return path


def test_weights_files_travel(path, tmp_path, monkeypatch):
    weights = write_weights(tmp_path / "mine.weights.h5")
    content = weights.read_bytes()
    deep = DeepFeatures("mobilenet", weights=weights, layers="C2", **SMALL)
    other = clone(deep).set_params(weights=str(weights), layers="C3")
    save(FeatureUnion([("deep", FeatureBus(deep)), ("other", other)]), path)
    weights.unlink()
    monkeypatch.chdir(tmp_path)
    loaded = [step for _, step in load(path.name).transformer_list]
    for step in (loaded[0].transformer, loaded[1]):
        assert Path(step.weights).read_bytes() == content
        assert Path(step.weights).is_relative_to(tmp_path / "cache")
    assert_no_trace_of(path, tmp_path, "mine.weights")


def test_weights_files_by_digest(path, tmp_path):
    weights = write_weights(tmp_path / "source.weights.h5")
    save(DeepFeatures("mobilenet", weights=weights, **SMALL), path, embed=False)
    digest = read_card(path)["networks"][0]["sha256"]
    with pytest.raises(ModelFileError, match=f"no network of sha256 {digest}.*FEATBUS_WEIGHTS"):
        load(path)
    copy = tmp_path / "cache" / "networks" / digest / "network.weights.h5"
    copy.parent.mkdir(parents=True)
    weights.rename(copy)
    assert load(path).weights == str(copy)


def assert_no_trace_of(path, folder, *names):
    """Find neither paths nor the user's home in a file."""
    content = path.read_bytes()
    for secret in (str(folder), str(Path.home()) + "/", *names):
        assert secret.encode() not in content


@pytest.mark.network
@pytest.mark.slow
def test_networks_travel(network_pipeline, path, tmp_path, monkeypatch):
    pipeline, weights = network_pipeline
    rows = pipeline[0].transform(X[:4])
    first, second = np.split(rows, 2, axis=1)
    assert not np.allclose(first, second)
    save(pipeline, path)
    weights.unlink()
    monkeypatch.chdir(path.parent)
    loaded = load(path.name)
    np.testing.assert_allclose(loaded[0].transform(X[:4]), rows, rtol=0, atol=1e-6)
    assert_no_trace_of(path, tmp_path, "mine.weights")


@pytest.mark.network
@pytest.mark.slow
def test_networks_in_a_fresh_process(network_pipeline, path):
    pipeline, weights = network_pipeline
    expected = {"rows": pipeline[:-1].transform(X), "p": pipeline.decision_function(X)}
    save(pipeline, path)
    weights.unlink()
    assert_same_in_a_fresh_process(expected, path)


def _train(tuned, name="conv1_bn/beta"):
    """Change the weights of one layer, as `fit` does in half a minute."""
    (variable,) = [v for v in tuned._source().build().variables if v.path.endswith(name)]
    tuned.weights_ = {variable.path: np.asarray(variable.value)[np.newaxis] + 0.1}
    tuned._learned_digest_ = digest_weights(tuned.weights_)


def _environment(**changes):
    paths = os.pathsep.join(
        [str(Path(featbus.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    )
    return os.environ | {"PYTHONPATH": paths} | changes


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


@pytest.mark.network
@pytest.mark.slow
def test_a_trained_segmenter_predicts_the_same(path):
    segmenter = UNetSegmenter(
        "mobilenet",
        encoder_weights=None,
        encoder_options={"alpha": 0.25},
        input_size=32,
    )
    source = segmenter._source()
    segmenter.weights_ = build_unet(source, source.build(), 0).get_weights()  # as `fit` does
    crop = ROICropper(FrozenEstimator(segmenter), size=64)
    assert_same_elsewhere(make_pipeline(crop, HOG(), SVC()).fit(X, Y), path)


@pytest.mark.network
def test_what_a_fine_tuning_learned_travels(path, tmp_path):
    import keras

    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, strides=2, name="only")]
    keras.Sequential(layers, name="mine").save(tmp_path / "mine.keras")
    tuned = FineTunedFeatures(tmp_path / "mine.keras", preprocessing="tf", unfreeze=None)
    before = tuned.fit(X, Y).transform(X)
    _train(tuned, "bias")
    assert not np.allclose(tuned.transform(X), before)
    save(tuned, path)
    loaded, expected = load(path), tuned.transform(X)
    (tmp_path / "mine.keras").unlink()
    np.testing.assert_allclose(loaded.transform(X), expected, rtol=0, atol=1e-6)
    assert_no_trace_of(path, tmp_path)


@pytest.mark.network
@pytest.mark.parametrize("extractor", [DeepFeatures, FineTunedFeatures])
def test_the_small_cnn_travels(extractor, path):
    frozen = {"unfreeze": None} if extractor is FineTunedFeatures else {}
    small = extractor("small_cnn", weights=None, input_size=32, random_state=3, **frozen)
    pipeline = make_pipeline(small, SVC()).fit(X, Y)
    loaded = assert_same_elsewhere(pipeline, path)
    names = [steps[0].get_feature_names_out().tolist() for steps in (pipeline, loaded)]
    assert names[0] == names[1]
    with pytest.raises(ModelFileError, match="'small_cnn' has no file.*embed=True"):
        save(pipeline, path, embed=False)


@pytest.mark.network
def test_a_model_of_ones_own_travels(path):
    import keras

    layers = [keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, strides=2, activation="relu")]
    model = keras.Sequential(layers, name="mine")
    pipeline = make_pipeline(DeepFeatures(model, preprocessing="tf"), SVC()).fit(X, Y)
    loaded = assert_same_elsewhere(pipeline, path)
    names = [steps[0].get_feature_names_out().tolist() for steps in (pipeline, loaded)]
    assert names[0] == names[1]
    assert pipeline[0].backbone is model
    with pytest.raises(ModelFileError, match="'mine' has no file.*embed=True"):
        save(pipeline, path, embed=False)
    model = keras.Sequential(layers, name="mein Netz*")
    with pytest.raises(ModelFileError, match=r"'mein Netz\*.keras'.*another name"):
        save(DeepFeatures(model, preprocessing="tf"), path)


@pytest.mark.network
@pytest.mark.slow
def test_networks_from_a_bundle(path, tmp_path, monkeypatch):
    weights = tmp_path / "source.weights.h5"
    deep = DeepFeatures("mobilenet", weights=None, **SMALL)
    deep._source().build().save_weights(weights)
    deep.set_params(weights=weights)
    save(deep, path, embed=False)
    assert path.stat().st_size < 1e5 < weights.stat().st_size
    (network,) = [line["network"] for line in read_card(path)["networks"]]
    assert network == "mobilenet(alpha=0.25), 32 x 32 pixels"
    bundle = tmp_path / "bundle"
    fetch_weights("mobilenet", bundle, options={"alpha": 0.25}, source=weights)
    monkeypatch.setenv("FEATBUS_WEIGHTS", str(bundle))
    loaded = load(path)
    assert Path(loaded.weights).parent == bundle
    np.testing.assert_allclose(loaded.transform(X[:4]), deep.transform(X[:4]), atol=1e-6)


@pytest.mark.network
def test_imagenet_weights_by_name_and_digest(path, monkeypatch):
    from featbus.networks import _applications

    build, seed = _applications.build_application, [0]

    def build_as_if_downloaded(builder, size, options, weights, random_state, label):
        return build(builder, size, options, None, seed[0], label)

    monkeypatch.setattr(_applications, "build_application", build_as_if_downloaded)
    save(DeepFeatures("mobilenet", **SMALL), path, embed=False)
    assert load(path).weights == "imagenet"
    seed[0] = 1
    digest = read_card(path)["networks"][0]["sha256"]
    with pytest.raises(ModelFileError, match=f"ImageNet weights of .*{digest} where the model was"):
        load(path)


def test_what_belongs_to_a_machine_stays(path, tmp_path):
    bus = FeatureBus(LBP(), memory=tmp_path / "rows.sqlite", on_error="nan")
    pipeline = make_pipeline(bus, SVC(), memory=str(tmp_path / "steps"))
    pipeline.set_params(memory=str(tmp_path / "steps")).fit(X, Y)
    with pytest.warns(UserWarning, match="gave no row"):
        pipeline[0].transform([X[0], str(tmp_path / "missing.png")])
    before = vars(bus).copy()
    loaded = assert_same_elsewhere(pipeline, path)
    assert loaded.memory is None
    assert loaded[0].memory is None
    assert loaded[0].errors_ == []
    assert vars(bus) == before
    assert str(tmp_path).encode() not in path.read_bytes()
    again = tmp_path / "again.sqlite"
    loaded.set_params(featurebus__memory=again).predict(X)
    assert again.exists()


def test_resamplers_travel_without_training_rows(path):
    pipeline = classifier_pipelines(features=LBP())["SVM"].fit(X, Y)
    loaded = assert_same_elsewhere(pipeline, path)
    assert hasattr(pipeline["smote"], "nn_k_")
    assert not hasattr(loaded["smote"], "nn_k_")
    assert loaded.fit(X, Y).predict(X).tolist() == pipeline.predict(X).tolist()


class Mine(LBP):
    pass


def double(X):
    return 2 * X


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (ImageFunction(lambda image: image), r"test_persistence.<lambda>"),
        (ImageFunction(double), "test_persistence.double"),
        (Mine(), "test_persistence.Mine"),
        # Earlier versions of NumPy say of it that it is of no module.
        (ImageFunction(np.random.default_rng(0).permutation), "Generator|__main__.permutation"),
        (ImageFunction(getattr), "builtins.getattr"),
    ],
)
def test_what_is_not_trusted_is_not_saved(step, name, path):
    path.write_text("before")
    with pytest.raises(ModelFileError, match=name):
        save(step, path)
    with pytest.raises(ModelFileError, match=name):
        save(make_pipeline(Resize(32), step), path)
    assert path.read_text() == "before"
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_functions_of_numpy_are_trusted(path):
    steps = IntensityStatistics(), FunctionTransformer(np.tanh), FunctionTransformer(), SVC()
    assert_same_elsewhere(make_pipeline(*steps).fit(X, Y), path)
    with pytest.raises(ModelFileError, match="double"):
        save(make_pipeline(LBP(), FunctionTransformer(double), SVC()).fit(X, Y), path)


def test_bad_parameters(fitted, path):
    with pytest.raises(NotFittedError):
        save(make_pipeline(LBP(), SVC()), path)
    with pytest.raises(ValueError, match="classes has 2 names, .* 3 classes"):
        save(fitted, path, classes=["a", "b"])
    with pytest.raises(ValueError, match="embed is 'no'"):
        save(fitted, path, embed="no")
    with pytest.raises(FileNotFoundError, match="no folder"):
        save(fitted, path.parent / "missing" / "model.skops")
    with pytest.raises(FileNotFoundError):
        load(path)


def test_the_card(fitted, path):
    card = {
        "recipe": "lbp_svm",
        "data set": {"images": np.int64(24), "groups": 24, "n_patients": 12, "audit": "passed"},
        "scores": {
            "roc_auc": {"mean": 0.81, "low": np.float64(0.7), "high": 0.9},
            "pr_auc": np.nan,
        },
        "positive class": None,
        "url": "https://doi.org/10.1016/j.dib.2019.104863",
        "contrast": "benign/malignant, normal / abnormal, per 1/2 film, </b>",
        "patients": 12,
    }
    save(fitted, path, classes=list(DATA.target_names), card=card)
    found = read_card(path)
    assert found["data set"] == {"images": 24, "groups": 24, "n_patients": 12, "audit": "passed"}
    assert found["scores"] == {"roc_auc": {"mean": 0.81, "low": 0.7, "high": 0.9}, "pr_auc": None}
    assert found["classes"] == ["benign", "malignant", "normal"]
    assert found["steps"] == ["Pipeline", "FeatureBus", "LBP", "SVC"]
    assert found["versions"]["featbus"] == featbus.__version__
    assert "not for clinical use" in found["note"]
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"data": str(Path.home())}, "a path"),
        ({"data": "read from /data/busi"}, "a path"),
        ({"data": ["C:\\images"]}, "a path"),
        ({"data": "file:///x"}, "a path"),
        ({"data": {"~/busi": 3}}, "a path"),
        ({"data": "read from `/home/alice/x`"}, "a path"),
        ({"data": "~/.keras/w.h5"}, "a path"),
        ({"data": "//server/share/alice"}, "a path"),
        ({"data": "<b>/home/alice"}, "a path"),
        ({"00100010": "x"}, "attribute of a patient"),
        ({"(0010,0020)": "x"}, "attribute of a patient"),
        ({"PatientIDs": ["x"]}, "attribute of a patient"),
        ({"patients_name": "x"}, "attribute of a patient"),
        ({"author": "by J.Doe, 2026"}, "name of the user"),
        ({"data": {"PatientName": "x"}}, "attribute of a patient"),
        ({"data": [{"patient_id": 7}]}, "attribute of a patient"),
        ({"Patient's Birth Date": 7}, "attribute of a patient"),
        ({"versions": {}}, "'versions', which save writes"),
        ({"data": {1, 2}}, "is a set"),
        ({"data": {1: 2}}, "the key 1"),
    ],
)
def test_cards_that_say_too_much(card, message, fitted, path, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "j.doe")
    with pytest.raises(ValueError, match=message):
        save(fitted, path, card=card)


def test_the_page_of_a_card(fitted, path, tmp_path):
    evil = "<script>alert('x')</script>"
    hidden = "\u202etxt.exe\x1b[2J"
    card = {
        hidden: hidden,
        "recipe": evil,
        evil: [evil],
        "scores": [{"auc": {"mean": 0.5, "low": 0, "high": 1}}],
    }
    save(fitted, path, card=card, classes=["benign", "malignant", evil])
    write_card_html(path, tmp_path / "card.html")
    page = (tmp_path / "card.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("&lt;script") == 4
    assert "0.500" in page
    assert not set(hidden[:1] + hidden[8:9]) & set(page)
    assert page.count(r"\u202etxt.exe\x1b[2J") == 2
    assert "not for clinical use" in page
    assert "default-src 'none'" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2, "featbus": "9.0"}, r"its format is 2.*written by featbus 9.0"),
        ({"format": True}, "its format is True"),
        ({"scikit-learn": "0.24.2"}, r"scikit-learn 0.24.2, and .* is installed"),
        ({"scikit-learn": "2.1"}, r"scikit-learn 2.1, and .* is installed"),
    ],
)
def test_other_versions(change, message, fitted, path):
    save(fitted, path)
    rewrite(path, manifest=change)
    with pytest.raises(ModelFileError, match=message):
        load(path)


def test_another_minor_version_of_scikit_learn(fitted, path):
    save(fitted, path)
    rewrite(path, manifest={"scikit-learn": "1.0.2"})
    with pytest.warns(UserWarning, match="saved with scikit-learn 1.0.2") as record:
        load(path)
    assert record[0].filename == __file__


@pytest.mark.parametrize("versions", [[9, 1], [0, 1]])
def test_other_algorithms(versions, fitted, path, monkeypatch):
    save(fitted, path)
    name = "featbus.feature_extraction._lbp.LBP"
    algorithms = read_manifest(path)["algorithms"]
    assert algorithms[name][0] == LBP._algorithm_version
    rewrite(path, manifest={"algorithms": algorithms | {name: versions}, "featbus": "9.0"})
    with pytest.raises(ModelFileError, match=rf"version .* of {name}.*Install featbus 9.0"):
        load(path)
    rewrite(path, manifest={"algorithms": {"featbus.next.Next": [1]}})
    with pytest.raises(ModelFileError, match="featbus.next.Next, which is not there"):
        load(path)
