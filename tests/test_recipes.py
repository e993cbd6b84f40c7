"""Named pipelines."""

import pickle
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from _data import data_dir
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline

import featbus.recipes
from featbus import (
    HOG,
    DeepFeatures,
    FeatureBus,
    FeatureStore,
    ThresholdSegmenter,
    evaluate,
    load,
    load_busi,
    make_breast_ultrasound,
    make_mammograms,
    save,
)
from featbus.commands._extract import find_networks
from featbus.evaluation.splits import keep_groups_together, restore_cv
from featbus.persistence import read_card
from featbus.recipes import (
    balancing_pipelines,
    classifier_pipelines,
    fused_features,
    list_recipes,
    make_recipe,
    recipe_features,
)
from featbus.steps import all_steps

NAMES = ["SVM", "random forest", "KNN", *(["XGBoost"] if find_spec("xgboost") else [])]
XGBOOST = pytest.mark.xgboost


@pytest.fixture(scope="module")
def ultrasound():
    """Return images of benign and malignant lesions, 20 each."""
    return make_breast_ultrasound(
        40, image_shape=(64, 80), weights=[1, 1, 0], contrast=2, random_state=0
    )


def make_rows(n_classes=3, n_samples=90):
    """Return rows, unbalanced labels and groups of two."""
    rng = np.random.default_rng(0)
    groups = np.arange(n_samples) // 2
    y = np.minimum(groups % (n_classes + 2), n_classes - 1)
    return rng.normal(size=(n_samples, 30)) + 2 * (y[:, np.newaxis] == np.arange(30) % 4), y, groups


def with_few_trees(pipeline, cv=5):
    """Return a pipeline whose forests have 10 trees, calibrated in as many folds."""
    small = {"n_estimators": 10, "cv": cv}
    found = [name for name in pipeline.get_params() if name.rpartition("__")[2] in small]
    return pipeline.set_params(**{name: small[name.rpartition("__")[2]] for name in found})


def test_fused_rows_hold_every_extractors_features(ultrasound):
    features = fused_features(size=112).fit(ultrasound.images)
    names = features.get_feature_names_out()
    assert features.transform(ultrasound.images[:2]).shape == (2, len(names))
    assert len(set(names)) == len(names)
    kinds = [name.partition("_")[0] for name in names]
    assert {kind: kinds.count(kind) for kind in kinds}["hog"] == 6 * 6 * 4 * 9
    assert set(kinds) == {"hog", "lbp", "glcm", "glrlm", "glszm", "intensity"}


def test_the_classifiers():
    pipelines = classifier_pipelines()
    assert list(pipelines) == NAMES
    assert list(pipelines["SVM"].named_steps) == ["scale", "smote", "classifier"]
    assert list(pipelines["KNN"].named_steps) == ["scale", "pca", "smote", "lda", "classifier"]
    parts = [id(step) for pipeline in pipelines.values() for step in pipeline.named_steps.values()]
    assert len(set(parts)) == len(parts)
    features = fused_features()
    svm = classifier_pipelines(features=features)["SVM"]
    assert list(svm.named_steps) == ["resize", "features", "scale", "smote", "classifier"]
    assert svm["features"] is not features["features"]
    knn = classifier_pipelines(features=HOG(orientations=5))["KNN"]
    assert list(knn.named_steps)[:2] == ["features", "scale"]


def test_without_xgboost(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.warns(UserWarning, match="pip install xgboost"):
        assert list(classifier_pipelines()) == ["SVM", "random forest", "KNN"]
    make_recipe("fusion", backbone=None, classifier="svm")
    for classifier in ("xgboost", "vote"):
        with pytest.raises(ImportError, match="xgboost"):
            make_recipe("fusion", backbone=None, classifier=classifier)


def test_all_learn_and_repeat_themselves():
    X, y, groups = make_rows()
    pipelines = {name: with_few_trees(one) for name, one in classifier_pipelines().items()}
    first, second = (evaluate(pipelines, X, y, groups=groups, cv=2) for _ in range(2))
    assert first.scores["roc_auc"].min() > 0.9
    assert first.scores.equals(second.scores)


def test_balancing_finds_more_of_the_rare_class_and_spoils_probabilities():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [400, 60])
    X = rng.normal(size=(460, 40)) + 0.25 * y[:, np.newaxis]
    result = evaluate(balancing_pipelines(), X, y, groups=np.arange(460), cv=3)
    means = result.scores.groupby("pipeline")[["sensitivity", "roc_auc", "brier"]].mean()
    for way in ("SMOTE", "class weights"):
        change = means.loc[way] - means.loc["no balancing"]
        assert change["sensitivity"] > 0.2
        assert abs(change["roc_auc"]) < 0.02
        assert change["brier"] > 0.02


