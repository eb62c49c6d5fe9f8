"""A browser for the tests of the report page."""

import shutil

import pytest


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, driven by playwright, which only these tests require."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: uv pip install playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, page):
    """A function that opens the page; console messages, dialogs and network requests fail the test."""
    problems, contexts, addresses = [], [], []

    def open_tab(width: int = 1280, scheme: str = "light"):
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: problems.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: problems.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: (problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        tab.on("request", lambda request: addresses.append(request.url))
        tab.goto(page.as_uri())
        tab.wait_for_selector("#curves-chart .scatterlayer .trace", state="attached")
        return tab

    yield open_tab
    for context in contexts:
        context.close()
    assert problems == []
    assert [address for address in addresses if not address.startswith((page.as_uri(), "data:", "blob:"))] == []
