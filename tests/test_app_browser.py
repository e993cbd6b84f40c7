"""The page of a model in a browser: nothing is kept, bad files, other readers, sizes."""

import re
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from _app import run_app
from _browser import open_page
from _uploads import IMAGES, encode_png, make_hostile, make_planted, upload
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from featbus import LBP, FeatureBus, IntensityStatistics, make_breast_ultrasound, save
from featbus.commands import describe_training_images

pytestmark = pytest.mark.slow

WAIT = 60_000  # milliseconds for a result
GOOD = encode_png(IMAGES[3])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the file of a small model."""
    pytest.importorskip("streamlit", reason="no Streamlit: pip install 'featbus[app]'")
    data = make_breast_ultrasound(60, image_shape=(96, 128), random_state=0)
    features = FeatureBus(make_union(LBP(cells=3), IntensityStatistics()))
    pipeline = make_pipeline(features, StandardScaler(), LogisticRegression())
    pipeline.fit(data.images, data.target)
    reference = describe_training_images(data.images, groups=data.groups)
    path = tmp_path_factory.mktemp("model") / "model.skops"
    save(pipeline, path, classes=data.target_names, card={"reference": reference})
    return path


@pytest.fixture(scope="module")
def app(browser, model, tmp_path_factory):
    """Run the page."""
    with run_app(model, tmp_path_factory.mktemp("app")) as app:
        yield app


@contextmanager
def open_app(app, browser, width=1400, **options):
    """Open the page in a session of its own, and wait until it is ready."""
    with open_page(browser, app.url, width, **options) as page:
        chooser(page).wait_for(state="attached", timeout=WAIT)
        yield page


def chooser(page):
    return page.locator("input[type=file]")


def examine(page, *files):
    """Upload files, and wait for all results."""
    chooser(page).set_input_files([*files])
    download(page).wait_for(timeout=WAIT)
    page.locator("[data-testid=stSpinner]").wait_for(state="hidden", timeout=WAIT)


def download(page):
    return page.get_by_role("button", name="Download results (CSV)")


def use_page(app, browser):
    """Do all that a reader does, and return what was planted."""
    files, secrets = make_planted()
    with open_app(app, browser) as page:
        examine(page, *files)
        with page.expect_download() as downloaded:
            download(page).click()
        assert "ROSSI_4711.dcm" in Path(downloaded.value.path()).read_text()
        page.get_by_text("Show what the class rests on").click()
        page.get_by_text("Hiding a red part").wait_for(timeout=WAIT)
        page.reload()
    return secrets


def observe(app, browser):
    """Return what there is after another reader: modules are imported on first use."""
    with open_app(app, browser) as page:
        examine(page, upload("good.png", GOOD), upload("empty.png", b""))
    return app.observe()


def test_nothing_is_kept(app, browser):
    before = observe(app, browser)
    secrets = use_page(app, browser)
    assert app.find_traces(before, secrets) == {}
    assert app.find_traces(({}, [], b""), secrets).keys() <= {"changed", "opened"}


def test_a_page_that_keeps_something_is_found(model, browser, tmp_path):
    with run_app(model, tmp_path, is_leaky=True) as app:
        before = observe(app, browser)
        found = app.find_traces(before, use_page(app, browser))
    assert any("store" in str(path) for path in found["changed"])
    assert any(str(path).startswith(str(tmp_path / "temp")) for path in found["opened"])
    assert "secrets in messages" in found


def test_a_second_session_sees_nothing_of_the_first(app, browser):
    files, _ = make_planted()
    with open_app(app, browser) as first:
        examine(first, *files)
        with open_app(app, browser) as second:
            assert "ROSSI" in first.content()
            assert "ROSSI" not in second.content()
            assert second.get_by_role("img", name=re.compile("ROSSI")).count() == 0


def test_hostile_files_are_sentences(app, browser):
    with open_app(app, browser) as page:
        dialogs = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.dismiss()))
        hostile = make_hostile()
        examine(page, *(upload(*file) for file in hostile.items()), upload("good.png", GOOD))
        for name in hostile:
            alert = page.get_by_role("alert").filter(has_text=name).first
            alert.wait_for(timeout=WAIT)
            assert re.search(r"has no result: .*\w\.", alert.inner_text()), name
        assert "Traceback" not in page.content()
        assert page.get_by_text("Predicted class").count() == 1
        assert dialogs == []


def test_only_this_machine_is_served(app):
    sockets = psutil.Process(app.process.pid).net_connections("inet")
    listening = {found.laddr.ip for found in sockets if found.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def open_session(app, **headers):
    """Return the status of the answer to a browser that opens a session."""
    place = urlsplit(app.url)
    connection = HTTPConnection(place.hostname, place.port, timeout=10)
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    upgrade |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": app.url}
    with closing(connection):
        connection.request("GET", "/_stcore/stream", headers=upgrade | headers)
        return connection.getresponse().status


def test_other_sites_get_no_session(app):
    host = urlsplit(app.url).netloc
    assert open_session(app, Host=host) == 101
    for origin in ("http://evil.example", "null"):
        assert open_session(app, Host=host, Origin=origin) != 101


FOCUS = """() => {
  let element = document.activeElement;
  while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
  return element.getAttribute("aria-label") || element.innerText || element.labels?.[0]?.innerText;
}"""


def test_the_keyboard_reaches_everything(app, browser):
    with open_app(app, browser) as page:
        examine(page, upload("good.png", GOOD), upload("also good.png", GOOD))
        page.get_by_text("Choose images").click()
        reached = []
        for _ in range(60):  # twice around: a busy server draws parts later
            page.keyboard.press("Tab")
            reached.append(page.evaluate(FOCUS) or "")
        for name in [
            "Choose images",
            "Add files",
            "Remove good.png",
            "Or a synthetic example",
            "Image shown",
            "Show what the class rests on",
            "Download results (CSV)",
            "Model card",
        ]:
            assert any(name in text for text in reached), name


BEYOND = """() => {
  const main = document.querySelector("[data-testid=stMain]");
  return Math.max(document.documentElement.scrollWidth - innerWidth,
                  main.scrollWidth - main.clientWidth);
}"""


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (800, "light"), (400, "dark")])
def test_the_page_fits_and_answers_on_the_first_screen(width, scheme, app, browser):
    with open_app(app, browser, width, scheme=scheme) as page:
        assert page.evaluate(BEYOND) <= 0  # with the whole card
        examine(page, upload("good.png", GOOD))
        answer = page.get_by_text("how often such a call was right")
        answer.wait_for(timeout=WAIT)
        image, call = page.get_by_test_id("stImage").bounding_box(), answer.bounding_box()
        assert image["y"] > 0
        assert call["y"] + call["height"] <= 900
        page.get_by_text("Show what the class rests on").click()
        chooser(page).set_input_files(upload(f"{'x' * 200}.png", GOOD))
        page.get_by_text("Image shown").wait_for(timeout=WAIT)
        assert page.evaluate(BEYOND) <= 0
        assert page.get_by_role("heading", level=1).count() == 1