TINY = {"backbone": "small_cnn", "weights": None}
ALL = list_recipes()["name"].tolist()
OPTIONS = {
    "handcrafted": {"input_size": 32},
    "mammogram_svm": TINY,
    "two_tap_mobilenet": TINY,
    "mobilenet_intensity": TINY,
    "enhanced_crop": TINY,
    "unet_crop": TINY | {"segmenter": ThresholdSegmenter()},
    "small_cnn": {},
    "breast_ultrasound_features": TINY | {"input_size": 32},
    "fine_tuned_ultrasound": TINY,
    "fusion": {"backbone": None, "n_features": 10, "input_size": 32},
}


def tiny_recipe(name, **options):
    """Return a recipe whose networks see 32 x 32 pixels and train for one epoch."""
    recipe = make_recipe(name, **OPTIONS[name] | options)
    small = {"input_size": 32, "epochs": 1, "cv": 5 if name == "fusion" else 2}  # for SMOTE
    found = [one for one in recipe.get_params() if one.rpartition("__")[2] in small]
    recipe.set_params(**{one: small[one.rpartition("__")[2]] for one in found})
    return recipe.set_params(resize__size=32) if name == "mammogram_svm" else recipe


@pytest.mark.network
def test_recipes_are_listed():
    table = list_recipes()
    assert " ".join(table) == "name description network images paper measured"
    networks = {name: bool(find_networks(make_recipe(name))) for name in ALL}
    assert dict(zip(table["name"], table["network"] != "no")) == networks
    assert table["measured"].str.startswith("accuracy 0.").all()
    assert sorted(ALL) == sorted(OPTIONS)
    assert all(hasattr(featbus.recipes, name) for name in ALL)
    assert table["description"].str.len().min() > 20


def plain_parameters(recipe):
    """Return the parameters; of estimators and lists of steps the types, as theirs follow."""
    lists = "steps", "transformer_list", "transformers", "estimators"
    return {
        name: type(value)
        if hasattr(value, "get_params") or name.rpartition("__")[2] in lists
        else repr(value)
        for name, value in recipe.get_params().items()
    }


@pytest.mark.parametrize("name", ALL)
def test_recipes_are_unfitted_pipelines_of_documented_parameters(name):
    recipe = make_recipe(name, memory="features.sqlite", n_jobs=2, random_state=3)
    assert isinstance(recipe, Pipeline)
    assert hasattr(recipe, "predict_proba")
    values = recipe.get_params()
    for copy in (clone(recipe), pickle.loads(pickle.dumps(recipe))):
        assert plain_parameters(copy) == plain_parameters(recipe)
    memories = [key for key in values if key.endswith("memory") and values[key] is not None]
    assert {values[key] for key in memories} == {"features.sqlite"}
    # A bus inside another one leaves the work in parallel to that.
    assert values[min(memories, key=len).replace("memory", "n_jobs")] == 2
    seeds = {values[key] for key in values if key.endswith("random_state")}
    assert seeds <= {3, None}
    assert 3 in seeds or name == "handcrafted"  # nothing in it is random


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fusoin", {}, r"name is 'fusoin'.*Did you mean 'fusion'\?"),
        ("fusion", {"backbones": "vgg16"}, "backbones is 'vgg16'"),
        ("fusion", {"classifier": "svc"}, "classifier is 'svc'"),
        ("fusion", {"selection": "best"}, "selection is 'best'"),
        ("fusion", {"input_size": 6}, "size is 6"),
        ("fusion", {"input_size": 64.0}, "size is 64.0"),
        ("fusion", {"n_features": 0}, "n_features is 0"),
        ("enhanced_crop", {"contrast": "gamma"}, "contrast is 'gamma'"),
    ],
)
def test_what_recipes_refuse(name, options, message):
    with pytest.raises(ValueError, match=message):
        make_recipe(name, **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        pytest.param(
            *("unet_crop", TINY | {"segmenter": ThresholdSegmenter}, "segmenter is <class"),
            marks=pytest.mark.network,
        ),
        ("mobilenet_intensity", {"backbone": "mobilenet_v7"}, "backbone is 'mobilenet_v7'"),
        ("fine_tuned_ultrasound", {"memory": 3}, "memory is 3, expected"),
    ],
)
def test_other_errors_come_with_fit(ultrasound, name, options, message):
    with pytest.raises(ValueError, match=message):
        make_recipe(name, **options).fit(ultrasound.images, ultrasound.target)


