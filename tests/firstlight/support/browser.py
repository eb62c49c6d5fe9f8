"""A real browser for the tests of pages: Debian's Chromium, driven by playwright, which only these tests require."""

import shutil
from contextlib import contextmanager

import pytest


@contextmanager
def start_browser():
    """Yield the browser; the test is skipped where it is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: uv pip install playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def record_problems(tab, problems, addresses):
    """Append console messages, errors and dialogs of a tab to `problems`, and its requests to `addresses`."""
    tab.on("console", lambda message: problems.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: problems.append(f"error: {error}"))
    tab.on("dialog", lambda dialog: (problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    tab.on("request", lambda request: addresses.append(request.url))


def wait_until(tab, condition, timeout_s=30):
    """Wait until a condition is true. The tab's `wait_for_function` evaluates text, which the page's policy forbids."""
    for _ in range(10 * timeout_s):
        if condition():
            return
        tab.wait_for_timeout(100)
    raise TimeoutError(f"the condition is still false after {timeout_s} seconds")


def open_details(tab, selector):
    """Open a details element, whose text is built in a toggle event: the browser sends it after the click."""
    tab.click(f"{selector} summary")
    wait_until(tab, lambda: tab.text_content(f"{selector} pre"))


def get_texts(tab, selector):
    """Return the texts of all elements that match a selector."""
    return tab.eval_on_selector_all(selector, "elements => elements.map(element => element.textContent)")
