"""Commands as they are typed: sentences, exit codes, and what is not imported."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from firstlight import evaluate, predict, train
from firstlight.cli.errors import format_user_error
from support.options import get_tiny_model, make_tiny_overrides

# Skipped in a project that has deleted one of these commands.
export = pytest.importorskip("firstlight.export.__main__")
sweep = pytest.importorskip("firstlight.sweep.__main__")

COMMANDS = {"train": train, "evaluate": evaluate, "predict": predict, "sweep": sweep, "export": export}


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys):
    """Return a function that runs a command in process and gives its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, *words: str) -> tuple[int, str, str]:
        named = name not in ("train", "sweep") or any(word.startswith(("model=", "resume=")) for word in words)
        monkeypatch.setattr(sys, "argv", [name, *words, *([] if named else ["model=tiny_images"])])
        code = 0
        try:
            COMMANDS[name].main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


MISTAKES = [
    ("train", ["data.batchsize=8"], "train: There is no setting data.batchsize: did you mean data.batch_size?"),
    ("train", ["modle=x"], "train: There is no setting modle: did you mean model?"),
    ("train", ["lr=0.1"], "train: There is no setting lr: did you mean optimizer.lr?"),
    ("train", ["batch_size=8"], "train: There is no setting batch_size: did you mean data.batch_size?"),
    ("train", ["model=tny_mlp"], "train: There is no model=tny_mlp: did you mean model=tiny_mlp?"),
    ("train", ["experiment=smok"], "train: There is no experiment=smok: did you mean experiment=smoke?"),
    ("train", ["data.batch_size=8,16"], "train: data.batch_size=8,16 is a list: use `make sweep` to run each"),
    ("train", ["data.batch_size=x"], "train: data.batch_size is int, but data.batch_size='x'"),
    ("train", ["+data.zzz=1"], "train: There is no setting data.zzz: known here are"),
    (
        "train",
        ["optimizer.eps=1"],
        "train: optimizer.eps is known but not in the configuration: add it by +optimizer.e",
    ),
    ("train", ["~callbacks.curvs"], "train: There is no setting callbacks.curvs: did you mean callbacks.curves?"),
    (
        "train",
        ["logger=null"],
        "train: logger=null names no choice: write group=name, and name none",
    ),
    ("train", ["a b"], "train: 'a b' cannot be read as a setting"),
    ("train", ["model=tiny_text", "data=fake_images"], "train: TinyText reads text, but FakeImages yields"),
    ("train", ["trainer=mps"], "train: trainer=mps needs a Mac with an Apple GPU and an arm64 Python, but this is"),
    ("train", ["trainer=cuda"], "train: trainer=cuda needs an NVIDIA GPU and its driver, but this is"),
    ("train", ["trainer.accelerator=tpu"], "train: trainer.accelerator is cpu, mps, cuda or auto, but it is tpu"),
    ("train", ["resume=logs/nope"], "train: There is no run in logs/nope: give the folder that a training printed"),
    (
        "train",
        ["trainer.devices=2", "output_dir=x"],
        "train: Several devices need a strategy, but trainer.dev",
    ),
    ("train", ["trainer.precision=8"], "train: trainer.precision is Literal['32-true'"),
    (
        "train",
        ["data.num_workers=-1", "output_dir=x"],
        "train: data.num_workers is 0 to 1,000, but data.num_workers=-1",
    ),
    ("evaluate", [], "evaluate: evaluate needs a trained model: give run=logs/train/<run> or ckpt=<file>"),
    ("evaluate", ["ckpt=nope.ckpt"], "evaluate: There is no run in nope.ckpt"),
    ("predict", ["input=x"], "predict: predict needs a trained model: give run=logs/train/<run> or ckpt=<file>"),
    ("export", [], "export: export needs a trained model: give run=logs/train/<run> or ckpt=<file>"),
    ("export", ["run=nope", "format=onnx"], "export: There is no run in nope: give the folder that a training"),
    ("sweep", ["data.batchsize=1,2"], "train: There is no setting data.batchsize: did you mean data.batch_size?"),
    ("sweep", ["model=tiny_mlp,tiny_text", "data=fake_images"], "train: TinyText reads text, but Fake"),
]


@pytest.mark.parametrize(("name", "words", "sentence"), MISTAKES)
def test_a_mistake_is_a_sentence_and_exit_code_1(typed, name, words, sentence):
    code, out, err = typed(name, *words)

    assert code == 1
    assert err.startswith(sentence)
    assert "Traceback" not in err
    assert out == ""


def test_a_misspelt_key_in_an_experiment_file_is_refused(typed, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nsead: 5\n")
    code, _, err = typed("train", f"--config-dir={tmp_path}", "experiment=mine")

    assert code == 1
    assert err.strip() == "train: There is no setting sead: did you mean seed?"


def test_an_error_of_the_code_keeps_its_traceback(typed, monkeypatch):
    from firstlight import build

    def broken(cfg, checkpoint):
        raise KeyError("a bug of ours")

    monkeypatch.setattr(build, "build", broken)
    code, _, err = typed("train", *QUIET)

    assert code == 1
    assert "Traceback" in err
    assert "a bug of ours" in err


QUIET = ["logger=none", "output_dir=run"]


def test_a_missing_accelerator_is_told_before_data_and_model(typed, monkeypatch):
    from firstlight import build

    monkeypatch.setattr(build, "instantiate", lambda *args, **kwargs: pytest.fail("built"))
    code, _, err = typed("train", "trainer=mps", *QUIET)

    assert code == 1
    assert "type trainer=cpu" in err


@pytest.mark.parametrize("words", [["--cfg", "job"], ["--help"], ["data.batch_size=x"], ["model=tny"]])
def test_answers_without_a_tensor_do_not_import_torch(words, tmp_path):
    code = f"""
import atexit, sys
heavy = {{"torch", "lightning", "transformers", "wandb"}}
atexit.register(lambda: print(sorted(heavy & set(sys.modules))))
sys.argv[1:] = {["model=tiny_images", *words]!r}
from firstlight import train
train.main()
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)

    assert told.stdout.splitlines()[-1] == "[]", told.stderr


@pytest.mark.slow
def test_sigterm_ends_a_run_as_interrupted_with_a_checkpoint(tmp_path):
    words = [*make_tiny_overrides(get_tiny_model()), "trainer.max_epochs=1000", f"output_dir={tmp_path / 'run'}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "firstlight.train", *words],
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
    # The first screen tells the essentials, and nothing else is said.
    assert [line.split()[0] for line in out.splitlines()[:4]] == ["model", "data", "device", "run"]
    assert err.strip() == ""


def test_a_mistake_found_in_a_commands_own_file_is_a_sentence():
    # Under `python -m` that file is the module __main__.
    code = compile("raise ValueError('split is train, val or test')", evaluate.__file__, "exec")
    with pytest.raises(ValueError) as caught:
        exec(code, {"__name__": "__main__"})

    assert format_user_error(caught.value, "evaluate", []) == "split is train, val or test"
