"""The page of a trained model: its logic, without a browser."""

import os
import re
import sys
from dataclasses import replace
from io import BytesIO

import cv2
import numpy as np
import PIL.Image
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import featbus
from featbus import FeatureBus, IntensityStatistics, Resample, make_breast_ultrasound, save
from featbus.app import _page, _results, run_app
from featbus.app._results import open_model
from featbus.app._run import MEGABYTES
from featbus.cli import main
from featbus.commands import describe_training_images, examine_image
from featbus.io import SpacedImage

streamlit_testing = pytest.importorskip("streamlit.testing.v1", reason="streamlit not installed")

NAME = "Doe^Jane <b>![](http://evil)</b>.png"
PHOTO = np.zeros((64, 64, 3), np.uint8)
PHOTO[..., 1] = 255
POINT = {"class": "malignant", "threshold": 0.31, "chosen_for": "sensitivity of at least 0.95"}
IMAGE = make_breast_ultrasound(2, random_state=5).images[1]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    data = make_breast_ultrasound(60, random_state=0)
    model = make_pipeline(FeatureBus(IntensityStatistics()), LogisticRegression(max_iter=5000))
    card = {"scores": {"accuracy": {"mean": 0.5, "low": 0.25, "high": 0.75}}}
    card["data"] = {"images": 480, "groups": None, "left_out": 0}
    card["reference"] = describe_training_images(data.images, groups=data.groups)
    path = tmp_path_factory.mktemp("app") / "lesions.skops"
    save(model.fit(data.images, data.target), path, classes=data.target_names, card=card)
    return str(path)


def show(path):
    from featbus.app._page import show_page

    show_page(path)


def open_page(path):
    return streamlit_testing.AppTest.from_function(show, args=(path,), default_timeout=60).run()


