"""The page of a trained model: its logic, without a browser."""

import asyncio
import os
import socket
import sys
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import PIL.Image
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from featbus import FeatureBus, IntensityStatistics, Resample, make_breast_ultrasound, save
from featbus.app import _html, _page, _results, run_app
from featbus.app._model import open_model
from featbus.app._results import _for_readers
from featbus.app._settings import MEGABYTES, find_names, make_flags
from featbus.cli import main
from featbus.commands import describe_training_images, examine_image
from featbus.io import SpacedImage

streamlit_testing = pytest.importorskip("streamlit.testing.v1", reason="streamlit not installed")

NAME = "Doe^Jane <b>1971</b>.png"
PHOTO = np.zeros((64, 64, 3), np.uint8)
PHOTO[..., 1] = 255


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    data = make_breast_ultrasound(60, random_state=0)
    model = make_pipeline(FeatureBus(IntensityStatistics()), LogisticRegression(max_iter=5000))
    names = data.target_names
    card = {
        "data": {"images": 60},
        "scores": {"accuracy": {"mean": 0.5, "low": 0.25, "high": 0.75}},
        "reference": describe_training_images(
            data.images, data.target, groups=data.groups, target_names=names
        ),
    }
    path = tmp_path_factory.mktemp("app") / "lesions.skops"
    save(model.fit(data.images, data.target), path, classes=names, card=card)
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
    return "\n".join(piece.body if hasattr(piece, "body") else piece.value for piece in page.html)


IMAGE = make_breast_ultrasound(2, random_state=5).images[1]


def test_the_first_page_shows_the_card(page):
    shown = text(page)
    assert not page.exception
    assert "Not a medical device and not for clinical use" in shown
    assert "Not trained on" in shown
    assert "0.50 <span>[0.25, 0.75]</span>" in shown
    assert "benign, malignant, normal" in shown
    assert "Predicted class" not in shown


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_an_image_is_examined_whatever_its_name_is(page, path, suffix):
    data = encode(IMAGE, suffix)
    shown = text(upload(page, ("notes.txt", data)))
    model = open_model(path)
    found = examine_image(model.pipeline, model.card, cv2.imdecode(np.frombuffer(data, "u1"), 0))
    assert f"<h2>{found.predicted}</h2>" in shown
    for value in found.probabilities:
        assert f"<dd>{value:.2f}<span" in shown
    assert 'src="data:image/png;base64,' in shown
    assert "this image" in shown
    assert "Unlike the training images" not in shown


def test_a_model_that_needs_the_spacing_gets_it(tmp_path):
    data = make_breast_ultrasound(12, random_state=0)
    images = [SpacedImage(image, 0.2) for image in data.images]
    model = make_pipeline(Resample(0.4), IntensityStatistics(), LogisticRegression(max_iter=5000))
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


def test_an_example_is_examined(page):
    page.selectbox[0].select(page.selectbox[0].options[0]).run()
    assert "Predicted class" in text(page)


def test_the_importance_map_is_painted_when_wanted(page):
    plain = text(upload(page, ("a.png", encode(IMAGE))))
    assert "Red: hiding this part" not in plain
    painted = text(page.toggle[0].set_value(True).run())
    assert "Red: hiding this part" in painted
    assert picture_in(painted) != picture_in(plain)
    assert text(page.toggle[0].set_value(False).run()) == plain


def test_an_importance_that_fails_leaves_the_result(page, monkeypatch):
    upload(page, ("a.png", encode(IMAGE)))

    def fail(*args, **options):
        raise MemoryError

    monkeypatch.setattr(_results, "examine_image", fail)
    shown = text(page.toggle[0].set_value(True).run())
    assert "Predicted class" in shown
    assert "What the class rests on could not be computed." in shown


def picture_in(shown):
    return shown.partition('src="data:image/png;base64,')[2].partition('"')[0]


def test_an_unlike_image_is_said_to_be_so_before_its_class(page):
    shown = text(upload(page, ("photo.png", encode(PHOTO))))
    assert 0 < shown.index("Unlike the training images") < shown.index("Predicted class")


@pytest.fixture(scope="module")
def found(path):
    model = open_model(path)
    return examine_image(model.pipeline, model.card, IMAGE, importance=False)


def test_a_class_that_is_not_the_most_probable_is_said_to_be_so(found):
    assert "differ" not in _html.classes(found)
    other = next(name for name in found.probabilities.index if name != found.predicted)
    assert "its probabilities differ" in _html.classes(replace(found, predicted=other))


def test_a_distance_just_above_its_limit(found):
    shown = _html.warning(replace(found, is_unfamiliar=True, distance=1.13, limit=1.08))
    assert "Distance 1.13, expected at most 1.08." in shown


