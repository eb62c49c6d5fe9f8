"""Tests of `make report`: the HTML file, the printed line, and error messages."""

import hashlib
import json
import re

import pytest

from firstlight.page.render import PLOTLY, read_resource, to_embedded_json
from firstlight.report import __main__ as report
from firstlight.run.errors import UserError
from support.runs import HOSTILE, compose_report_config, write_logs, write_page, write_run


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    return write_logs(tmp_path_factory.mktemp("report") / "logs")


@pytest.fixture(scope="module")
def page(logs):
    return write_page(logs)


def test_embedded_json_cannot_end_its_script_element():
    text = to_embedded_json({"name": "</script><!--&\u2028"})

    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"name": "</script><!--&\u2028"}


def test_page_is_self_contained(page):
    html = page.read_text().replace(read_resource(PLOTLY), "")

    assert HOSTILE not in html
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", html)
    assert "default-src 'none'" in html
    assert "innerHTML" not in html


def test_plotly_matches_published_bundle():
    digest = hashlib.sha256(read_resource(PLOTLY).encode()).hexdigest()

    # SHA-256 of the file in the npm package plotly.js-cartesian-dist-min 4.1.1.
    assert digest == "79542150855a52c567260e3137095dbe2b744e6d702a5cabe67da246942fba7a"
    assert read_resource("plotly/LICENSE").startswith("MIT License")


def test_command_writes_page_and_prints_path(logs, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    output_path = logs.parent / "new" / "page.html"

    report.main(compose_report_config(f"runs={logs}", f"output={output_path}", "open_browser=true"))

    line = capsys.readouterr().out
    assert line.startswith(f"Report: {output_path} (")
    assert " MB) · 7 runs (4 finished, " in line
    assert line.endswith(" · 1 benchmark\n")
    assert opened == [output_path.as_uri()]
    assert [output_path.name] == [file.name for file in output_path.parent.iterdir()]


def test_default_output_is_in_run_directory(tmp_path):
    write_run(tmp_path / "a")

    for _ in range(2):  # its own report is replaced
        assert report.main(compose_report_config(f"runs={tmp_path}"))["output"] == str(tmp_path / "report.html")


USE_LOGS = "does not exist. Use runs=logs, or the run directory printed by `make train`."
INVALID_RUNS = "Invalid value for runs: expected a directory or a list of directories, got"


INVALID_ARGUMENTS = [
    (["runs={tmp}/none"], "Directory {tmp}/none does not exist. Use e.g. runs={tmp}/empty."),
    (["runs={tmp}/no/ne"], f"Directory {{tmp}}/no/ne {USE_LOGS}"),
    (["runs=none_such"], f"Directory none_such {USE_LOGS}"),
    (["runs={tmp}/file"], "{tmp}/file is a file, but runs= expects a directory. Use runs={tmp}."),
    (["runs={tmp}/empty"], "No runs (directories with run.json) found in {tmp}/empty. Run `make train` first."),
    (["runs=[]"], f"{INVALID_RUNS} []. Use e.g. runs=logs/sweep/<sweep>."),
    (["runs=3"], f"{INVALID_RUNS} 3."),
    (
        ["runs={tmp}", "open_browser=maybe"],
        "Invalid value for open_browser: expected true or false, got 'maybe'. Use open_browser=true.",
    ),
    (["runs={tmp}", "output=3"], "Invalid value for output: expected a file path, got 3."),
    (
        ["runs={tmp}", "output={tmp}"],
        "{tmp} is a directory, but output= expects a file. Use e.g. output={tmp}/report.html.",
    ),
    (["runs={tmp}", "output={tmp}/file/x.html"], "Cannot write to {tmp}/file: "),
    (
        ["runs={tmp}", "output={tmp}/x.pdf"],
        "Invalid value for output: expected a file name ending in .html or .htm",
    ),
    (
        ["runs={tmp}", "output={tmp}/site.html"],
        "{tmp}/site.html already exists, and this command did not write it.",
    ),
    (
        ["runs={tmp}/empty/linked"],
        "{tmp}/empty/linked/report.html is a link. Choose another location with",
    ),
]


@pytest.mark.parametrize(("overrides", "message"), INVALID_ARGUMENTS)
def test_invalid_arguments_raise_one_line(tmp_path, overrides, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "site.html").write_text("<!DOCTYPE html><html></html>")
    (tmp_path / "empty" / "linked").mkdir()
    (tmp_path / "empty" / "linked" / "report.html").symlink_to(tmp_path / "file")

    with pytest.raises(UserError) as error:
        report.main(compose_report_config(*(override.format(tmp=tmp_path) for override in overrides)))
    assert str(error.value).startswith(message.format(tmp=tmp_path))
    assert "\n" not in str(error.value)
