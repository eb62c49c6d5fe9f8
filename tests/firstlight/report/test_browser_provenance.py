"""Tests of uncommitted changes, packages and differences on the report page in a real browser."""

import pytest

from support.browser import open_details
from support.runs import HOSTILE, write_page, write_provenance, write_run

pytestmark = pytest.mark.slow

CONFIG = "output_dir: o\nmodel: {{width: {0}, __proto__: {0}, constructor: 1}}\n"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    logs = tmp_path_factory.mktemp("report") / "logs"
    for number, name in enumerate("abc"):
        started = f"2026-11-20T1{9 - number}:00:00Z"
        run_dir = write_run(logs / name, [f"seed={number}"], accuracy=0.9 - number / 10, started=started)
        if name != "c":
            diff = f"diff --git a/{name} b/{name}\n--- a/x\n+++ b/x\n-old\n+{HOSTILE}\n same\n"
            write_provenance(run_dir, diff, f"numpy==2.0\ntorch==2.{number}\n", CONFIG.format(number))
    return write_page(logs)


def get_rows(tab):
    rows = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    return tab.eval_on_selector_all("#differences-table tbody tr", rows)


def get_lines(tab, selector):
    return tab.eval_on_selector_all(selector, "all => all.map(line => [line.className, line.textContent])")


def test_uncommitted_changes_and_packages_of_the_selected_run_are_shown(open_page):
    tab = open_page()
    assert tab.query_selector("#run-diff pre").text_content() == ""
    assert tab.query_selector("#run-diff summary").text_content() == "Uncommitted changes (6 lines)"
    open_details(tab, "#run-diff")
    open_details(tab, "#run-packages")

    assert get_lines(tab, "#run-diff pre span") == [
        ["file", "diff --git a/a b/a\n"],
        ["", "--- a/x\n"],
        ["", "+++ b/x\n"],
        ["removed", "-old\n"],
        ["added", f"+{HOSTILE}\n"],
        ["", " same\n"],
    ]
    assert tab.query_selector("#run-packages pre").text_content() == "numpy  2.0\ntorch  2.0\n"
    assert tab.eval_on_selector("#run-diff pre", "box => box.clientHeight") <= 400


def test_run_without_a_record_of_changes_shows_none(open_page):
    tab = open_page()
    tab.select_option("#run-name", label="c (finished)")

    assert not tab.is_visible("#run-diff")
    assert not tab.is_visible("#run-packages")


def test_differences_between_two_runs_are_listed(open_page):
    tab = open_page()

    assert get_rows(tab) == [
        ["overrides"],
        ["seed", "0", "1"],
        ["config"],
        ["model.__proto__", "0", "1"],
        ["model.width", "0", "1"],
        ["packages"],
        ["torch", "2.0", "2.1"],
    ]
    tab.select_option("#differences-second", label="c")
    assert ["model.constructor", "1", "\N{EN DASH}"] in get_rows(tab)
    tab.select_option("#differences-second", label="a")
    assert get_rows(tab) == []
    assert tab.query_selector("#differences-remark").text_content().startswith("No differences in overrides, config, ")


@pytest.mark.parametrize("width", [390, 1280])
def test_page_does_not_scroll_sideways(open_page, width):
    tab = open_page(width=width)
    open_details(tab, "#run-diff")

    assert tab.evaluate("document.documentElement.scrollWidth") <= width
