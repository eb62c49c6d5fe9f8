"""Paths are accepted as people type them."""

import re

import pytest

from firstlight.config.compose import compose_config
from firstlight.config.path_overrides import normalize_path_overrides
from firstlight.run.errors import CheckpointError
from firstlight.run.text import format_override
from firstlight.sweep.plan import expand_jobs_or_corners, is_sweep_override
from support.tiny_training import OVERRIDES

NAMES = [
    "a (b)",
    "a,b",
    "[c]",
    "{d}",
    "ü 日本",
    "it's",
    'say "x"',
    "a=b",
    "a#b;c&d",
    "caf\udce9",
    "$x",
    "a\\b",
    "~",
    "x'y,z",
]


@pytest.mark.parametrize("name", NAMES)
def test_existing_path_is_accepted_as_it_is(tmp_path, name):
    path = tmp_path / name
    path.mkdir()
    cfg = compose_config("train", [*OVERRIDES, f"output_dir={path}"])

    assert cfg.output_dir == str(path)


@pytest.mark.parametrize("name", ["new (b)", "new,b", "ü 日本", "a=b", "a#b", "$x"])
def test_path_that_does_not_exist_yet_is_accepted(tmp_path, name):
    assert compose_config("train", [*OVERRIDES, f"output_dir={tmp_path}/{name}"]).output_dir == f"{tmp_path}/{name}"


@pytest.mark.parametrize("value", ["~/x", "'~/x'", '"~/x"', "~/a (b)"])
def test_tilde_is_the_home_directory(tmp_path, monkeypatch, value):
    monkeypatch.setenv("HOME", str(tmp_path / "home dir"))
    cfg = compose_config("train", [*OVERRIDES, f"output_dir={value}"])

    assert cfg.output_dir == str(tmp_path / "home dir" / value.strip("'\"")[2:])


@pytest.mark.parametrize(
    "override",
    [
        "run=logs/train/x",
        "output=auto",
        "resume=null",
        "data.root=${oc.env:DATA}",
        "data.files=[a,b]",
        "data.path=choice(a,b)",
        "data.path=a\\,b",
        "data.path='a (b)'",
        "tags=[~/x]",
        "name=~",
        "~data.root",
        "model.path_length=3",
    ],
)
def test_other_overrides_are_unchanged(override):
    assert normalize_path_overrides([override]) == [override]


def test_several_paths_are_swept_and_one_path_with_a_comma_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a,b").touch()
    swept, single = normalize_path_overrides(["data.path=~/a.csv,/ü", f"data.path={tmp_path}/a,b"], is_sweep=True)

    assert expand_jobs_or_corners([swept]) == [[f"data.path={tmp_path}/a.csv"], ["data.path='/ü'"]]
    assert not is_sweep_override(single)


@pytest.mark.parametrize("name", ["run (1)", "a,b", "ü", "it's"])
def test_run_directory_of_any_name_is_found(tmp_path, name):
    run_dir = tmp_path / name
    with pytest.raises(CheckpointError, match=re.escape(f"No run found in {run_dir}. ")):
        compose_config("evaluate", [f"run={run_dir}"])
    with pytest.raises(CheckpointError, match=re.escape(f"No run found in {run_dir}. ")):
        compose_config("evaluate", [format_override("run", run_dir)])
