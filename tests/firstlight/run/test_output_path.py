"""Tests of output paths: an input, a file of another program and a path that cannot be written are rejected."""

import os
from pathlib import Path

import pytest

from firstlight.run.errors import ConfigError
from firstlight.run.output_path import validate_new_dir, validate_output_file, validate_run_dir

SUFFIXES = (".csv", ".tsv")


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.csv").write_text("id,text\n1,a\n")


@pytest.mark.parametrize("output", ["new.csv", "deep/er/new.TSV", "./new.tsv", "a b,c [1].csv", "empty.csv"])
def test_new_and_empty_files_are_valid(output):
    Path("empty.csv").touch()

    assert validate_output_file(output, SUFFIXES, [Path("mine.csv")]) == Path(output)
    assert not Path("deep").exists()


@pytest.mark.parametrize("output", ["p.parquet", "p", "p.csv.gz", "-", "p.", ".csv"])
def test_other_suffixes_are_rejected(output):
    with pytest.raises(ConfigError, match="Invalid value for output: expected a file name ending in .csv or .tsv"):
        validate_output_file(output, SUFFIXES)


@pytest.mark.parametrize("output", [None, 3, "", " "])
def test_other_values_are_rejected(output):
    with pytest.raises(
        ConfigError, match="Invalid value for output: expected a file path, got .* Use e.g. output=resul"
    ):
        validate_output_file(output, SUFFIXES)


def make_symlink():
    Path("other.csv").symlink_to("mine.csv")
    return "other.csv"


def make_symlink_chain():
    Path("other.csv").symlink_to("second.csv")
    Path("second.csv").symlink_to("mine.csv")
    return "other.csv"


def make_hard_link():
    os.link("mine.csv", "other.csv")
    return "other.csv"


def make_linked_directory():
    Path("linked").symlink_to(".")
    return "linked/mine.csv"


@pytest.mark.parametrize(
    "make_path",
    [
        lambda: "mine.csv",
        lambda: "./mine.csv",
        lambda: f"{Path.cwd()}/mine.csv",
        lambda: "../{}/mine.csv",
        make_symlink,
        make_symlink_chain,
        make_hard_link,
        make_linked_directory,
    ],
)
def test_output_is_never_an_input(make_path):
    path = make_path().format(Path.cwd().name)
    with pytest.raises(ConfigError, match="would overwrite the input mine.csv. Choose another file."):
        validate_output_file(path, SUFFIXES, [Path("mine.csv")], is_own=lambda path: True)


def test_link_to_a_missing_input_is_rejected():
    Path("other.csv").symlink_to("later.csv")
    with pytest.raises(ConfigError, match="would overwrite the input later.csv"):
        validate_output_file("other.csv", SUFFIXES, [Path("later.csv")])


def test_file_of_another_program_is_rejected():
    with pytest.raises(ConfigError, match="mine.csv already exists, and this command did not write it. Choose another"):
        validate_output_file("mine.csv", SUFFIXES)


def test_own_file_is_replaced():
    assert validate_output_file("mine.csv", SUFFIXES, is_own=lambda path: True) == Path("mine.csv")


def test_link_to_a_file_is_written_at_its_target(tmp_path):
    Path("big").mkdir()
    Path("link.csv").symlink_to("big/results.csv")

    assert validate_output_file("link.csv", SUFFIXES) == tmp_path / "big" / "results.csv"


@pytest.mark.parametrize("output", [".", "directory.csv", "new/"])
def test_directories_are_rejected(output):
    Path("directory.csv").mkdir()
    with pytest.raises(ConfigError, match="is a directory, but output= expects a file. Use e.g. output=.*results.csv"):
        validate_output_file(output, SUFFIXES)


@pytest.mark.parametrize("output", ["mine.csv/x.csv", "/proc/x.csv", "/proc/a/b/x.csv"])
def test_directory_that_cannot_be_written_is_rejected(output):
    with pytest.raises(ConfigError, match="Cannot write to .*. Choose another location with output=<file>"):
        validate_output_file(output, SUFFIXES)


def test_devices_are_valid_with_any_suffix():
    os.mkfifo("pipe")

    assert [validate_output_file(path, SUFFIXES) for path in ("/dev/stdout", "/dev/null", "pipe")]


@pytest.mark.parametrize("output_dir", ["new/deep", "empty"])
def test_new_and_empty_directories_are_valid(output_dir):
    Path("empty").mkdir()

    assert validate_new_dir(output_dir, "output_dir") == Path(output_dir)
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("output_dir", "message"),
    [
        (
            ".",
            ". is not empty, and its files could be overwritten. Choose a new directory with output_dir=<directory>.",
        ),
        ("mine.csv", "mine.csv is not a directory. Choose another location with output_dir=<directory>."),
        ("mine.csv/new", "Cannot write to mine.csv/new: "),
        ("/proc/new", "Cannot write to /proc/new: "),
        ("dangling", "dangling is not a directory."),
    ],
)
def test_other_directories_are_rejected(output_dir, message):
    Path("dangling").symlink_to("nowhere")
    with pytest.raises(ConfigError) as caught:
        validate_new_dir(output_dir, "output_dir")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "output.log", "checkpoints", "predictions"])
def test_run_does_not_start_in_a_directory_of_another_program(name):
    Path("project").mkdir()
    Path("project", name).mkdir() if "." not in name else Path("project", name).touch()
    with pytest.raises(ConfigError, match=f"project contains {name}, but no run. Choose another location"):
        validate_run_dir(Path("project"))
    Path("project/run.previous.json").touch()
    validate_run_dir(Path("project"))


def test_run_starts_in_new_directories_and_among_other_files():
    validate_run_dir(Path("new"))
    validate_run_dir(Path())
    with pytest.raises(ConfigError, match="mine.csv is not a directory. Choose another location with output_dir="):
        validate_run_dir(Path("mine.csv"))
