"""The file of `make tune`: which entry a training run uses, and when it is ignored."""

import json
from pathlib import Path

import pytest

from firstlight import train
from firstlight.config.compose import compose_config
from firstlight.run.files import to_plain_dict
from firstlight.trial.resolve import resolve_measured_settings
from firstlight.trial.tuned import TUNED_FILE, describe_system, find_entry, make_key, write_entry
from support.tiny_training import OVERRIDES

# The values that tiny_training sets are not `auto`.
AUTO = [override for override in OVERRIDES if not override.startswith("trainer.precision")]
AUTO[AUTO.index("trainer=cpu")] = "trainer.accelerator=cpu"
AUTO.append("output_dir=run")
FOUND = {"precision": "bf16-mixed", "channels_last": False, "fused_optimizer": False, "compile": True}
FOUND |= {"compile_mode": "default"}


@pytest.fixture(autouse=True)
def change_directory(tmp_path, monkeypatch):
    """Use an empty directory as the checkout."""
    monkeypatch.chdir(tmp_path)


def make_entry(*overrides, **fields):
    """Return the entry of the smallest training run."""
    key = make_key(to_plain_dict(compose_config("train", [*AUTO, *overrides])), "cpu")
    entry = {"key": key, "date": "2026-01-02T03:04:05+00:00", **describe_system(), "trainer": FOUND}
    return entry | {"compile_min_steps": 1000, "is_complete": True, "trials": {}} | fields


def read_trainer(run_dir):
    """Return the trainer's settings in the config.yaml of a run."""
    from firstlight.config.run_config import load_run_config

    return to_plain_dict(load_run_config(run_dir))["trainer"]


@pytest.mark.slow
def test_run_takes_the_found_values_and_resuming_keeps_them(capsys):
    write_entry(make_entry())
    train.main(compose_config("train", [*AUTO, "test=false"]))
    header, trainer = capsys.readouterr().out, read_trainer(Path("run"))
    write_entry(make_entry(trainer={"precision": "32-true"}))
    train.main(compose_config("train", ["resume=run", "trainer.max_epochs=2"]))

    assert f"on this machine, 2026-01-02, torch {describe_system()['torch']}" in header
    assert FOUND.items() <= trainer.items()
    assert trainer["compile_min_steps"] == 1000
    assert json.loads(Path("run/run.json").read_text())["precision"] == "bf16-mixed"
    assert FOUND.items() <= read_trainer(Path("run")).items()
    assert "on this machine" not in capsys.readouterr().out


def test_values_that_the_user_sets_are_another_key():
    write_entry(make_entry())
    fixed = make_entry("trainer.precision=32-true")["key"]

    assert find_entry(fixed) == (None, "")


@pytest.mark.parametrize(
    "override", ["model.width=8", "data.image_size=4", "data.batch_size=8", "optimizer=adamw", "freeze=[a]"]
)
def test_another_run_is_a_miss(override):
    write_entry(make_entry())
    overrides = [item for item in AUTO if item.partition("=")[0] != override.partition("=")[0]]
    key = make_key(to_plain_dict(compose_config("train", [*overrides, override])), "cpu")

    assert find_entry(key) == (None, "")


@pytest.mark.parametrize("override", ["model.dropout=0.5", "optimizer.lr=0.1", "data.num_workers=0", "seed=3"])
def test_what_does_not_change_the_step_is_the_same_key(override):
    write_entry(make_entry())
    key = make_key(to_plain_dict(compose_config("train", [*AUTO, override])), "cpu")

    assert find_entry(key)[0] == make_entry()


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"torch": "2.0.0"}, f"torch was 2.0.0, and is now {describe_system()['torch']}"),
        ({"os": "macOS 15.0"}, f"os was macOS 15.0, and is now {describe_system()['os']}"),
        ({"key": {**make_entry()["key"], "device": "Apple M9"}}, "device was Apple M9, and is now "),
    ],
)
def test_stale_entry_is_ignored_and_reported(fields, line):
    write_entry(make_entry(**fields))
    cfg = compose_config("train", AUTO)
    reported = resolve_measured_settings(cfg)["tuned"]

    assert f"ignored the settings of 2026-01-02: {line}" in reported
    assert reported.endswith("Run `make tune` again.")
    assert cfg.trainer.precision == "auto"


@pytest.mark.parametrize(
    "fields",
    [
        {"trainer": {"benchmark": True}},
        {"trainer": {"precision": "64-true"}},
        {"trainer": {"channels_last": 1}},
        {"trainer": {"precision": ["32-true"]}},
        {"trainer": None},
        {"compile_min_steps": "many"},
        {"num_workers": -1},
    ],
)
def test_invalid_entry_is_ignored(fields):
    write_entry(make_entry(**fields))

    assert find_entry(make_entry()["key"]) == (
        None,
        "ignored the entry in logs/tuned.json: invalid values. Run `make tune`.",
    )


@pytest.mark.parametrize("text", ["", "[]", "{", '{"entries": 3}', '{"entries": [null, {"key": 1}]}'])
def test_corrupt_file_has_no_entries(text):
    TUNED_FILE.parent.mkdir()
    TUNED_FILE.write_text(text)

    assert find_entry(make_entry()["key"]) == (None, "")


def test_entries_of_other_machines_are_kept():
    other = make_entry(key={**make_entry()["key"], "device": "Apple M9"})
    for entry in (other, make_entry(date="old"), make_entry()):
        write_entry(entry)

    assert json.loads(TUNED_FILE.read_text())["entries"] == [other, make_entry()]