@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "options", "last"),
    [
        ("two_tap_mobilenet", {}, "small_cnn_C5_avg_0127"),
        pytest.param(
            *("two_tap_mobilenet", {"trained": True}, "small_cnn_C5_auxiliary_avg_0127"),
            marks=pytest.mark.slow,
        ),
        ("mobilenet_intensity", {}, "intensity_"),
        ("unet_crop", {}, "lesion__"),
        pytest.param("small_cnn", {}, "small_cnn_", marks=pytest.mark.slow),
        ("breast_ultrasound_features", {}, "small_cnn_C5_max_0127"),
        ("fusion", {}, "intensity_"),
    ],
)
def test_recipes_run_in_grouped_folds(ultrasound, name, options, last):
    data, recipe = ultrasound, tiny_recipe(name, **options)
    folds = StratifiedGroupKFold(2).split(data.images, data.target, data.groups)
    train, test = next(iter(folds))
    recipe.fit(data.images[train], data.target[train])
    probabilities = recipe.predict_proba(data.images[test])
    assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert recipe["features"].get_feature_names_out()[-1].startswith(last)


@pytest.mark.network
def test_the_mammogram_recipe_calibrates_on_images_without_copies(tmp_path):
    data = make_mammograms(6, image_shape=(128, 96), random_state=0)
    store = FeatureStore(tmp_path / "features.sqlite")
    recipe = tiny_recipe("mammogram_svm", memory=store).fit(data.images, np.arange(6) % 2)
    assert recipe.predict_proba(data.images[:2]).shape == (2, 2)
    # Six orientations of each film, however often the pipeline is fitted.
    assert store.info()["n_rows"].tolist() == [36]


class MiddleFinder(BaseEstimator):
    """A segmenter that remembers what it was fitted on, and finds the middle of each image."""

    fitted_on = []

    def fit(self, X, masks, groups=None):
        self.fitted_on.append((len(X), len(masks), len(groups)))
        self.fitted_ = True
        return self

    def predict(self, X):
        regions = [np.zeros(image.shape[:2], bool) for image in X]
        for region in regions:
            region[16:48, 16:48] = True
        return regions


@pytest.mark.network
@pytest.mark.parametrize("name", ["enhanced_crop", "unet_crop"])
def test_a_segmenter_is_trained_on_the_masks_of_the_fold(ultrasound, name, monkeypatch):
    monkeypatch.setattr(MiddleFinder, "fitted_on", [])
    data = ultrasound
    recipe = tiny_recipe(name, segmenter=MiddleFinder())
    result = evaluate(recipe, data.images, data.target, groups=data.groups, masks=data.masks, cv=2)
    assert np.isfinite(result.scores["roc_auc"]).all()
    assert MiddleFinder.fitted_on == [3 * (n,) for n in result.timings["n_train"]]
    with pytest.raises(ValueError, match="masks is None, expected the masks"):
        recipe.fit(data.images, data.target)


FIELDS = "images", "target", "masks", "groups"


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.usefixtures("eager")
@pytest.mark.filterwarnings("ignore:Even though the `tf.config")
def test_a_unet_is_the_default_segmenter(ultrasound):
    recipe = tiny_recipe("unet_crop", segmenter=None)
    images, y, masks, groups = (ultrasound[name][:12] for name in FIELDS)
    with config_context(enable_metadata_routing=True):
        recipe.fit(images, y, masks=masks, groups=groups)
    assert recipe.predict_proba(images[:2]).shape == (2, 2)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.usefixtures("eager")
@pytest.mark.filterwarnings("ignore:Even though the `tf.config")
def test_folds_of_a_fine_tuned_recipe_share_the_frozen_rows(ultrasound, tmp_path):
    memory = tmp_path / "rows.sqlite"
    recipe = tiny_recipe("fine_tuned_ultrasound", memory=memory)
    images, y = ultrasound.images[:20], ultrasound.target[:20]
    found = [cross_val_predict(recipe, images, y, cv=2, method="predict_proba") for _ in range(2)]
    assert_array_equal(*found)
    assert len(list((tmp_path / "rows.sqlite.networks").iterdir())) == 2
    # The frozen features: texture, network and both side by side; and those of two folds.
    assert FeatureStore(memory).info()["n_rows"].tolist() == 5 * [len(images)]


@pytest.mark.parametrize("classifier", ["svm", pytest.param("vote", marks=XGBOOST)])
def test_classifiers_of_the_fusion(classifier):
    X, y, groups = make_rows(3, 120)
    recipe = make_recipe("fusion", backbone=None, classifier=classifier, n_features=8)["classifier"]
    result = evaluate(with_few_trees(recipe, cv=2), X, y, groups=groups, cv=2)
    assert result.scores["roc_auc"].min() > 0.9


