"""Kill training runs at random moments and resume them.

    python tests/firstlight/support/kill_trials.py <trials> [first seed] [models]

If no models are named, the tiny ones are used. `images_with_all_switches` and `text_with_all_switches` are tiny ones
with all training switches.

Each trial is a function of its seed, which determines the model and the moments. A trial fails if a file is corrupt
under its final name, or if its weights or metrics differ from an uninterrupted run.
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
from support.all_switches import IMAGES, TEXTS
from support.interruption import read_rows
from support.options import list_options, make_tiny_overrides

SGD = ["trainer.max_epochs=2", "optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false"]
OVERRIDES = ["test=false", "callbacks.last.every_n_train_steps=1"]
OVERRIDES += [f"callbacks.{name}=null" for name in ("curves", "confusion_matrix", "predictions", "first_batch")]
WITH_ALL_SWITCHES = {"images_with_all_switches": IMAGES, "text_with_all_switches": TEXTS}
MAX_KILLS = 3
# Last words of the summary of a trial.
SUCCESS = "matches the uninterrupted run"


def make_overrides(model: str) -> list[str]:
    """Return the overrides of the smallest training run of a model that saves after each step."""
    if model in WITH_ALL_SWITCHES:
        given = {override.partition("=")[0] for override in OVERRIDES}
        return [*(part for part in WITH_ALL_SWITCHES[model] if part.partition("=")[0] not in given), *OVERRIDES]
    return [*make_tiny_overrides(model), *SGD, *OVERRIDES]


def start_training(*overrides: str) -> int:
    """Train in a forked process, which needs no imports of its own; return its process ID."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        train.main(compose_config("train", list(overrides)))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def train_uninterrupted(model: str, run_dir: Path) -> float:
    """Train without a kill, unless the run exists; return the seconds from the first checkpoint to the end."""
    duration_file = run_dir / "seconds"
    if not duration_file.is_file():
        child = start_training(*make_overrides(model), f"output_dir={run_dir}")
        wait_for_checkpoint(run_dir, child)
        started = time.monotonic()
        assert os.waitpid(child, 0)[1] == 0, f"the uninterrupted run of {model} failed"
        duration_file.write_text(str(time.monotonic() - started))
    return float(duration_file.read_text())


def wait_for_checkpoint(run_dir: Path, child: int) -> None:
    """Wait until a run has a checkpoint to resume from."""
    while not (run_dir / "checkpoints" / "last.ckpt").is_file():
        assert os.waitpid(child, os.WNOHANG)[0] == 0, f"no checkpoint in {run_dir}"
        time.sleep(0.01)


def check_run_is_complete(run_dir: Path) -> None:
    """Assert that no file of a run is corrupt under its final name."""
    for file in (run_dir / "checkpoints").glob("*.ckpt"):
        checkpoint_io.load_checkpoint(file)
    assert json.loads((run_dir / "run.json").read_text())["attempts"]
    assert OmegaConf.load(run_dir / "config.yaml").output_dir
    read_rows(run_dir)


def run_trial(seed: int, parent: Path, models: list[str]) -> str:
    """Kill a run one to three times at random moments, resume it, and compare it; return a summary."""
    rng = random.Random(seed)
    model = models[seed % len(models)]
    reference_dir, run_dir = parent / f"uninterrupted_{model}", parent / f"trial_{seed}"
    duration_s = train_uninterrupted(model, reference_dir)
    overrides = [*make_overrides(model), f"output_dir={run_dir}"]
    steps = []
    for _ in range(rng.randint(1, MAX_KILLS)):
        child = start_training(*overrides)
        wait_for_checkpoint(run_dir, child)
        time.sleep(rng.uniform(0, duration_s))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        check_run_is_complete(run_dir)
        steps.append(checkpoint_io.load_checkpoint(run_dir / "checkpoints" / "last.ckpt")["global_step"])
        if json.loads((run_dir / "run.json").read_text())["status"] == "finished":
            break
        overrides = [f"resume={run_dir}"]
    else:
        assert os.waitpid(start_training(*overrides), 0)[1] == 0, f"seed {seed}: the resumed run failed"
    paths = [path / "checkpoints" / "last.ckpt" for path in (reference_dir, run_dir)]
    expected, actual = map(checkpoint_io.load_checkpoint, paths)
    assert expected["global_step"] == actual["global_step"]
    for name, value in expected["state_dict"].items():
        assert torch.equal(value, actual["state_dict"][name]), f"seed {seed}: {name} differs"
    assert read_rows(reference_dir) == read_rows(run_dir), f"seed {seed}: metrics.csv differs"
    for file in (run_dir / "checkpoints").iterdir():
        file.unlink()
    saved_steps = ", ".join(map(str, steps))
    return f"seed {seed}: {model}, killed with step {saved_steps} saved, {SUCCESS}"


def run_trials(num_trials: int, *models: str) -> int:
    """Run trials in a process of its own, and return how many succeeded."""
    command = [sys.executable, __file__, str(num_trials), "0", *models]
    process = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout.count(SUCCESS)


if __name__ == "__main__":
    num_trials, first_seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as parent:
        for seed in range(first_seed, first_seed + num_trials):
            print(run_trial(seed, Path(parent), sys.argv[3:] or list_options("model")), flush=True)
