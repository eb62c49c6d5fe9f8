"""`make report`: the file that it writes, and what it refuses."""

import hashlib
import json
import re

import pytest

from firstlight.report import __main__ as report
from firstlight.report.render import PLOTLY, read_resource, to_embedded_json
from support.runs import HOSTILE, cfg, write_logs, write_page, write_run


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    return write_logs(tmp_path_factory.mktemp("report") / "logs")


@pytest.fixture(scope="module")
def page(logs):
    return write_page(logs)


def test_data_cannot_end_its_element():
    text = to_embedded_json({"name": "</script><!--&\u2028"})

    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"name": "</script><!--&\u2028"}


def test_the_page_is_one_file_without_addresses(page):
    own = page.read_text().replace(read_resource(PLOTLY), "")

    assert HOSTILE not in own
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", own)
    assert "default-src 'none'" in own
    assert "innerHTML" not in own


def test_plotly_is_the_published_bundle_with_its_license():
    found = hashlib.sha256(read_resource(PLOTLY).encode()).hexdigest()

    # Of the file in the npm package plotly.js-cartesian-dist-min 4.1.1.
    assert found == "79542150855a52c567260e3137095dbe2b744e6d702a5cabe67da246942fba7a"
    assert read_resource("plotly/LICENSE").startswith("MIT License")


def test_the_command_writes_the_page_and_says_where(logs, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    output = logs.parent / "new" / "page.html"

    report.main(cfg(f"runs={logs}", f"output={output}", "open_browser=true"))

    told = capsys.readouterr().out
    assert "runs      7 (4 finished, " in told
    assert f"page      {output}, " in told
    assert opened == [output.as_uri()]
    assert [output.name] == [file.name for file in output.parent.iterdir()]


def test_the_page_lies_in_the_folder_that_is_shown(tmp_path):
    write_run(tmp_path / "a")

    assert report.main(cfg(f"runs={tmp_path}")) == tmp_path / "report.html"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["runs={tmp}/none"], "There is no folder {tmp}/none: the newest beside it is {tmp}/empty"),
        (["runs={tmp}/no/ne"], "There is no folder {tmp}/no/ne: type runs=logs, or the folder that a training printed"),
        (["runs=none_such"], "There is no folder none_such: type runs=logs, or the folder that a training printed"),
        (["runs={tmp}/file"], "runs takes folders, but {tmp}/file is a file: type runs={tmp}"),
        (["runs={tmp}/empty"], "A run is a folder with run.json, but there is none in {tmp}/empty: run `make train`"),
        (["runs=[]"], "runs is a folder or a list of folders, but runs=[]: type runs=logs/sweep/<folder>"),
        (["runs=3"], "runs is a folder or a list of folders, but runs=3"),
        (["runs={tmp}", "open_browser=maybe"], "open is true or false, but open_browser=maybe: type open_browser=true"),
        (["runs={tmp}", "output=3"], "output is a file, but output=3: type output=report.html"),
        (["runs={tmp}", "output={tmp}"], "output is a file, but {tmp} is a folder: type output={tmp}/report.html"),
        (["runs={tmp}", "output={tmp}/file/x"], "The page is written to {tmp}/file, but that cannot be written to ("),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_sentence(tmp_path, words, sentence):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()

    with pytest.raises(ValueError) as refused:
        report.main(cfg(*(word.format(tmp=tmp_path) for word in words)))
    assert str(refused.value).startswith(sentence.format(tmp=tmp_path))
    assert "\n" not in str(refused.value)