@pytest.mark.parametrize("selection", ["anova", "mutual_info", "pca", None])
def test_selections_of_the_fusion(selection):
    X, y, _ = make_rows(2, 60)
    X = X[:, :10]
    recipe = make_recipe("fusion", backbone=None, selection=selection, n_features=8)["classifier"]
    recipe = recipe.set_params(cv=2).fit(X, y)
    fitted = recipe.calibrated_classifiers_[0].estimator
    assert fitted["classifier"].n_features_in_ == (10 if selection is None else 8)
    again = clone(recipe).fit(X, y)
    assert_array_equal(again.predict_proba(X), recipe.predict_proba(X))


@XGBOOST
def test_the_fusion_can_be_saved(tmp_path):
    X, y, _ = make_rows(2, 60)
    X = X[:, :8]
    options = {"selection": "mutual_info", "classifier": "vote", "n_features": 4}
    recipe = make_recipe("fusion", backbone=None, **options)["classifier"]
    recipe = with_few_trees(recipe, cv=2).fit(X, y)
    save(recipe, tmp_path / "model.skops")
    loaded = load(tmp_path / "model.skops")
    assert_array_equal(loaded.predict_proba(X), recipe.predict_proba(X))


def test_the_recipe_for_breast_ultrasound_without_a_network(ultrasound, tmp_path):
    recipe = make_recipe("breast_ultrasound_features", backbone=None, input_size=32)
    recipe.fit(ultrasound.images, ultrasound.target)
    assert recipe.score(ultrasound.images, ultrasound.target) > 0.9
    save(recipe, tmp_path / "model.skops")
    assert read_card(tmp_path / "model.skops")["networks"] == "no network"
    loaded = load(tmp_path / "model.skops")
    expected = recipe.predict_proba(ultrasound.images[:8])
    for other in (loaded, pickle.loads(pickle.dumps(recipe))):
        assert_array_equal(other.predict_proba(ultrasound.images[:8]), expected)


@pytest.mark.slow
@pytest.mark.network
def test_each_of_several_networks_has_rows_of_its_own(ultrasound, tmp_path):
    images, y = ultrasound.images[:20], ultrasound.target[:20]
    given = {"layers": "C3", "pooling": "avg", "weights": None}
    first = DeepFeatures("mobilenet_v2", **given, input_size=32, backbone_options={"alpha": 0.35})
    second = {"backbone": "mobilenet", "backbone_options": {"alpha": 0.25}, "input_size": 32}
    store, found = tmp_path / "rows.sqlite", []
    for backbone in (first, [first, second]):
        recipe = make_recipe(
            "breast_ultrasound_features", backbone=backbone, memory=store, input_size=48, **given
        )
        rows = recipe["features"].fit_transform(images)
        with FeatureStore(store) as opened:
            found.append((rows, opened.info()["n_rows"].sum()))
    (alone, n_stored), (both, n_stored_after) = found
    # Only the second network was computed; all rows side by side are stored, too.
    assert n_stored_after == n_stored + 2 * len(images)
    parts = [fused_features(size=48), first, DeepFeatures(**given | second)]
    assert_array_equal(both, np.hstack([part.fit_transform(images) for part in parts]))
    assert_array_equal(both[:, : alone.shape[1]], alone)
    assert len(set(recipe["features"].get_feature_names_out())) == both.shape[1]
    recipe.fit(images, y)
    save(recipe, tmp_path / "model.skops")
    networks = read_card(tmp_path / "model.skops")["networks"]
    assert sorted(line["network"] for line in networks) == [
        "mobilenet(alpha=0.25), 32 x 32 pixels",
        "mobilenet_v2(alpha=0.35), 32 x 32 pixels",
    ]
    loaded = load(tmp_path / "model.skops")
    assert_allclose(loaded.predict_proba(images), recipe.predict_proba(images))


@pytest.mark.network
def test_networks_as_dicts():
    twice = [{"backbone": "mobilenet_v2", "input_size": size} for size in (32, 64)]
    recipe = make_recipe("fusion", backbone=twice, weights=None, layers="C3", pooling="avg")
    names = recipe["features"].fit(np.zeros((1, 64, 64), np.uint8)).get_feature_names_out()
    assert len(set(names)) == len(names)
    for network, fact in (({"backbone": "vgg16", "weight": 1}, "weight"), ({}, "no backbone")):
        with pytest.raises(ValueError, match=f"{fact}.*expected 'backbone'"):
            make_recipe("fusion", backbone=[network])