def test_a_broken_file_is_a_sentence_and_the_others_are_examined(page):
    good = encode(IMAGE)
    shown = text(upload(page, (NAME, good[:500]), ("b.txt", b"hello"), ("c.png", good)))
    assert "Doe^Jane &lt;b&gt;1971&lt;/b&gt;.png</strong> has no result: the PNG file ends" in shown
    assert "b.txt</strong> has no result: unknown content" in shown
    assert "Predicted class" in shown
    assert shown.count("no result</td>") == 2
    assert "<b>1971" not in shown


def test_many_broken_files_are_folded(page):
    shown = text(upload(page, *((f"{index}.png", b"hello") for index in range(5))))
    first, fold, rest = shown.partition("<details")
    assert fold
    assert [first.count(" has no result"), rest.count(" has no result")] == [3, 2]
    assert "<summary>2 more without a result</summary>" in rest


def test_more_images_than_a_page_takes(page, monkeypatch):
    monkeypatch.setattr(_page, "MAX_IMAGES", 2)
    shown = text(upload(page, *((f"{index}.png", encode(IMAGE)) for index in range(3))))
    assert ">3 images are chosen; only the first 2 are examined.<" in shown
    assert "2.png" not in shown


def test_results_of_removed_images_are_dropped(page):
    upload(page, (NAME, encode(IMAGE)))
    assert len(page.session_state.results) == 1
    page.file_uploader[0].set_value(None).run()
    assert page.session_state.results == {}


def test_another_session_sees_nothing(page, path):
    upload(page, (NAME, encode(IMAGE)))
    other = open_page(path)
    assert other.session_state.results == {}
    assert "Doe" not in text(other)


def test_unexpected_errors_are_logged_without_their_message(page, monkeypatch, caplog, capfd):
    def fail(*args, **options):
        raise RuntimeError(f"cannot divide {NAME}")

    monkeypatch.setattr(_results, "examine_image", fail)
    shown = text(upload(page, (NAME, encode(IMAGE))))
    assert "The image could not be examined. Other images are not affected." in shown
    assert "RuntimeError in fail" in caplog.text
    assert "Doe" not in caplog.text + "".join(capfd.readouterr())
    assert "cannot divide" not in shown


def test_the_table_that_is_downloaded(path):
    model = open_model(path)
    results = [
        _results.examine(model, "=1+2.png", IMAGE),
        _results.examine(model, "b\u202e\x1b\n.png", b"no image"),
    ]
    table = pd.read_csv(StringIO(_results.to_csv(results)))
    found = results[0].examination
    names = [f"probability_{name}" for name in found.probabilities.index]
    assert list(table) == [
        *("image", "predicted", *names),
        *("distance", "limit", "unlike_training_images", "error"),
    ]
    assert table["image"].tolist() == ["'=1+2.png", r"b\u202e\x1b\n.png"]
    np.testing.assert_allclose(table.loc[0, names].astype(float), found.probabilities, rtol=1e-12)
    assert table["error"].isna().tolist() == [True, False]


def test_no_image_is_served_at_an_address(page):
    upload(page, ("a.png", encode(IMAGE)), ("b.png", encode(IMAGE)))
    assert not page.get("imgs")
    assert not page.get("download_button")
    assert "/media/" not in text(page)


@pytest.fixture
def configuration(monkeypatch):
    """Do not start the server; return the settings that it would have."""
    from starlette.formparsers import MultiPartParser
    from streamlit import config, net_util
    from streamlit.web.server.starlette import starlette_app

    settings = {}

    def read(script, is_hello, args, flags):
        options = config.get_config_options()
        settings.update({name: option.value for name, option in options.items()}, args=[*args])
        settings["set"] = {name for name in options if config.is_manually_set(name)}

    monkeypatch.setattr("streamlit.web.bootstrap.run", read)
    monkeypatch.setattr("os.environ", os.environ.copy())  # gets the limit of pixels
    for place, name in [  # what `run_app` changes
        (config, "get_config_files"),
        (net_util, "get_internal_ip"),
        (net_util, "get_external_ip"),
        (starlette_app, "create_streamlit_middleware"),
        (MultiPartParser, "spool_max_size"),
    ]:
        monkeypatch.setattr(place, name, getattr(place, name))
    yield settings
    monkeypatch.undo()
    config.get_config_options(force_reparse=True)


NAMES = {flag[2:].partition("=")[0] for flag in make_flags(8501)}

