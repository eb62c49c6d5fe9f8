"""Kill trainings at random moments and let them go on.

    python tests/firstlight/support/kill_trials.py <trials> [first seed]

Each trial is a function of its seed: model and moments. Refused is any file that is damaged under its final name, and
any difference in weights or figures from the undisturbed training.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from omegaconf import OmegaConf
from torchvision import models
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.models.vgg import VGG, make_layers

from firstlight import train
from firstlight.checkpoint import io as checkpoint_io
from firstlight.config.compose import composed
from support.choices import names, takes, tiny
from support.interrupted import rows

MODELS = names("model")
# Narrow ones of the same kinds of layers: a checkpoint of some MB takes as many moments as one of some hundred.
models.resnet50 = partial(ResNet, Bottleneck, [1, 1, 1, 1], width_per_group=8)
models.vgg16_bn = lambda **settings: VGG(make_layers([8, "M", 8, "M", 16, "M", 16, "M", 512, "M"], True), **settings)
SHAPE = "{hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64}"
WORDS = ["trainer.max_epochs=2", "test=false", "callbacks.last.every_steps=1"]
WORDS += ["optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false"]
WORDS += [f"callbacks.{name}=null" for name in ("curves", "confusion_matrix", "predictions", "first_batch")]
KILLS = 3


def words(model: str) -> list[str]:
    """Return the settings of the smallest training of a model that saves after each step."""
    small = ["model.weights=null", "model.freeze_layers=0", f"model.config={SHAPE}"] if takes(model, "config") else []
    return [*tiny(model), *small, *WORDS]


def started(*settings: str) -> int:
    """Train in a process of its own, which has all imports behind it; return its id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        train.main(composed("train", list(settings)))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def undisturbed(model: str, folder: Path) -> float:
    """Train without a kill into a folder, unless it is there; return the seconds from the first checkpoint on."""
    seconds = folder / "seconds"
    if not seconds.is_file():
        child = started(*words(model), f"output_dir={folder}")
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


def require_whole(folder: Path) -> None:
    """Refuse damaged files under final names."""
    for file in (folder / "checkpoints").glob("*.ckpt"):
        checkpoint_io.load(file)
    assert json.loads((folder / "run.json").read_text())["starts"]
    assert OmegaConf.load(folder / "config.yaml").output_dir
    rows(folder)


def trial(seed: int, parent: Path) -> str:
    """Kill a training one to three times at random moments, let it go on, and compare; return what happened."""
    chance = random.Random(seed)
    model = MODELS[seed % len(MODELS)]
    reference, folder = parent / f"undisturbed_{model}", parent / f"trial_{seed}"
    seconds = undisturbed(model, reference)
    setting = [*words(model), f"output_dir={folder}"]
    steps = []
    for _ in range(chance.randint(1, KILLS)):
        child = started(*setting)
        wait_for_checkpoint(folder, child)
        time.sleep(chance.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        require_whole(folder)
        steps.append(checkpoint_io.load(folder / "checkpoints" / "last.ckpt")["global_step"])
        if json.loads((folder / "run.json").read_text())["status"] == "finished":
            break
        setting = [f"resume={folder}"]
    else:
        assert os.waitpid(started(*setting), 0)[1] == 0, f"seed {seed}: the resumed training failed"
    ends = [checkpoint_io.load(each / "checkpoints" / "last.ckpt") for each in (reference, folder)]
    assert ends[0]["global_step"] == ends[1]["global_step"]
    for name, value in ends[0]["state_dict"].items():
        assert torch.equal(value, ends[1]["state_dict"][name]), f"seed {seed}: {name} differs"
    assert rows(reference) == rows(folder), f"seed {seed}: metrics.csv differs"
    for file in (folder / "checkpoints").iterdir():
        file.unlink()
    return f"seed {seed}: {model}, killed with step {', '.join(map(str, steps))} saved, ended as undisturbed"


if __name__ == "__main__":
    count, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as parent:
        for each in range(first, first + count):
            print(trial(each, Path(parent)), flush=True)
