"""Headless Chromium, driven by Playwright."""

import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def open_browser():
    """Start the system's Chromium; skip the test where it or Playwright is missing."""
    reason = "no Playwright to drive a browser: pip install playwright"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@contextmanager
def open_page(browser, url, width, *, height=900, scheme="light", **options):
    """Load a page into a window of a size in CSS pixels, without anything of other windows."""
    size = {"width": width, "height": height}
    context = browser.new_context(
        viewport=size, is_mobile=width < 600, color_scheme=scheme, **options
    )
    context.set_default_timeout(30_000)
    try:
        page = context.new_page()
        page.goto(url)
        yield page
    finally:
        context.close()
