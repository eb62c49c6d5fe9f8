"""A run directory may have any name: it is trained, printed, and accepted again."""

import json
import os
import shlex

from omegaconf import OmegaConf

from firstlight import evaluate, train
from firstlight.config.compose import compose_config
from support.tiny_training import NO_PLOTS, OVERRIDES

NAME = "a (b), [c] {d} ü's $x #1"


def find_printed_overrides(text, name):
    """Return the overrides of the command that a line of the output states."""
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    _, command, *overrides = shlex.split(line.partition("make")[1] + line.partition("make")[2])
    return command, overrides


def test_printed_command_evaluates_run_of_any_name(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train.main(compose_config("train", [*OVERRIDES, *NO_PLOTS, f"output_dir=runs/{NAME}"]))
    command, overrides = find_printed_overrides(capsys.readouterr().out, "next")

    assert command == "evaluate"
    assert evaluate.main(compose_config(command, overrides))
    assert evaluate.main(compose_config(command, [f"run=runs/{NAME}"]))
    assert os.listdir(tmp_path) == ["runs"]
    assert os.listdir(tmp_path / "runs") == [NAME]
    # The last path that was recorded is the one that is read again.
    record = json.loads((tmp_path / "runs" / NAME / "run.json").read_text())
    assert record["checkpoints"]["last"] == f"runs/{NAME}/checkpoints/last.ckpt"
    resumed = compose_config("train", [f"resume=runs/{NAME}", "trainer.max_epochs=2"])
    assert OmegaConf.select(resumed, "output_dir") == f"runs/{NAME}"
    train.main(resumed)
    assert json.loads((tmp_path / "runs" / NAME / "run.json").read_text())["status"] == "finished"
