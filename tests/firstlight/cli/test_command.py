"""Commands: one-line errors, exit codes, and imports."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from firstlight import evaluate, predict, train
from firstlight.cli.command import accept_lazy_help
from firstlight.cli.errors import format_user_error
from support.options import get_tiny_model, make_tiny_overrides

# Skipped in a project that has deleted one of these commands.
export = pytest.importorskip("firstlight.export.__main__")
sweep = pytest.importorskip("firstlight.sweep.__main__")

COMMANDS = {"train": train, "evaluate": evaluate, "predict": predict, "sweep": sweep, "export": export}


@pytest.fixture
def run_command(tmp_path, monkeypatch, capsys):
    """Return a function that runs a command in this process and returns its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *overrides: str) -> tuple[int, str, str]:
        has_model = any(override.startswith(("model=", "resume=")) for override in overrides)
        model = ["model=tiny_images"] if name in ("train", "sweep") and not has_model else []
        monkeypatch.setattr(sys, "argv", [name, *overrides, *model])
        code = 0
        try:
            COMMANDS[name].main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


# Command, arguments, and the beginning of the message.
USER_ERRORS = [
    ("train", ["data.batchsize=8"], "train: Unknown setting 'data.batchsize'. Did you mean 'data.batch_size'?"),
    ("train", ["model="], "train: Unknown option model=. Available: "),
    ("train", ["optimizer=null"], "train: optimizer=null is not a valid option. Use optimizer=<option>."),
    ("train", ["modle=x"], "train: Unknown setting 'modle'. Did you mean 'model'?"),
    ("train", ["lr=0.1"], "train: Unknown setting 'lr'. Did you mean 'optimizer.lr'?"),
    ("train", ["batch_size=8"], "train: Unknown setting 'batch_size'. Did you mean 'data.batch_size'?"),
    ("train", ["model=tny_mlp"], "train: Unknown option model=tny_mlp. Did you mean model=tiny_mlp?"),
    ("train", ["experiment=smok"], "train: Unknown option experiment=smok. Did you mean experiment=smoke?"),
    ("train", ["data.batch_size=8,16"], "train: data.batch_size=8,16 is a sweep over several values. Run `make sweep`"),
    ("train", ["data.batch_size=x"], "train: Invalid value for data.batch_size: expected an integer, got 'x'."),
    ("train", ["+data.zzz=1"], "train: Unknown setting 'data.zzz'. Available: "),
    (
        "train",
        ["optimizer.eps=1"],
        "train: 'optimizer.eps' is accepted by the class but not set in the config. To add the key, pass +optimi",
    ),
    (
        "train",
        ["optimizer=tiny_sgd", "optimizer.layer_decay=0.5"],
        "train: 'optimizer.layer_decay' is accepted, but not set in the config. To add the key, pass +optimizer.layer",
    ),
    ("train", ["~callbacks.curvs"], "train: Unknown setting 'callbacks.curvs'. Did you mean 'callbacks.curves'?"),
    (
        "train",
        ["logger=null"],
        "train: logger=null is not a valid option. Use logger=<option>, or logger=none to disable the group.",
    ),
    ("train", ["a b"], "train: Cannot parse override 'a b' ("),
    (
        "train",
        ["model=tiny_text", "data=fake_images"],
        "train: model=tiny_text expects text, but data=fake_images provides",
    ),
    ("train", ["resume=logs/nope"], "train: No run found in logs/nope. Use the run directory printed by `make train`."),
    ("train", ["trainer.precision=8"], "train: Invalid value for trainer.precision: expected 32-true, bf16-mixed, "),
    (
        "train",
        ["data.num_workers=-1", "output_dir=x"],
        "train: Invalid value for data.num_workers: expected a value between 0 and 1,000, got -1.",
    ),
    ("evaluate", [], "evaluate: evaluate requires a trained model. Pass run=logs/train/<run> or ckpt=<file>."),
    ("evaluate", ["ckpt=nope.ckpt"], "evaluate: No run found in nope.ckpt."),
    ("predict", ["input=x"], "predict: predict requires a trained model. Pass run=logs/train/<run> or ckpt=<file>."),
    ("export", [], "export: export requires a trained model. Pass run=logs/train/<run> or ckpt=<file>."),
    ("export", ["run=nope", "format=onnx"], "export: No run found in nope. Use the run directory printed"),
]
# Errors that are found after torch was imported or a thread was started. Pyodide supports neither.
LATE_USER_ERRORS = [
    ("train", ["trainer=mps"], "train: trainer=mps requires Apple silicon and an arm64 Python, but this is"),
    ("train", ["trainer=cuda"], "train: trainer=cuda requires an NVIDIA GPU and driver"),
    ("train", ["trainer.accelerator=tpu"], "train: Invalid value for trainer.accelerator: expected "),
    (
        "train",
        ["trainer.devices=2", "output_dir=x"],
        "train: Training on several devices (trainer.devices=2, trainer.num_nodes=1) requires a strategy.",
    ),
    ("sweep", ["data.batchsize=1,2"], "train: Unknown setting 'data.batchsize'. Did you mean 'data.batch_size'?"),
    (
        "sweep",
        ["model=tiny_mlp,tiny_text", "data=fake_images"],
        "train: TinyText expects text, but FakeImageDataModule",
    ),
]


