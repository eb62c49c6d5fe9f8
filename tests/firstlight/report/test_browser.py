"""How the page behaves in a real browser."""

import shutil

import pytest

from firstlight.report import __main__ as report
from support.runs import HOSTILE, cfg, write_logs, write_page, write_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write_page(write_logs(tmp_path_factory.mktemp("report") / "logs"))


@pytest.fixture(scope="module")
def browser():
    """Return Debian's Chromium under playwright, which is installed for these tests only."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: uv pip install playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser, page):
    """Return a function that opens a page; what it tells the console or asks of a network fails the test."""
    complaints, contexts, addresses = [], [], []

    def open_(width: int = 1280, scheme: str = "light"):
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: complaints.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        tab.on("request", lambda request: addresses.append(request.url))
        tab.goto(page.as_uri())
        tab.wait_for_selector("#curves-chart .scatterlayer .trace", state="attached")
        return tab

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []
    assert [each for each in addresses if not each.startswith((page.as_uri(), "data:", "blob:"))] == []


def everywhere(tab):
    """Scroll through the page, so that all charts are drawn."""
    for chart in tab.query_selector_all(".chart"):
        if chart.is_visible():
            chart.scroll_into_view_if_needed()
            until(tab, lambda chart=chart: chart.query_selector(".main-svg"))


def until(tab, done):
    """Wait until something holds; the tab's own `wait_for_function` evaluates text, which the page forbids."""
    for _ in range(100):
        if done():
            return
        tab.wait_for_timeout(100)
    raise TimeoutError("10 seconds have passed")


def names(tab):
    return texts(tab, "#table tbody tr:not([hidden]) td button")


def texts(tab, selector):
    return tab.eval_on_selector_all(selector, "all => all.map(each => each.textContent)")


def sorted_by(tab):
    return tab.eval_on_selector_all(
        "#table th", "all => all.map(th => [th.textContent, th.ariaSort]).filter(([, way]) => way && way !== 'none')"
    )


def curves_of(tab):
    return tab.evaluate("document.getElementById('curves-chart').data.map(each => each.name)")


def test_a_click_sorts_and_another_turns_it_round(opened):
    tab = opened()
    assert sorted_by(tab) == [["started", "descending"]]

    tab.click("#table th button:text-is('test/accuracy')")
    assert names(tab)[:4] == [f"sweep/now/{number}_x" for number in (3, 2, 1, 0)]
    tab.click("#table th button:text-is('test/accuracy')")
    assert names(tab)[:4] == [f"sweep/now/{number}_x" for number in (0, 1, 2, 3)]
    assert sorted_by(tab) == [["test/accuracy", "ascending"]]


def test_the_keyboard_sorts_and_chooses(opened):
    tab = opened()
    tab.focus("#choose-none")
    tab.keyboard.press("Enter")
    tab.focus("#table th button:text-is('run')")
    tab.keyboard.press("Enter")
    first = names(tab)[0]
    tab.focus("#table tbody tr:first-child input")
    tab.keyboard.press("Space")

    assert first == "sweep/now/0_x"
    assert sorted_by(tab) == [["run", "ascending"]]
    assert curves_of(tab) == [first]
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_the_filter_looks_into_all_columns(opened):
    tab = opened()
    tab.fill("#filter", "FAILED broke")
    assert names(tab) == ["train/failed"]
    tab.fill("#filter", "wide 0123")
    assert len(names(tab)) == 4
    tab.fill("#filter", "nothing at all")
    assert names(tab) == []
    assert tab.text_content("#shown") == "0 of 7 runs"


def test_two_chosen_runs_are_two_curves(opened):
    tab = opened()
    tab.click("#choose-none")
    assert curves_of(tab) == []
    for name in ("sweep/now/1_x", "train/running"):
        tab.check(f"input[aria-label='Draw {name}']")
    assert curves_of(tab) == ["sweep/now/1_x", "train/running"]
    assert texts(tab, "#curves-legend li") == curves_of(tab)

    tab.select_option("#curves-over", "epoch")
    last = tab.evaluate("document.getElementById('curves-chart').data[0].x.at(-1)")
    assert last == 1  # the twentieth step ends the first epoch