HARMFUL = """
[server]
address = "0.0.0.0"
enableCORS = false
enableXsrfProtection = false
allowedHosts = ["*"]
corsAllowedOrigins = ["https://evil.example"]
maxUploadSize = 9999
fileWatcherType = "auto"
enableStaticServing = true
[browser]
gatherUsageStats = true
serverAddress = "evil.example"
[client]
showErrorDetails = "full"
allowedOrigins = ["https://evil.example"]
[theme]
font = "Evil:https://evil.example/font.css"
[logger]
level = "debug"
"""


def test_no_configuration_file_and_no_variable_switches_protection_off(
    path, tmp_path, monkeypatch, configuration, capsys
):
    for folder in (tmp_path / "home", tmp_path):
        (folder / ".streamlit").mkdir(parents=True)
        (folder / ".streamlit" / "config.toml").write_text(HARMFUL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION", "false")
    monkeypatch.setenv("STREAMLIT_SERVER_ADDRESS", "0.0.0.0")
    monkeypatch.setenv("STREAMLIT_BROWSER_SERVER_ADDRESS", "evil.example")
    monkeypatch.setenv("STREAMLIT_SERVER_COOKIE_SECRET", "known")
    before = sorted(tmp_path.rglob("*"))
    run_app(path, port=free_port(), url="https://reader.example/featbus", browser=False)
    assert configuration["args"] == [path]
    assert configuration["set"] <= NAMES
    expected = {
        "server.address": "127.0.0.1",
        "server.enableCORS": True,
        "server.enableXsrfProtection": True,
        "server.allowedHosts": ["127.0.0.1", "localhost", "reader.example"],
        "server.corsAllowedOrigins": ["https://reader.example"],
        "server.baseUrlPath": "featbus",
        "server.maxUploadSize": MEGABYTES,
        "server.fileWatcherType": "none",
        "server.enableStaticServing": False,
        "server.headless": True,
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "none",
        "logger.level": "error",
    }
    found = {name: configuration[name] for name in expected}
    found |= {name: [*found[name]] for name in expected if isinstance(expected[name], list)}
    assert found == expected
    assert sorted(tmp_path.rglob("*")) == before
    assert "The page is at https://reader.example/featbus" in capsys.readouterr().out


def test_uploads_are_parsed_in_memory(path, configuration):
    from starlette.formparsers import MultiPartParser

    run_app(path, port=free_port())
    assert MultiPartParser.spool_max_size > MEGABYTES * 1024**2


def test_no_request_has_an_address_looked_up(path, configuration, monkeypatch):
    from streamlit.web.server.server_util import is_url_from_allowed_origins

    run_app(path, port=free_port())
    calls = []
    for name in ("getaddrinfo", "socket"):
        monkeypatch.setattr(socket, name, lambda *args, **options: calls.append(args))
    assert not is_url_from_allowed_origins("http://evil.example")
    assert calls == []


OWN = "https://reader.example"


@pytest.fixture
def server(path, configuration, monkeypatch):
    """Return the server with a page behind a proxy, without routes."""
    from streamlit.web.server.starlette import starlette_app

    run_app(path, port=free_port(), url=f"{OWN}:443/featbus", browser=False)
    monkeypatch.setattr(starlette_app, "create_streamlit_routes", lambda runtime: [])
    return starlette_app.create_starlette_app(None)


def ask(server, kind, **headers):
    """Return the status of the answer to a request, and its headers."""
    sent = []

    async def receive():
        return {"type": f"{kind}.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "method": "GET", "path": "/", "query_string": b"", "root_path": ""}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope["extensions"] = {"websocket.http.response": {}}
    asyncio.run(server(scope, receive, send))
    answer = sent[0]
    return answer.get("status"), {name.decode(): value for name, value in answer.get("headers", [])}


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("host", "origin", "is_refused"),
    [
        ("127.0.0.1:8501", None, False),
        ("127.0.0.1:8501", "http://127.0.0.1:8501", False),
        ("localhost:9000", "http://localhost:9000", False),  # a tunnel
        ("reader.example", OWN, False),
        ("127.0.0.1:8501", OWN, False),  # a proxy that does not pass the name on
        ("evil.example", None, True),
        ("evil.example", "http://evil.example", True),
        ("127.0.0.1.evil.example", None, True),
        ("127.0.0.1:8501", "http://evil.example", True),
        ("127.0.0.1:8501", "http://localhost:9999", True),
        ("127.0.0.1:8501", "http://0.0.0.0:81", True),
        ("127.0.0.1:8501", "null", True),
        ("reader.example", "http://reader.example:81", True),
        ("reader.example", "http://reader.example", True),
        ("127.0.0.1:8501", "https://127.0.0.1:8501", True),
    ],
)
def test_only_requests_of_the_page_are_answered(server, kind, host, origin, is_refused):
    headers = {"host": host} if origin is None else {"host": host, "origin": origin}
    status, _ = ask(server, kind, **headers)
    assert (status in (400, 403)) == is_refused


def test_a_second_origin_is_refused():
    from starlette.datastructures import Headers

    from featbus.app._guard import Guard

    guard = Guard(None, [OWN])
    assert guard._is_own(Headers(raw=[(b"origin", OWN.encode())]))
    assert not guard._is_own(Headers(raw=[(b"origin", OWN.encode()), (b"origin", b"http://evil")]))


def test_no_site_shows_the_page_in_a_frame(server):
    _, headers = ask(server, "http", host="localhost")
    assert headers["x-frame-options"] == b"DENY"
    assert headers["content-security-policy"] == b"frame-ancestors 'none'"
    assert headers["referrer-policy"] == b"no-referrer"


def test_origins_are_as_browsers_write_them():
    for url, origin in [
        ("https://Reader.example:443/featbus", OWN),
        ("https://user@reader.example", OWN),
        ("http://reader.example:8080", "http://reader.example:8080"),
        ("https://münchen.example", "https://xn--mnchen-3ya.example"),
    ]:
        assert find_names(8501, url)[1] == [origin]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_port_in_use(path):
    with socket.socket() as used:
        used.bind(("127.0.0.1", 0))
        used.listen()
        port = used.getsockname()[1]
        with pytest.raises(OSError, match=f"Port {port} cannot be used: .* Choose another port"):
            run_app(path, port=port)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 0}, "port is 0"),
        ({"url": "reader.example"}, "url is 'reader.example', expected where readers find"),
        ({"url": "https://a.example/?b"}, "url is"),
        ({"url": "https://*"}, "url is"),
        ({"url": "https://*.example"}, "url is"),
        ({"url": "https://[::1]:8443"}, "url is"),
        ({"url": "https://a.example:99999"}, "url is"),
        ({"url": "https://a.example/../b"}, "url is"),
        ({"url": "https://a.exam\nple"}, "url is"),
        ({"url": "https://a b"}, "url is"),
        ({"browser": 3}, "browser is 3"),
    ],
)
def test_invalid_parameters(path, options, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        run_app(path, **options)


def test_what_is_no_model_of_classes(tmp_path):
    with pytest.raises(FileNotFoundError, match="Found no file .*none.skops"):
        run_app(tmp_path / "none.skops", port=free_port())
    save(IntensityStatistics(), tmp_path / "features.skops")
    with pytest.raises(ValueError, match="has no classes, expected a model that predicts"):
        run_app(tmp_path / "features.skops", port=free_port())


def test_without_streamlit_the_error_names_the_extra(path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "streamlit.web.cli", None)
    assert main(["app", path]) == 2
    assert "Install it: pip install 'featbus[app]'." in capsys.readouterr().err


def test_the_command_passes_every_argument_on(monkeypatch):
    calls = []
    monkeypatch.setattr("featbus.app.run_app", lambda **options: calls.append(options))
    assert main(["app", "m.skops"]) == 0
    assert main(["app", "m.skops", "--port=80", "--url=https://a.example", "--no-browser"]) == 0
    assert calls == [
        {"model": "m.skops"},
        {"model": "m.skops", "port": 80, "url": "https://a.example", "browser": False},
    ]


def test_the_script_is_where_streamlit_looks_for_it():
    from featbus.app import _run

    assert Path(_run._SCRIPT).is_file()


def make_session(name, ended):
    """Return what a server knows of a session."""
    state = {"results": "rows"}
    session = SimpleNamespace(id=name, session_state=state, flush_browser_queue=list)
    session.shutdown = lambda: ended.append((name, state))
    return SimpleNamespace(session=session)


def test_a_session_is_dropped_when_its_time_is_over():
    """And not when the next reader comes."""
    from featbus.app._sessions import Sessions

    ended = []

    async def lose_connections():
        sessions = Sessions(ttl_seconds=0.05)
        gone, back = (make_session(name, ended) for name in ("gone", "back"))
        sessions.save(gone)
        sessions.save(back)
        assert sessions.list() == [gone, back]
        assert sessions.get("back") is back
        sessions.delete("back")
        assert sessions.get("back") is None
        while sessions.list():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)

    asyncio.run(lose_connections())
    assert ended == [("gone", {})]


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("found 3 pages. Save each, or read them with tifffile.imread.", "found 3 pages."),
        ("the file ends early. Copy it. Raise max_pixels.", "the file ends early. Copy it."),
        ("found 0.5 in a.png", "found 0.5 in a.png"),
    ],
)
def test_readers_need_no_python(reason, shown):
    assert _for_readers(reason) == shown
