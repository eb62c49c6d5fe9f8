"""Uncommitted changes, packages and configs of runs on the page: contained, bounded and stored once."""

import json

import pytest

from firstlight.page.render import render
from firstlight.run_data import provenance
from firstlight.run_data.collect import collect_report
from firstlight.run_data.differences import load_flat_config, load_run_parts
from support.runs import HOSTILE, write_provenance, write_run


def collect(logs):
    content = collect_report([logs])
    return content.provenance, [content.provenance["runs"].get(str(index)) for index in range(len(content.details))]


def test_equal_texts_are_stored_once(tmp_path):
    for name in ("a", "b", "c"):
        diff = "+other\n" if name == "c" else "+same\n"
        write_provenance(write_run(tmp_path / name), diff, "torch==1\n", f"output_dir: x\nseed: {name}\nsize: 3\n")
    content, runs = collect(tmp_path)

    assert sorted(content["diffs"]) == ["+other\n", "+same\n"]
    assert content["packages"] == [{"torch": "1"}]
    assert {key: content["config"][key] for key in ("size",)} == {"size": "3"}
    assert sorted(len(run["config"]) for run in runs) == [0, 1, 1]


def test_markup_in_a_diff_is_escaped(tmp_path):
    write_provenance(write_run(tmp_path / "a"), f"+{HOSTILE}\n", f"x @ {HOSTILE} # 1\n", f"output_dir: '{HOSTILE}'\n")

    assert HOSTILE not in render(collect_report([tmp_path]))


def test_size_on_the_page_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "MAX_DIFF_LENGTH", 1_000)
    monkeypatch.setattr(provenance, "MAX_TOTAL_LENGTH", 9_000)
    for number in range(12):
        config = "output_dir: x\n" + "".join(f"k{key}: {number}{'v' * 900}\n" for key in range(3))
        run_dir = write_run(tmp_path / f"{number:02d}")
        write_provenance(run_dir, f"{number}" * 5_000, f"torch=={number}\n", config)
    content, runs = collect(tmp_path)

    assert len(json.dumps(content)) < 10_000
    assert {len(diff) for diff in content["diffs"]} == {1_000}
    assert runs[0]["diff_remark"].startswith("Truncated. Complete text: ")
    assert None in runs


@pytest.mark.parametrize("name", ["../private", "{private}", "provenance/link", "run.json", "provenance/pipe", "\0", 3])
def test_file_outside_of_the_provenance_directory_is_not_read(tmp_path, name):
    import os

    private = tmp_path / "private"
    private.write_text("private")
    run_dir = write_provenance(write_run(tmp_path / "logs/a"), "+x\n", "torch==1\n")
    (run_dir / "provenance/link").symlink_to(private)
    os.mkfifo(run_dir / "provenance/pipe")
    record = json.loads((run_dir / "run.json").read_text())
    name = name.format(private=private) if isinstance(name, str) else name
    record["attempts"] = [{"provenance": {"diff": name, "packages": name}}]
    (run_dir / "run.json").write_text(json.dumps(record))
    content, runs = collect(tmp_path / "logs")

    assert content["diffs"] == []
    assert runs[0]["diff"] is None
    assert load_run_parts(run_dir)["packages"] == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "a: [",
        "a: &x [1]\nb: *x",
        "[" * 100_000,
        "a: !!python/object/apply:os.getcwd []",
        "\0",
        "a: " + "1" * 3_000_000,
    ],
    ids=range(8),
)
def test_corrupt_config_is_left_out(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)

    assert load_flat_config(tmp_path) == {}


@pytest.mark.parametrize("attempts", [3, [], [3], [{"provenance": 3}], [{"provenance": {"diff": {}}}]])
def test_record_with_wrong_types_has_no_files(tmp_path, attempts):
    run_dir = write_run(tmp_path / "a")
    record = json.loads((run_dir / "run.json").read_text())
    fields = {"attempts": attempts, "git": 3, "machine": [1], "versions": {"torch": 2}, "overrides": {}}
    (run_dir / "run.json").write_text(json.dumps({**record, **fields}))
    _, runs = collect(tmp_path)

    assert (runs[0]["diff"], runs[0]["parts"]["source code"]) == (None, {})
    assert load_run_parts(run_dir)["packages"] == {"torch": "2"}