def test_a_setting_is_drawn_against_a_figure_and_throughput(opened):
    tab = opened()
    everywhere(tab)
    tab.select_option("#settings-name", "data.batch_size")
    tab.select_option("#settings-colour", "")
    tab.fill("#filter", "wide")
    points = tab.evaluate("document.getElementById('settings-chart').data.find(each => each.mode === 'markers')")
    assert sorted(zip(points["x"], points["y"], strict=True)) == [(16, 0.5), (16, 0.6), (32, 0.7), (32, 0.8)]
    tab.locator("#speed-chart").scroll_into_view_if_needed()
    speeds = tab.evaluate("document.getElementById('speed-chart').data.find(each => each.mode === 'markers').y")
    assert sorted(speeds) == [500, 600, 700, 800]


def test_a_hostile_name_stays_text_in_tables_and_charts(opened):
    tab = opened()
    tab.click("#table td button:text-is('sweep/now/3_x')")
    tab.wait_for_selector("#matrix-chart .main-svg")
    assert tab.text_content("#classes tbody td") == HOSTILE
    ticks = [text for text in texts(tab, "#matrix-chart .ytick") if text]
    assert ticks == [f"{HOSTILE[:15]}…", "<b>x</b> & y"]
    assert "wrong: <b>x</b> & y" in tab.text_content("#samples")
    assert "<i>right</i>" in tab.text_content("#samples")
    assert tab.eval_on_selector("#samples img", "image => image.naturalWidth") == 1
    assert not tab.query_selector_all("main script, main b, main i")


def test_light_and_dark_follow_the_system_in_charts_too(opened):
    tab = opened(scheme="dark")
    everywhere(tab)
    chart = "document.getElementById('curves-chart').layout.font.color"
    colours = f"[getComputedStyle(document.body).backgroundColor, {chart}]"
    dark = tab.evaluate(colours)
    tab.emulate_media(color_scheme="light")
    tab.evaluate("scrollTo(0, 0)")
    until(tab, lambda: tab.evaluate(colours)[1] != dark[1])

    assert dark == ["rgb(18, 22, 28)", "#e6eaf0"]
    assert tab.evaluate(colours) == ["rgb(246, 247, 249)", "#1b2430"]


def test_a_phone_scrolls_tables_in_their_boxes_and_never_the_page_sideways(opened):
    tab = opened(width=360)
    everywhere(tab)

    assert tab.evaluate("document.documentElement.scrollWidth") == 360
    assert tab.evaluate("document.querySelector('#runs .box').scrollWidth") > 360


def test_failures_and_benchmarks_are_shown(opened):
    tab = opened()
    everywhere(tab)
    text = tab.text_content("#failures-list")

    assert "failed train/failed: ValueError: it broke" in text
    assert "line 99" in text
    assert "damaged train/half: run.json is half-written" in text
    assert tab.eval_on_selector_all("#benchmark-0 .bars .point", "all => all.length") == 1


def test_two_hundred_runs_open_within_two_seconds(browser, tmp_path):
    for number in range(200):
        words = [f"seed={number}", f"data.batch_size={number % 7}"]
        write_run(tmp_path / f"{number}_x", words, rows=1000, accuracy=number / 200)
    file = report.main(cfg(f"runs={tmp_path}"))

    # The best of three: work beside it on the same cores slows the memory too.
    assert min(seconds_to_open(browser, file) for _ in range(3)) < 2
    assert file.stat().st_size < 20e6


def seconds_to_open(browser, file):
    """Return how long the page's thread works until its table and first chart are there."""
    tab = browser.new_page()
    session = tab.context.new_cdp_session(tab)
    # Seconds of the thread, not of the clock: when others have the machine, it waits.
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    tab.goto(file.as_uri(), wait_until="commit")
    tab.wait_for_selector("#curves-chart .scatterlayer .trace", state="attached")
    measured = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    assert len(names(tab)) == 200
    assert len(curves_of(tab)) == 8
    tab.close()
    return measured["TaskDuration"]
