"""Commands that only compose a config, and sweep jobs that only read theirs: none imports torch."""

import contextlib
import sys
from pathlib import Path

import pytest
import yaml

from firstlight import train
from firstlight.cli.command import command
from support.options import list_options


@pytest.fixture
def run_main(tmp_path, monkeypatch, capsys):
    """Return a function that runs a command in this process and returns its output."""
    monkeypatch.chdir(tmp_path)

    def run(main, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["train", *arguments])
        with contextlib.suppress(SystemExit):
            main()
        printed = capsys.readouterr()
        assert "train: " not in printed.err
        return printed.out

    return run


@command("train")
def record_seed(cfg):
    (Path(cfg.output_dir) / "seed.txt").write_text(f"{cfg.seed} {cfg.data.batch_size}")


def test_help_lists_the_config_groups(run_main):
    out = run_main(train.main, "--help")

    assert "== Config groups (group=option) ==" in out
    assert "\ntrainer: auto, cpu, " in out


def test_hydra_help_lists_the_flags_of_hydra(run_main):
    out = run_main(train.main, "--hydra-help")

    assert "--shell-completion,-sc : Install or Uninstall shell completion:" in out
    assert "--multirun,-m : Run multiple jobs" in out


@pytest.mark.parametrize("model", list_options("model"))
def test_cfg_job_prints_the_composed_config(run_main, model):
    out = run_main(train.main, "--cfg", "job", f"model={model}", "seed=7", "data.batch_size=5")
    printed = yaml.safe_load(out)

    assert (printed["seed"], printed["data"]["batch_size"]) == (7, 5)
    assert printed["model"]["_target_"].startswith("support.tiny_models.")


def test_multirun_runs_each_job_in_a_directory_of_its_own(run_main, tmp_path):
    overrides = ["model=tiny_images", "seed=1,2", "data.batch_size=4,8", "hydra.sweep.dir=sweep"]
    out = run_main(record_seed, "--multirun", *overrides)
    seeds = {file.parent.name: file.read_text() for file in tmp_path.glob("sweep/*/seed.txt")}

    assert sorted(seeds.values()) == ["1 4", "1 8", "2 4", "2 8"]
    assert [line.split()[1] for line in out.splitlines() if line.startswith("job ")] == ["0", "1", "2", "3"]
