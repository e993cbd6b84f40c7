"""The page of a model: seconds from an upload to its result, in a browser.

python benchmarks/comparisons/app_first_result.py MODEL [IMAGE] [--repeats 5]

Runs `featbus app` and headless Chromium (pip install playwright; apt-get install chromium).
Every upload is the first of a new session; without IMAGE, it is a synthetic ultrasound image of
480 x 640 pixels. The class comes first; the page is complete when the results can be downloaded.
"""

import argparse
import io
import shutil
import socket
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from PIL import Image
from playwright.sync_api import sync_playwright

from featbus import make_breast_ultrasound

WAIT = 120_000  # milliseconds


@contextmanager
def run_app(model):
    """Run the page of a model and return its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "featbus", "app", model, f"--port={port}", "--browser=false"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/_stcore/health", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def wait_for(url, process):
    """Wait until a page answers."""
    while process.poll() is None:
        try:
            return urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"The page stopped with status {process.returncode}.")


def measure(browser, url, content):
    """Return the seconds from an upload to the class, and to the complete page."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    page.goto(url)
    chooser = page.locator("input[type=file]")
    chooser.wait_for(state="attached", timeout=WAIT)
    file = {"name": "image.png", "mimeType": "image/png", "buffer": content}
    start = time.perf_counter()
    chooser.set_input_files([file])
    page.get_by_text("Predicted class", exact=True).wait_for(timeout=WAIT)
    first = time.perf_counter() - start
    page.get_by_role("button", name="Download results (CSV)").wait_for(timeout=WAIT)
    complete = time.perf_counter() - start
    context.close()
    return first, complete


def make_image():
    """Return a synthetic image as a PNG."""
    file = io.BytesIO()
    pixels = make_breast_ultrasound(1, image_shape=(480, 640), random_state=0).images[0]
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def main():
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="the file that `featbus train` wrote")
    parser.add_argument("image", nargs="?", type=Path, help="an image; default: a synthetic one")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    content = options.image.read_bytes() if options.image else make_image()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with run_app(options.model) as url, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium)
        times = [measure(browser, url, content) for _ in range(options.repeats)]
        browser.close()
    for name, seconds in zip(("class", "complete"), zip(*times)):
        print(
            f"{name:9}  first {seconds[0]:.2f} s, median {statistics.median(seconds):.2f} s, "
            f"slowest {max(seconds):.2f} s"
        )


if __name__ == "__main__":
    main()
