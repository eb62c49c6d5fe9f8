"""Tests of the forms of `input=`: they are read, or named as not supported."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from firstlight.config.compose import compose_config
from firstlight.data.predict_inputs import find_input_paths
from firstlight.run.errors import DataError


@pytest.fixture(autouse=True)
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("photos/b.jpg", "photos/a.jpg", "photos/deep/c.jpg", "photos/d[1].jpg", "2024", "-x.jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("photos", ["photos"]),
        ("photos/a.jpg", ["photos/a.jpg"]),
        (["photos/b.jpg", "photos/a.jpg"], ["photos/b.jpg", "photos/a.jpg"]),
        (["photos/a.jpg", "photos/a.jpg"], ["photos/a.jpg"]),
        ("photos/?.jpg", ["photos/a.jpg", "photos/b.jpg"]),
        ("photos/**/*.jpg", ["photos/a.jpg", "photos/b.jpg", "photos/d[1].jpg", "photos/deep/c.jpg"]),
        (["photos/deep", "photos/[ab].jpg"], ["photos/deep", "photos/a.jpg", "photos/b.jpg"]),
        ("photos/d[1].jpg", ["photos/d[1].jpg"]),
        (2024, ["2024"]),
        ("-x.jpg", ["-x.jpg"]),
        (Path("photos"), ["photos"]),
    ],
)
def test_files_directories_patterns_and_lists_are_found(value, expected):
    assert [str(path) for path in find_input_paths(value)] == expected


def test_home_directory_is_expanded(tmp_path):
    assert find_input_paths("~/photos") == [tmp_path / "photos"]
    assert len(find_input_paths("~/photos/?.jpg")) == 2


def test_list_of_a_config_is_read():
    assert len(find_input_paths(OmegaConf.create(["photos/a.jpg", "photos/b.jpg"]))) == 2


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("-", r"input=- \(standard input\) is not supported. Save the inputs to a file"),
        ("https://example.org/a.jpg?size=2", "input=https://.* is a URL, which is not supported. Download the file"),
        ("s3://bucket/a", "is a URL, which is not supported"),
        ("photos/*.png", r"No file matches input=photos/\*.png. Use e.g. 'input=photos/\*\*/\*.jpg'"),
        (
            "nothing.csv",
            "input=nothing.csv does not exist. Use a file, a directory, a glob pattern or a list of these.",
        ),
        ("Is this spam? Yes!", "does not exist. .* To predict a single text, save it in a CSV file with a header."),
        ("word " * 2000, r"input=(word )+\.\.\. does not exist"),
        ("a\0b", "does not exist"),
        ([], r"expected a file, a directory, a glob pattern or a list of these, got \[\]. Use e.g. input=photos/."),
        ("", "expected a file, a directory"),
        (["photos", None], "expected a file, a directory, .* got null"),
        (True, "expected a file, a directory, .* got true"),
        (["photos", "none"], "input=none does not exist"),
    ],
)
def test_other_forms_are_named_in_one_short_line(value, message):
    with pytest.raises(DataError, match=message) as caught:
        find_input_paths(value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", ["photos/*.jpg", "[photos/a.jpg,photos/b.jpg]", "https://x.org/a.jpg", "-", "2024"])
def test_hydra_parses_every_form(value):
    cfg = compose_config("report", [f"runs={value}"])

    assert cfg.runs is not None