@pytest.mark.parametrize(("name", "overrides", "message"), USER_ERRORS)
def test_user_error_is_one_line_with_its_exit_code(run_command, name, overrides, message):
    code, out, err = run_command(name, *overrides)

    # The config is valid, but this machine lacks the hardware.
    assert code == (1 if overrides in (["trainer=mps"], ["trainer=cuda"]) else 2)
    assert err.startswith(message)
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize(("name", "overrides", "message"), LATE_USER_ERRORS)
def test_late_user_error_is_one_line_with_its_exit_code(run_command, name, overrides, message):
    test_user_error_is_one_line_with_its_exit_code(run_command, name, overrides, message)


def test_misspelled_key_in_experiment_file_is_rejected(run_command, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nsead: 5\n")
    code, _, err = run_command("train", f"--config-dir={tmp_path}", "experiment=mine")

    assert code == 2
    assert err.strip() == "train: Unknown setting 'sead'. Did you mean 'seed'?"


def test_internal_error_keeps_its_traceback(run_command, monkeypatch):
    from firstlight import build

    def raise_error(cfg, checkpoint):
        raise KeyError("an internal error")

    monkeypatch.setattr(build, "build", raise_error)
    code, _, err = run_command("train", *QUIET)

    assert code == 1
    assert "Traceback" in err
    assert "an internal error" in err


QUIET = ["logger=none", "output_dir=run"]


def test_missing_accelerator_is_reported_before_data_and_model_are_built(run_command, monkeypatch):
    from firstlight import build

    monkeypatch.setattr(build, "instantiate", lambda *args, **kwargs: pytest.fail("instantiated a class"))
    code, _, err = run_command("train", "trainer=mps", *QUIET)

    assert code == 1
    assert "Use trainer=cpu." in err


@pytest.mark.parametrize("arguments", [["--cfg", "job"], ["--help"], ["data.batch_size=x"], ["model=tny"]])
def test_help_config_and_errors_do_not_import_torch(arguments, tmp_path):
    code = f"""
import atexit, sys
heavy = {{"torch", "lightning", "transformers", "wandb"}}
atexit.register(lambda: print(sorted(heavy & set(sys.modules))))
sys.argv[1:] = {["model=tiny_images", *arguments]!r}
from firstlight import train
train.main()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)

    assert result.stdout.splitlines()[-1] == "[]", result.stderr


@pytest.mark.slow
def test_sigterm_interrupts_run_with_checkpoint(tmp_path):
    overrides = [*make_tiny_overrides(get_tiny_model()), "trainer.max_epochs=1000", f"output_dir={tmp_path / 'run'}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "firstlight.train", *overrides],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    record = json.loads((tmp_path / "run" / "run.json").read_text())

    assert process.returncode == 143, err
    assert record["status"] == "interrupted"
    assert "Traceback" not in err
    # Only the run header is printed.
    assert [line.split()[0] for line in out.splitlines()[:4]] == ["model", "data", "device", "run_dir"]
    assert err.strip() == ""


def test_user_error_raised_in_main_module_is_one_line():
    # With `python -m`, the file of the command is the module __main__.
    code = compile(
        "from firstlight.run.errors import ConfigError; raise ConfigError('No input given.')", evaluate.__file__, "exec"
    )
    with pytest.raises(ValueError) as caught:
        exec(code, {"__name__": "__main__"})

    assert format_user_error(caught.value, "evaluate", []) == "No input given."


def test_help_into_a_closed_pipe_prints_no_error(tmp_path):
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "firstlight.train", "--help"]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    os.close(write_end)

    assert (done.returncode, done.stderr) == (1, "")


def reject_lazy_help(parser, action):
    """Format the help text, as `_check_help` of argparse does in Python 3.14 when an argument is added."""
    try:
        action.help % vars(action)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("badly formed help string") from error


def test_hydra_can_add_its_arguments_on_python_3_14(monkeypatch):
    check = vars(argparse._ActionsContainer).get("_check_help", reject_lazy_help)
    monkeypatch.setattr(argparse._ActionsContainer, "_check_help", check, raising=False)
    parser = argparse.ArgumentParser()
    lazy = argparse.Action(["--shell-completion"], "shell_completion", help=object())
    malformed = argparse.Action(["--key"], "key", help="%(unknown)s %")

    with pytest.raises(ValueError, match="badly formed help string"):
        parser._check_help(lazy)
    with accept_lazy_help():
        parser._check_help(lazy)
        with pytest.raises(ValueError):
            parser._check_help(malformed)

    assert argparse._ActionsContainer._check_help is check
