"""Tests of the page of the demo in a real browser, with real models."""

from contextlib import contextmanager

import pytest

pytest.importorskip("starlette", reason="starlette is not installed: uv pip install -e '.[live]'")

from PIL import Image

from support.browser import get_texts, record_problems, start_browser, wait_until
from support.exports import train_for_export
from support.local_page import start_page, stop_page

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    with start_browser() as browser:
        yield browser


@pytest.fixture(params=["desktop", "phone"])
def tab(browser, request):
    """A tab whose console messages and dialogs fail the test, as do requests to another host."""
    problems, addresses = [], []
    sizes = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 375, "height": 700}}
    context = browser.new_context(viewport=sizes[request.param])
    tab = context.new_page()
    record_problems(tab, problems, addresses)
    tab.problems = problems
    yield tab
    context.close()
    assert problems == []
    hosts = {address.split("/")[2].split(":")[0] for address in addresses if not address.startswith("blob:")}
    assert hosts == {"127.0.0.1"}


@contextmanager
def serve(run_dir):
    """Start `make demo` with the last checkpoint of a run; yield the address. Ctrl-C ends it."""
    process, line = start_page("demo", f"run={run_dir}", "ckpt=last", "trainer=cpu", "port=20001")
    assert line.startswith(f"Demo of {run_dir.name}: http://127.0.0.1:"), line + process.stdout.read()
    try:
        yield line.partition(": ")[2].split()[0]
    finally:
        assert stop_page(process) == (130, "demo: stopped by SIGINT.\n")


@pytest.fixture(scope="module")
def image_demo(tmp_path_factory):
    run_dir = train_for_export("tiny_images", tmp_path_factory.mktemp("images") / "run <b>x<b>")[0]
    with serve(run_dir) as address:
        yield address


@pytest.fixture(scope="module")
def text_demo(tmp_path_factory):
    pytest.importorskip("transformers", reason="the extra text is not installed")
    run_dir = train_for_export("tiny_text", tmp_path_factory.mktemp("text") / "run")[0]
    with serve(run_dir) as address:
        yield address


def wait_for_status(tab, text):
    wait_until(tab, lambda: tab.text_content("#status").startswith(text))


def has_no_horizontal_scrollbar(tab):
    return tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_image_is_classified_after_wrong_files(tab, image_demo, tmp_path):
    Image.effect_noise((64, 48), 90).convert("RGB").save(tmp_path / "noise.png")
    (tmp_path / "paper.pdf").write_bytes(b"%PDF-1.7\n")
    (tmp_path / "large.png").write_bytes(bytes(60 * 10**6))
    (tmp_path / "empty.png").touch()
    tab.goto(image_demo)
    messages = {
        "paper.pdf": "The file cannot be read as an image: it is in none of the formats JPEG",
        "large.png": "The file is larger than 32 MiB.",
        "empty.png": "The file cannot be read as an image: the file is empty.",
    }
    for name, message in messages.items():
        tab.set_input_files("#file", tmp_path / name)
        wait_for_status(tab, message)
        assert tab.get_attribute("#status", "class") == "error"
        assert not tab.is_visible("#prediction")
    # The browser reports each answer with status 4xx. The large file was not sent.
    assert len(tab.problems) == 2
    assert all("status of 400" in problem for problem in tab.problems)
    tab.problems.clear()
    tab.set_input_files("#file", tmp_path / "noise.png")
    wait_for_status(tab, "noise.png")

    wait_until(tab, lambda: tab.is_visible("#preview"))
    assert tab.text_content("h1") == "run <b>x<b>"
    names, values = get_texts(tab, "#rows .name"), get_texts(tab, "#rows .value")
    assert sorted(names) == ["class 0", "class 1"]
    assert tab.text_content("#answer") == names[0]
    assert sum(float(value.removesuffix(" %")) for value in values) == pytest.approx(100, abs=0.2)
    width = tab.evaluate(
        "document.querySelector('.bar > div').offsetWidth / document.querySelector('.bar').offsetWidth"
    )
    assert width == pytest.approx(float(values[0].removesuffix(" %")) / 100, abs=0.02)
    assert has_no_horizontal_scrollbar(tab)


def test_dropped_image_is_classified(tab, image_demo, tmp_path):
    Image.effect_noise((64, 48), 90).convert("RGB").save(tmp_path / "noise.png")
    tab.goto(image_demo)
    transfer = tab.evaluate_handle(
        """(bytes) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], 'dropped.png', { type: 'image/png' }));
          return transfer;
        }""",
        list((tmp_path / "noise.png").read_bytes()),
    )
    tab.dispatch_event("#drop", "dragover", {"dataTransfer": transfer})
    assert "over" in tab.get_attribute("#drop", "class")
    tab.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    wait_for_status(tab, "dropped.png")

    assert tab.text_content("#answer").startswith("class ")


def test_text_is_classified_after_wrong_texts(tab, text_demo):
    tab.goto(text_demo)
    tab.click("button")
    wait_for_status(tab, "The text is empty.")
    tab.fill("#input", "x" * 1_000_000)
    tab.click("button")
    wait_for_status(tab, "The text is larger than 100 kB.")
    assert [problem for problem in tab.problems if "status of 400" not in problem] == []
    tab.problems.clear()
    tab.fill("#input", "word1 word2 <b>word3</b>")
    tab.press("#input", "Control+Enter")
    wait_until(tab, lambda: tab.is_visible("#prediction"))

    assert tab.text_content("#answer") == get_texts(tab, "#rows .name")[0]
    assert not tab.is_visible("#preview")
    assert has_no_horizontal_scrollbar(tab)
