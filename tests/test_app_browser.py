"""The page of a model in a browser: nothing is kept, bad files, two readers, keyboard, sizes."""

import csv
import re
import time
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import psutil
import pytest
from _app import run_app
from _browser import open_page
from _traces import find_secrets
from _uploads import HOSTILE, IMAGES, encode_png, make_planted, upload
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
    reference = describe_training_images(
        data.images, data.target, groups=data.groups, target_names=data.target_names
    )
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


def wait_for_image(page, name):
    page.get_by_role("main").get_by_alt_text(name, exact=True).wait_for(timeout=WAIT)


def wait_for_table(page, n_rows):
    """Wait until all images have a result."""
    rows = page.locator("tbody tr")
    rows.nth(n_rows - 1).wait_for(timeout=WAIT)
    page.locator("tbody", has_text="waiting").wait_for(state="hidden", timeout=WAIT)


def examine(page, *files):
    """Upload files, and wait for all results."""
    chooser(page).set_input_files([*files])
    if len(files) > 1:
        wait_for_table(page, len(files))
    download(page).wait_for(timeout=WAIT)


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
        page.get_by_text("hiding this part").wait_for(timeout=WAIT)
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


@pytest.mark.parametrize(
    ("leak", "kind"),
    [
        ("keep_rows", "changed"),
        ("keep_results", "secrets in files"),
        ("keep_uploads", "opened"),
        ("tell_names", "secrets in messages"),
    ],
)
def test_a_page_that_keeps_something_is_found(leak, kind, model, browser, tmp_path):
    with run_app(model, tmp_path, leak) as app:
        before = observe(app, browser)
        secrets = use_page(app, browser)
        assert kind in app.find_traces(before, secrets)


def test_a_second_session_sees_nothing_of_the_first(app, browser):
    files, secrets = make_planted()
    asked = []
    with open_app(app, browser) as first:
        first.on("request", lambda request: asked.append((request.method, request.url)))
        examine(first, *files)
        with open_app(app, browser) as second:
            assert "ROSSI" in first.content()
            assert "ROSSI" not in second.content()
            assert second.locator("figure img").count() == 0
    # Addresses of the first session, after its end.
    addresses = {url for _, url in asked if url.startswith(app.url)}
    assert len([url for url in addresses if "/upload_file/" in url]) == len(files)
    with open_app(app, browser) as second:
        for url in addresses:
            answer = second.request.get(url)
            assert not answer.headers.get("content-type", "").startswith("image/"), url
            assert find_secrets(answer.body(), secrets) == [], url


def count_bytes(app):
    """Return the number of bytes of uploads in the memory of the server."""
    with urlopen(f"{app.url}/_stcore/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = re.search(r"cache_memory_bytes{[^}]*UploadedFileManager[^}]*} (\S+)", text)
    return 0 if found is None else float(found[1])


def test_uploads_are_dropped_though_nobody_else_comes(model, browser, tmp_path):
    with run_app(model, tmp_path, "forget_soon") as app:
        with open_app(app, browser) as page:
            examine(page, upload("good.png", GOOD))
            assert count_bytes(app) == len(GOOD)
        end = time.monotonic() + WAIT / 1000
        while (left := count_bytes(app)) and time.monotonic() < end:
            time.sleep(0.1)
        assert left == 0


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_a_sentence(name, app, browser):
    with open_app(app, browser) as page:
        dialogs = []
        page.on("dialog", lambda dialog: dialogs.append(dialog.dismiss()))
        chooser(page).set_input_files([upload(name, HOSTILE[name])])
        alert = page.get_by_role("main").get_by_role("alert").filter(has_text=name)
        alert.wait_for(timeout=WAIT)
        assert re.search(r"has no result: .*\w\.", alert.inner_text())
        assert "Traceback" not in page.content()
        examine(page, upload("good.png", GOOD))
        row = page.get_by_role("row").filter(has_text="good.png")
        row.filter(has_text=re.compile("benign|malignant|normal")).wait_for(timeout=WAIT)
        assert dialogs == []


def ask(url, method="GET", **headers):
    """Return the status of a request without cookies."""
    request = Request(url, data=b"x" if method == "PUT" else None, headers=headers, method=method)
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


def test_an_upload_without_a_token_is_refused(app, browser):
    file = {"file": upload("good.png", GOOD)}
    with open_app(app, browser) as page:
        with page.expect_request(lambda request: request.method == "PUT") as sent:
            examine(page, upload("good.png", GOOD))
        url, token = sent.value.url, sent.value.headers["x-xsrftoken"]
        for headers, is_accepted in [
            ({"X-Xsrftoken": token}, True),
            ({"X-Xsrftoken": token[::-1]}, False),
            ({}, False),
        ]:
            answer = page.request.put(url, headers=headers, multipart=file)
            assert answer.ok == is_accepted
    assert ask(url, "PUT", **{"X-Xsrftoken": token}) == 403  # no cookie


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