@pytest.fixture(autouse=True)
def main_module(monkeypatch):
    """Bring back `__main__`, which AppTest replaces: processes that are spawned import it."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture
def page(path):
    return open_page(path)


def encode(image, suffix=".png"):
    return cv2.imencode(suffix, image)[1].tobytes()


def upload(page, *files):
    page.file_uploader[0].set_value([(name, data, "") for name, data in files]).run()
    assert not page.exception
    return page


def text(page):
    """Return all that the page says."""
    kinds = ("title", "caption", "subheader", "markdown", "error", "table", "dataframe")
    return "\n".join(str(piece.value) for kind in kinds for piece in getattr(page, kind))


def test_the_first_page_shows_the_card(page):
    shown = text(page)
    assert not page.exception
    assert "Not a medical device and not for clinical use" in shown
    assert "Not trained on" in shown
    assert "Predicted class" not in shown
    assert "BMP, PGM, PPM or DICOM" in page.file_uploader[0].label


def test_the_card_is_in_words(page):
    lines = page.markdown[-1].value.replace("\\", "").splitlines()
    assert lines[2:6] == [
        "- Trained on 480 images",
        "- Groups: not known",
        "- Accuracy: 0.5 (95% interval 0.25 to 0.75)",
        "- Classes: benign, malignant, normal",
    ]
    assert not [line for line in lines if "_" in line or "{" in line]


def test_a_card_of_unknown_content_is_text():
    card = {"classes": ["a", "<b>"], "data": "*BUSI*", "items": [{"n": 1}, None], "reference": {}}
    calls = {"a": {"right": 3, "of": 4, "unit": "images"}}
    assert _page._describe(card | {"calls": calls}).splitlines()[2:] == [
        "- Training images: not known",
        "- Groups: not known",
        r"- Data: \*BUSI\*",
        r"- Classes: a, \<b\>",
        "- Items: n 1, none",
        "- Right calls: a 3 of 4 images",
    ]


def test_the_image_comes_first_then_the_class_warnings_and_why(path, monkeypatch):
    doubted = open_model(path).card | {"doubt": "Not clearly better than chance: a (ROC AUC)."}
    model = open_model(path)._replace(card=doubted)
    monkeypatch.setattr(_results, "open_model", lambda path: model)
    shown = [piece.type for piece in upload(open_page(path), ("photo.png", encode(PHOTO))).main]
    answer = shown[shown.index("image") :]
    assert [kind for kind in answer if kind not in ("column", "progress")] == [
        *("image", "markdown"),  # with its name
        *("markdown", "markdown", "error", "warning", "markdown", "toggle"),
        *("download_button", "expander", "markdown"),
    ]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".pgm"])
def test_an_image_is_examined_whatever_its_name_is(page, path, suffix):
    data = encode(IMAGE, suffix)
    upload(page, ("notes.txt", data))
    model = open_model(path)
    found = examine_image(model.pipeline, model.card, cv2.imdecode(np.frombuffer(data, "u1"), 0))
    assert f"Predicted class: {found.predicted}" in [piece.value for piece in page.subheader]
    result = page.session_state.results[next(iter(page.session_state.results))]
    np.testing.assert_array_equal(result.examination.probabilities, found.probabilities)
    assert not page.error


def test_a_model_that_needs_the_spacing_gets_it(tmp_path):
    data = make_breast_ultrasound(12, image_shape=(96, 128), random_state=0)
    images = [SpacedImage(image, 0.2) for image in data.images]
    steps = Resample(0.4), IntensityStatistics(), StandardScaler(), LogisticRegression(C=100)
    model = make_pipeline(*steps)
    save(model.fit(images, data.target), tmp_path / "model.skops", classes=data.target_names)
    model = open_model(str(tmp_path / "model.skops"))
    stated = BytesIO()
    dpi = 25.4 / 0.13
    PIL.Image.fromarray(IMAGE).save(stated, "png", dpi=(dpi, dpi))
    found = _results.examine(model, "a.png", stated.getvalue(), importance=True)
    expected = model.pipeline.predict_proba([SpacedImage(IMAGE, 0.13)])[0]
    np.testing.assert_allclose(found.examination.probabilities, expected, rtol=1e-3)
    assert found.examination.importance.shape == IMAGE.shape
    assert "found no spacing" in _results.examine(model, "b.png", encode(IMAGE)).error


def test_the_importance_map_is_painted_when_wanted(page):
    upload(page, ("a.png", encode(IMAGE)))
    assert [wanted for _, wanted in page.session_state.results] == [False]
    page.toggle[0].set_value(True).run()
    assert not page.exception
    (found,) = [result for (_, wanted), result in page.session_state.results.items() if wanted]
    plain = _results.draw(replace(found.examination, importance=None))
    assert not np.array_equal(_results.draw(found.examination), plain)


def test_a_map_says_by_how_much_hiding_a_part_changes_the_probability(page):
    upload(page, ("a.png", encode(IMAGE)))
    page.toggle[0].set_value(True).run()
    (found,) = [result.examination for (_, on), result in page.session_state.results.items() if on]
    limit = np.abs(found.importance).max()
    assert f"by {limit:.2f} at most" in text(page).replace("\\", "")


def test_what_a_call_is_worth(page, path):
    model = open_model(path)
    shown = text(upload(page, ("a.png", encode(IMAGE))))
    assert "Not evaluated\\: " in shown
    assert "Called by the highest probability" in shown
    calls = {name: {"right": 61, "of": 85, "unit": "patients"} for name in model.card["classes"]}
    card = model.card | {"calls": calls, "operating_point": POINT}
    found = examine_image(model.pipeline, card, IMAGE, importance=False)
    assert _results.describe_call(card, found) == [
        f"Of 85 patients called {found.predicted} when the model was tested, 61 were "
        f"{found.predicted} (72%).",
        "Called malignant from a probability of 0.31 on, chosen for a sensitivity of at least "
        "0.95.",
        "The model knows only these classes: benign, malignant, normal.",
    ]
    never = card | {"calls": {found.predicted: {"right": 0, "of": 0, "unit": "images"}}}
    assert "Of 0 images called" in _results.describe_call(never, found)[0]


def test_a_class_of_a_model_at_chance_is_not_emphasized(path, monkeypatch):
    doubted = open_model(path).card | {"doubt": "Not clearly better than chance: a (ROC AUC)."}
    monkeypatch.setattr(_results, "read_card", lambda path: doubted)
    _results.open_model.cache_clear()
    page = upload(open_page(path), ("a.png", encode(IMAGE)))
    _results.open_model.cache_clear()
    assert "Not clearly better than chance" in page.warning[0].value.replace("\\", "")
    predicted = next(iter(page.session_state.results.values())).examination.predicted
    assert not page.subheader
    assert f"Predicted class: {predicted}" in [piece.value for piece in page.markdown]


def test_an_importance_that_fails_leaves_the_result(page, monkeypatch):
    upload(page, ("a.png", encode(IMAGE)))
    monkeypatch.setattr(_results, "examine_image", fail)
    page.toggle[0].set_value(True).run()
    assert not page.exception
    assert "Predicted class" in text(page)


def fail(*args, **options):
    raise RuntimeError(f"cannot divide {NAME}")


def test_an_unlike_image_is_said_to_be_so(page):
    upload(page, ("photo.png", encode(PHOTO)))
    assert "Unlike the training images" in page.error[0].value
    assert not page.subheader


def test_a_class_that_is_not_the_most_probable_is_said_to_be_so(page, monkeypatch):
    def examine(*args, **options):
        found = examine_image(*args, **options)
        other = next(name for name in found.probabilities.index if name != found.predicted)
        return replace(found, predicted=other)

    monkeypatch.setattr(_results, "examine_image", examine)
    assert "its probabilities differ" in text(upload(page, ("a.png", encode(IMAGE))))


def test_a_broken_file_is_a_sentence_and_the_others_are_examined(page):
    good = encode(IMAGE)
    upload(page, (NAME, good[:500]), ("b.txt", b"hello"), ("c.png", good))
    first, second = (piece.value for piece in page.error)
    assert "has no result: " in first
    assert "b\\.txt" in second
    assert "Predicted class" in text(page)
    assert "![](http" not in first.replace("\\!\\[\\]", "")  # no picture from another site
    assert "<b>" not in first


def test_more_images_than_a_page_takes(page):
    upload(page, *((f"{index}.png", encode(IMAGE)) for index in range(21)))
    assert "21 images are chosen; only the first 20" in page.error[0].value
    assert len(page.session_state.results) == 20


def test_results_of_removed_images_are_dropped(page):
    upload(page, (NAME, encode(IMAGE)))
    assert len(page.session_state.results) == 1
    page.file_uploader[0].set_value(None).run()
    assert page.session_state.results == {}


def test_unexpected_errors_are_logged_without_their_message(page, monkeypatch, caplog, capfd):
    monkeypatch.setattr(_results, "examine_image", fail)
    upload(page, (NAME, encode(IMAGE)))
    assert "The image could not be examined" in page.error[0].value.replace("\\", "")
    assert "RuntimeError in fail" in caplog.text
    assert "Doe" not in caplog.text + "".join(capfd.readouterr())
    assert "cannot divide" not in text(page)


def test_the_table_that_is_downloaded(path):
    model, names = open_model(path), ["=1+2.png", "b\u202e\x1b\n.png"]
    results = [_results.examine(model, *given) for given in zip(names, (IMAGE, b"no image"))]
    table, found = _results.tabulate(results), results[0].examination
    names = [f"probability_{name}" for name in found.probabilities.index]
    assert list(table) == [
        *("image", "predicted", *names),
        *("distance", "limit", "unlike_training_images", "error"),
    ]
    assert table["image"].tolist() == ["'=1+2.png", r"b\u202e\x1b\n.png"]
    np.testing.assert_allclose(table.loc[0, names].astype(float), found.probabilities, rtol=1e-12)
    assert table["error"].isna().tolist() == [True, False]


@pytest.fixture
def configuration(monkeypatch):
    """Do not start the server; return the settings that it would have."""
    from starlette.formparsers import MultiPartParser
    from streamlit import config
    from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

    settings = {}

    def read(script, is_hello, args, flags):
        options = config.get_config_options()
        settings.update({name: option.value for name, option in options.items()}, args=[*args])

    monkeypatch.setattr("streamlit.web.bootstrap.run", read)
    monkeypatch.setattr("os.environ", os.environ.copy())  # gets the limit of pixels
    for place, name in [  # what `run_app` changes
        (config, "get_config_files"),
        (MemoryUploadedFileManager, "add_file"),
        (MultiPartParser, "spool_max_size"),
    ]:
        monkeypatch.setattr(place, name, getattr(place, name))
    yield settings
    monkeypatch.undo()
    config.get_config_options(force_reparse=True)


HARMFUL = """
[server]
address = "0.0.0.0"
enableCORS = false
enableXsrfProtection = false
maxUploadSize = 9999
[browser]
gatherUsageStats = true
"""


def test_no_configuration_file_and_no_variable_switches_protection_off(
    path, tmp_path, monkeypatch, configuration, capsys
):
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").write_text(HARMFUL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION", "false")
    monkeypatch.setenv("STREAMLIT_SERVER_ADDRESS", "0.0.0.0")
    run_app(path, url="https://reader.example/featbus", browser=False)
    assert configuration["args"] == [path]
    expected = {
        "server.address": "127.0.0.1",
        "server.enableCORS": True,
        "server.enableXsrfProtection": True,
        "server.baseUrlPath": "featbus",
        "server.maxUploadSize": MEGABYTES,
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "none",
    }
    assert {name: configuration[name] for name in expected} == expected
    assert [*configuration["server.corsAllowedOrigins"]] == ["https://reader.example"]
    assert "The page is at https://reader.example/featbus" in capsys.readouterr().out


def test_uploads_are_parsed_in_memory_and_bounded(path, configuration):
    from starlette.exceptions import HTTPException
    from starlette.formparsers import MultiPartParser
    from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
    from streamlit.runtime.uploaded_file_manager import UploadedFileRec

    run_app(path)
    assert MultiPartParser.spool_max_size > MEGABYTES * 1024**2
    manager = MemoryUploadedFileManager("upload")
    data = bytes(40 * 1024**2)
    for name in "abcde":
        manager.add_file("one", UploadedFileRec(name, name, "", data))
    with pytest.raises(HTTPException) as caught:
        manager.add_file("one", UploadedFileRec("f", "f", "", data))
    assert caught.value.status_code == 413
    assert len(manager.get_files("one", [*"abcdef"])) == 5
    manager.add_file("another", UploadedFileRec("f", "f", "", data))
    manager.remove_file("one", "a")
    manager.add_file("one", UploadedFileRec("f", "f", "", data))


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", 0), ("url", "reader.example"), ("url", "https://*"), ("browser", 3)],
)
def test_invalid_parameters(path, name, value):
    with pytest.raises(ValueError, match=f"{name} is {re.escape(repr(value))}"):
        run_app(path, **{name: value})


def test_what_is_no_model_of_classes(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.skops"):
        run_app(tmp_path / "none.skops")
    save(IntensityStatistics(), tmp_path / "features.skops")
    with pytest.raises(ValueError, match="has no classes, expected a model that predicts"):
        run_app(tmp_path / "features.skops")


def test_without_streamlit_the_error_names_the_extra(path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "streamlit.web.cli", None)
    assert main(["app", path]) == 2
    assert f"Install it: pip install '{featbus.DISTRIBUTION}[app]'." in capsys.readouterr().err
