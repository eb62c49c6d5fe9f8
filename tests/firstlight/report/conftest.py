"""A browser for the tests of the report page."""

import pytest

from support.browser import record_problems, start_browser


@pytest.fixture(scope="module")
def browser():
    with start_browser() as browser:
        yield browser


@pytest.fixture
def open_page(browser, page):
    """A function that opens the page; console messages, dialogs and network requests fail the test."""
    problems, contexts, addresses = [], [], []

    def open_tab(width: int = 1280, scheme: str = "light"):
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme))
        tab = contexts[-1].new_page()
        record_problems(tab, problems, addresses)
        tab.goto(page.as_uri())
        tab.wait_for_selector("#curves-chart .scatterlayer .trace", state="attached")
        return tab

    yield open_tab
    for context in contexts:
        context.close()
    assert problems == []
    assert [address for address in addresses if not address.startswith((page.as_uri(), "data:", "blob:"))] == []
