"""Kill trainings at random moments and let them go on.

    python tests/firstlight/support/kill_trials.py <trials> [first seed] [models]

The models are the tiny ones, unless others are named.

Each trial is a function of its seed: model and moments. Refused is any file that is damaged under its final name, and
any difference in weights or figures from the undisturbed training.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("FIRSTLIGHT_CONFIG_PATH", str(Path(__file__).parent / "configs"))
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from omegaconf import OmegaConf

from firstlight import train
from firstlight.checkpoint import io as checkpoint_io
from firstlight.config.compose import compose_config
from support.interruption import read_rows
from support.options import list_options, make_tiny_overrides

OVERRIDES = ["trainer.max_epochs=2", "test=false", "callbacks.last.every_n_train_steps=1"]
OVERRIDES += ["optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false"]
OVERRIDES += [f"callbacks.{name}=null" for name in ("curves", "confusion_matrix", "predictions", "first_batch")]
MAX_KILLS = 3


def make_overrides(model: str) -> list[str]:
    """Return the settings of the smallest training of a model that saves after each step."""
    return [*make_tiny_overrides(model), *OVERRIDES]


def start_training(*settings: str) -> int:
    """Train in a process of its own, which has all imports behind it; return its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        train.main(compose_config("train", list(settings)))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def train_uninterrupted(model: str, folder: Path) -> float:
    """Train without a kill into a folder, unless it is there; return the seconds from the first checkpoint on."""
    seconds = folder / "seconds"
    if not seconds.is_file():
        child = start_training(*make_overrides(model), f"output_dir={folder}")
        wait_for_checkpoint(folder, child)
        begun = time.monotonic()
        assert os.waitpid(child, 0)[1] == 0, f"the undisturbed training of {model} failed"
        seconds.write_text(str(time.monotonic() - begun))
    return float(seconds.read_text())


def wait_for_checkpoint(folder: Path, child: int) -> None:
    """Wait until a run has something to go on from."""
    while not (folder / "checkpoints" / "last.ckpt").is_file():
        assert os.waitpid(child, os.WNOHANG)[0] == 0, f"no checkpoint in {folder}"
        time.sleep(0.01)


def check_run_is_complete(folder: Path) -> None:
    """Refuse damaged files under final names."""
    for file in (folder / "checkpoints").glob("*.ckpt"):
        checkpoint_io.load_checkpoint(file)
    assert json.loads((folder / "run.json").read_text())["attempts"]
    assert OmegaConf.load(folder / "config.yaml").output_dir
    read_rows(folder)


def run_trial(seed: int, parent: Path, models: list[str]) -> str:
    """Kill a training one to three times at random moments, let it go on, and compare; return what happened."""
    chance = random.Random(seed)
    model = models[seed % len(models)]
    reference, folder = parent / f"undisturbed_{model}", parent / f"trial_{seed}"
    seconds = train_uninterrupted(model, reference)
    setting = [*make_overrides(model), f"output_dir={folder}"]
    steps = []
    for _ in range(chance.randint(1, MAX_KILLS)):
        child = start_training(*setting)
        wait_for_checkpoint(folder, child)
        time.sleep(chance.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        check_run_is_complete(folder)
        steps.append(checkpoint_io.load_checkpoint(folder / "checkpoints" / "last.ckpt")["global_step"])
        if json.loads((folder / "run.json").read_text())["status"] == "finished":
            break
        setting = [f"resume={folder}"]
    else:
        assert os.waitpid(start_training(*setting), 0)[1] == 0, f"seed {seed}: the resumed training failed"
    ends = [checkpoint_io.load_checkpoint(each / "checkpoints" / "last.ckpt") for each in (reference, folder)]
    assert ends[0]["global_step"] == ends[1]["global_step"]
    for name, value in ends[0]["state_dict"].items():
        assert torch.equal(value, ends[1]["state_dict"][name]), f"seed {seed}: {name} differs"
    assert read_rows(reference) == read_rows(folder), f"seed {seed}: metrics.csv differs"
    for file in (folder / "checkpoints").iterdir():
        file.unlink()
    return f"seed {seed}: {model}, killed with step {', '.join(map(str, steps))} saved, ended as undisturbed"


def run_trials(count: int, *models: str) -> str:
    """Run trials in a process of its own, and return what it printed."""
    command = [sys.executable, __file__, str(count), "0", *models]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


if __name__ == "__main__":
    count, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as parent:
        for each in range(first, first + count):
            print(run_trial(each, Path(parent), sys.argv[3:] or list_options("model")), flush=True)