def test_other_sites_get_no_answer(app):
    """Neither by their own name, nor by one that they have pointed at this machine."""
    host = urlsplit(app.url).netloc
    assert open_session(app, Host=host) == 101
    for origin in ("http://evil.example", "http://localhost:9", "null"):
        assert open_session(app, Host=host, Origin=origin) == 403
        assert ask(app.url, Origin=origin) == 403
    assert open_session(app, Host="evil.example") == 400
    for path in ("", "/_stcore/health", "/static/index.html"):
        assert ask(app.url + path, Host="evil.example") == 400


def test_no_site_shows_the_page_in_a_frame(app):
    with urlopen(app.url, timeout=10) as answer:
        assert answer.headers["X-Frame-Options"] == "DENY"


def test_a_slow_image_does_not_block_another_reader(model, browser, tmp_path):
    with (
        run_app(model, tmp_path, "wait_for_release") as app,
        open_app(app, browser) as first,
        open_app(app, browser) as second,
    ):
        chooser(first).set_input_files([upload("good.png", GOOD), upload("slow.png", GOOD)])
        waiting = first.locator("tbody tr", has_text="waiting")
        waiting.filter(has_text="slow.png").wait_for(timeout=WAIT)
        chooser(second).set_input_files([upload("also good.png", GOOD)])
        wait_for_image(second, "also good.png")
        assert waiting.count() == 1
        (tmp_path / "working" / "release").touch()
        wait_for_table(first, 2)


FOCUS = """() => {
  let element = document.activeElement;
  while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
  return element.getAttribute("aria-label") || element.innerText || element.labels?.[0]?.innerText;
}"""


def test_the_keyboard_reaches_everything(app, browser):
    with open_app(app, browser) as page:
        examine(page, upload("good.png", GOOD), upload("also good.png", GOOD))
        reached = []
        for _ in range(30):
            page.keyboard.press("Tab")
            reached.append(page.evaluate(FOCUS) or "")
        for name in [
            "Add files",
            "Remove good.png",
            "Or a synthetic example",
            "Image shown",
            "Show what the class rests on",
            "Download results (CSV)",
            "Model card",
        ]:
            assert any(name in text for text in reached), name


def test_an_image_is_uploaded_by_keyboard(app, browser):
    with open_app(app, browser) as page:
        with page.expect_file_chooser() as opened:
            page.get_by_role("button", name="Upload", exact=True).press("Enter")
        opened.value.set_files([upload("good.png", GOOD)])
        wait_for_image(page, "good.png")


def test_everything_has_a_name_for_screen_readers(app, browser):
    with open_app(app, browser) as page:
        examine(page, upload("good.png", GOOD), upload("also good.png", GOOD))
        main = page.get_by_role("main")
        assert page.get_by_role("heading", level=1).count() == 1
        assert page.get_by_role("heading", level=2).count() == 1
        for role, name in [
            ("combobox", "Or a synthetic example"),
            ("combobox", "Image shown"),
            ("table", "All images"),
            ("img", "good.png"),
        ]:
            assert main.get_by_role(role, name=name, exact=True).count() == 1, name
        unnamed = [
            element.evaluate("element => element.outerHTML")
            for role in ("button", "combobox", "img", "link", "textbox", "checkbox", "table")
            for element in main.get_by_role(role, name=re.compile("^$")).all()
        ]
        assert unnamed == []


BEYOND = """() => {
  const main = document.querySelector("[data-testid=stMain]");
  return [document.documentElement.scrollWidth - innerWidth, main.scrollWidth - main.clientWidth,
          main.scrollHeight - main.clientHeight];
}"""


@pytest.mark.parametrize("width", [1400, 800, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits(width, scheme, app, browser):
    with open_app(app, browser, width, scheme=scheme) as page:
        examine(page, upload("good.png", GOOD))
        wait_for_image(page, "good.png")
        of_window, sideways, downward = page.evaluate(BEYOND)
        assert of_window <= 0
        assert sideways <= 0
        assert downward <= 0 or width < 1400


LINES = """cell => {
  const range = document.createRange();
  range.selectNodeContents(cell);
  return range.getClientRects().length;
}"""


def test_a_long_name_leaves_room_for_the_class(app, browser):
    with open_app(app, browser) as page:
        examine(page, upload(f"{'x' * 240}.png", GOOD), upload("good.png", GOOD))
        for cell in page.locator(".fb-table th").all():
            assert cell.evaluate(LINES) == 1
        assert page.locator(".fb-table td").nth(1).evaluate(LINES) <= 2  # with "(unlike)"


def test_the_results_are_downloaded(app, browser):
    with open_app(app, browser) as page:
        examine(page, upload("good.png", GOOD), upload("=empty.png", b""))
        with page.expect_download() as downloaded:
            download(page).click()
        assert downloaded.value.suggested_filename.endswith(".csv")
        with open(downloaded.value.path(), newline="", encoding="utf-8") as file:
            good, bad = csv.DictReader(file)
    assert good["image"] == "good.png"
    assert good["predicted"] in ("benign", "malignant", "normal")
    chances = [float(value) for name, value in good.items() if name.startswith("probability_")]
    assert sum(chances) == pytest.approx(1)
    assert good["error"] == ""
    assert bad["image"] == "'=empty.png"  # no formula in a spreadsheet
    assert bad["predicted"] == ""
    assert bad["error"]
