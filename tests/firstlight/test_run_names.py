"""A run directory may have any name: it is trained, printed, and accepted again."""

import json
import os
import shlex

import pytest
from omegaconf import OmegaConf

from firstlight import evaluate, train
from firstlight.cli.console import suppress_library_noise
from firstlight.config.compose import compose_config
from support.tiny_training import NO_PLOTS, OVERRIDES

NAMES = ["a (b), [c] {d} ü's $x #1", pytest.param("caf\udce9", marks=pytest.mark.slow)]


def find_printed_overrides(text, name):
    """Return the overrides of the command that a line of the output states."""
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    _, command, *overrides = shlex.split(line.partition("make")[1] + line.partition("make")[2])
    return command, overrides


@pytest.mark.parametrize("name", NAMES)
def test_run_of_any_name_is_evaluated_and_resumed(tmp_path, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    suppress_library_noise()  # as a command does
    train.main(compose_config("train", [*OVERRIDES, *NO_PLOTS, f"output_dir=runs/{name}"]))
    if name.isprintable():  # otherwise the command has the form $'...', which only a shell reads
        command, overrides = find_printed_overrides(capsys.readouterr().out, "next")
        assert command == "evaluate"
        assert evaluate.main(compose_config(command, overrides))["metrics"]

    assert evaluate.main(compose_config("evaluate", [f"run=runs/{name}"]))["metrics"]
    assert os.listdir(tmp_path) == ["runs"]
    assert os.listdir(tmp_path / "runs") == [name]
    # The last path that was recorded is the one that is read again.
    record = json.loads((tmp_path / "runs" / name / "run.json").read_text())
    assert record["checkpoints"]["last"] == f"runs/{name}/checkpoints/last.ckpt"
    resumed = compose_config("train", [f"resume=runs/{name}", "trainer.max_epochs=2"])
    assert OmegaConf.select(resumed, "output_dir") == f"runs/{name}"
    train.main(resumed)
    assert json.loads((tmp_path / "runs" / name / "run.json").read_text())["status"] == "finished"