@pytest.mark.parametrize(
    "options",
    [{"weights": "one.h5"}, {"backbone_options": {"alpha": 0.35}}],
    ids=["file", "option"],
)
def test_a_file_or_an_option_is_not_for_two_networks(options):
    with pytest.raises(ValueError, match="2 networks.*backbone"):
        make_recipe("breast_ultrasound_features", **options)
    with pytest.raises(ValueError, match="0 networks"):
        make_recipe("handcrafted", **options)
    (weights, alpha) = (options.get(name) for name in ("weights", "backbone_options"))
    recipe = make_recipe("breast_ultrasound_features", backbone="mobilenet_v2", **options)
    deep = recipe.get_params()["features__transformer__deep_1__transformer"]
    assert (deep.weights, deep.backbone_options) == (weights or "imagenet", alpha)


QUICK = ("fusion", "handcrafted", "breast_ultrasound_features")


@pytest.mark.network
@pytest.mark.usefixtures("eager")
@pytest.mark.filterwarnings("ignore:Even though the `tf.config")
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[] if one in QUICK else pytest.mark.slow) for one in ALL]
)
def test_a_saved_model_can_be_refitted_and_evaluated(name, ultrasound, tmp_path):
    images, y, groups = ultrasound.images, ultrasound.target, ultrasound.groups
    recipe = tiny_recipe(name)
    fitted = keep_groups_together(recipe, y, groups, np.arange(len(y)), 0).fit(images, y)
    restore_cv(fitted, recipe)
    save(fitted, tmp_path / "model.skops")
    model = load(tmp_path / "model.skops")
    kept = {key: value for key, value in recipe.get_params().items() if key.endswith("cv")}
    assert {key: model.get_params()[key] for key in kept} == kept
    found = [step.cv for step in all_steps(model) if hasattr(step, "cv")]
    assert not any(isinstance(cv, list) for cv in found)
    few = np.r_[: len(y) : 2] if name == "fusion" else np.r_[:20]
    clone(model).fit(images[few], y[few])
    result = evaluate({"saved": model}, images[few], y[few], groups=groups[few], cv=2)
    assert result.predictions["index"].nunique() == len(few)


def test_the_vote_calibrates_on_other_groups():
    X, y, groups = make_rows()
    vote = make_recipe("breast_ultrasound_features", backbone=None)["classifier"]
    splits = keep_groups_together(vote, y, groups, np.arange(len(y)), 0).get_params()["svm__cv"]
    for train, test in splits:
        assert not set(groups[train]) & set(groups[test])
    result = evaluate(vote, X, y, groups=groups, cv=2)
    assert result.scores["roc_auc"].min() > 0.9
    assert result.scores["brier"].max() < 0.4


@pytest.mark.slow
@pytest.mark.network
def test_the_recipe_for_breast_ultrasound_scores_what_the_weights_allow(tmp_path):
    busi = load_busi(data_dir("busi"), groups=data_dir("busi") / "groups.csv")
    recipe = make_recipe(
        "breast_ultrasound_features",
        backbone="mobilenet_v2",
        backbone_options={"alpha": 0.35},
        weights=data_dir("weights") / "mobilenet_v2_0.35_224_no_top.weights.h5",
        input_size=320,
        memory=tmp_path / "features.sqlite",
    )
    for n_classes, accuracy, area in ((3, 0.755, 0.88), (2, 0.83, 0.87)):
        chosen = (busi.target < n_classes) & (busi.groups % 2 == 0)  # half of them
        images, y, groups = (np.asarray(p)[chosen] for p in (busi.images, busi.target, busi.groups))
        scores = evaluate(recipe, images, y, groups=groups, cv=5).scores
        assert scores["accuracy"].mean() > accuracy
        assert scores["roc_auc"].mean() > area


@pytest.mark.parametrize("name", ALL)
def test_the_part_from_images_to_rows(name):
    part = recipe_features(tiny_recipe(name))
    steps = part.named_steps if isinstance(part, Pipeline) else {"features": part}
    assert isinstance(list(steps.values())[-1], FeatureBus)
    assert not any(hasattr(step, "fit_resample") for step in steps.values())
    assert list(steps)[:-1] == (["breast", "muscle", "resize"] if name == "mammogram_svm" else [])


def test_a_pipeline_without_a_bus_has_no_such_part():
    with pytest.raises(ValueError, match="(?s)recipe is Pipeline.*with a FeatureBus"):
        recipe_features(fused_features())
