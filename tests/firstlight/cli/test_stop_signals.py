"""A stop signal at any moment of any command ends it with one line, 128 + signal, and no run left as running."""

import random
import signal
import subprocess
import sys
import time

import pytest

# Before the fork of a command, so that its imports are not repeated.
from firstlight import build, evaluate, predict, train  # noqa: F401
from firstlight.benchmark import suite  # noqa: F401
from firstlight.cli import summary  # noqa: F401
from firstlight.export import source  # noqa: F401
from firstlight.preflight import checks  # noqa: F401
from firstlight.run_data import collect  # noqa: F401
from support.signal_trials import find_problem, run_in_fork
from support.tiny_training import NO_PLOTS, OVERRIDES, make_command

TRAINING = [*OVERRIDES, "data.num_samples=16", "output_dir=run"]
STOP_SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
# Arguments of each command, and how many moments the slow and the exhaustive tests try.
COMMANDS = {
    "train": (TRAINING, 5, 60),
    "evaluate": (["run={run}"], 3, 30),
    "predict": (["run={run}", "input={run}/predictions", "output=out.csv"], 0, 20),
    "export": (["run={run}", "format=safetensors", "output=out"], 1, 20),
    "report": (["runs={run}", "output=report.html"], 1, 20),
    "preflight": ([*TRAINING[:-1], "trainer=mps"], 0, 20),
    "prepare": (TRAINING[:-1], 0, 10),
    "lr_find": ([*TRAINING[:-1], "num_steps=50", "output_dir=out"], 0, 10),
    "benchmark": (
        ["models=[tiny_mlp]", "min_seconds=0.01", "repeats=1", "accelerators=[cpu]", "output_dir=out"],
        0,
        20,
    ),
    "wandb_sync": (["runs={run}", "dry_run=true"], 0, 10),
    "sweep": ([*TRAINING[:-1], *NO_PLOTS, "data.batch_size=4,8"], 0, 30),
}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Return the directory of a finished run."""
    directory = tmp_path_factory.mktemp("finished")
    outcome = run_in_fork(directory, "train", TRAINING)
    assert outcome.code == 0, outcome.err
    return directory / "run"


def check_moments(name, run_dir, tmp_path, num_moments):
    """Stop a command at random moments, each in a new directory, and check how it ends."""
    arguments = [argument.format(run=run_dir) for argument in COMMANDS[name][0]]
    num_calls = run_in_fork(tmp_path / "undisturbed", name, arguments).num_calls
    rng = random.Random(0)
    for trial in range(num_moments):
        call, number = rng.randrange(1, num_calls), rng.choice(STOP_SIGNALS)
        directory = tmp_path / str(trial)
        outcome = run_in_fork(directory, name, arguments, call, number)
        problem = find_problem(outcome, directory, number)
        assert not problem, f"{number.name} at call {call}: {problem}\n{outcome.out}\n{outcome.err}"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, (_, num_slow, _) in COMMANDS.items() if num_slow])
def test_signal_at_random_moments(name, run_dir, tmp_path):
    check_moments(name, run_dir, tmp_path, COMMANDS[name][1])


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", COMMANDS)
def test_signal_at_many_random_moments(name, run_dir, tmp_path):
    check_moments(name, run_dir, tmp_path, COMMANDS[name][2])


@pytest.mark.slow
@pytest.mark.parametrize(("number", "delay_s"), [(signal.SIGINT, 0.4), (signal.SIGTERM, 1.0)])
def test_signal_during_imports(number, delay_s, tmp_path):
    command = make_command("train", f"output_dir={tmp_path / 'run'}", "trainer.max_epochs=1000")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    time.sleep(delay_s)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 128 + number
    assert (out, err) == ("", f"train: stopped by {number.name}.\n")


def test_signal_at_first_import_ends_command_with_one_line():
    # The package is imported while Python locates the module, when sys.argv is ["-m"].
    code = "import os, signal, sys; sys.argv = ['-m']; import firstlight; os.kill(os.getpid(), signal.SIGINT); input()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (result.returncode, result.stdout) == (130, "")
    assert result.stderr == "firstlight: stopped by SIGINT.\n"
