"""Damaged configuration and random settings: a run that works, or one sentence; no traceback, and no hang."""

import json
import math
import shutil
import traceback
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, note, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from firstlight import evaluate, predict, train
from firstlight.cli import command, errors
from firstlight.config import compose, options, validate
from support.options import HAS_TEXT, MODELS, TINY_OVERRIDES, get_modality, get_tiny_model, list_options
from support.random_damage import FUZZ_SETTINGS, INVALID_OVERRIDES, damage, list_leaves, time_limit

# Skipped in a project that has deleted this command.
report = pytest.importorskip("firstlight.report.__main__")
sweep = pytest.importorskip("firstlight.sweep.__main__")

CONFIGS = options.CONFIG_DIR
# Without a project's models and data sets: a copy of the tiny models' options is damaged in their place.
FILES = sorted(str(file.relative_to(CONFIGS)) for file in CONFIGS.rglob("*.yaml"))
FILES = [file for file in FILES if not file.startswith(("model/", "data/"))]
FILES += [f"{group}/{name}.yaml" for group in ("model", "data") for name in list_options(group)]
COMMANDS = {"train": train.main, "evaluate": evaluate.main, "predict": predict.main, "report": report.main}
SECONDS = 20

# A run that is long, or a network of an hour's compilation, is no fault.
LONG = ("max_epochs", "max_steps", "max_time", "compile_min_steps", "num_samples")

BRIEF = ["trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1", "logger=none"]
BRIEF += ["trainer=cpu", "trainer.precision=32-true", "trainer.max_epochs=1", "trainer.log_every_n_steps=1"]
BRIEF += ["trainer.compile=false", "output_dir=new"]
GUARDED = [
    "callbacks=none",
    "+callbacks.loss_guard={_target_:firstlight.callbacks.loss_guard.LossGuard,output_dir:new}",
]
FEW = ["data.num_samples=16", "data.num_classes=2", "data.batch_size=4"]
IMAGES = ["model=tiny_mlp", "optimizer=adamw", "scheduler=cosine", "data=fake_images", "data.image_size=2", *FEW]
OWN = {"text_file": ["data.path=texts.csv"], "image_folder": ["data.root=images", "data.num_workers=0"]}
# What each command reads of the run that is there.
SOURCES = {
    "resume": ["resume=again", "trainer.max_epochs=2"],
    "evaluate": ["run=again"],
    "predict": ["run=again", "input=images/0"],
    "report": ["runs=again", "output=report.html"],
}


def told(name, words, task=None):
    """Return the one line in which a command refuses, or None where it works."""
    try:
        with time_limit(SECONDS):
            (task or COMMANDS.get(name, validate.validate_config))(compose.compose_config(name, words))
        return None
    except Exception as error:
        line = errors.format_user_error(error, name, words)
        trace = "".join(traceback.format_exception(error))

    assert line, f"{words}: {trace}"
    assert len(line.splitlines()) == 1, line
    return line


def trained(words):
    """Train, or be refused in one line; what was trained has figures that are figures."""
    if told("train", words) is not None:
        return
    record = json.loads(Path("new", "run.json").read_text())

    assert record["status"] == "finished"
    assert record["metrics"]["train/loss"] >= 0
    for name, value in record["metrics"].items():
        assert math.isfinite(value), name
        assert 0 <= value <= 1 or not name.endswith(("accuracy", "f1")), name


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a copy of configs/, data and a run, and let the package work in it."""
    folder = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(CONFIGS, folder / "configs")
    for name in MODELS:
        shutil.copy(options.list_option_files("model")[name], folder / "configs" / "model")
    (folder / "texts.csv").write_text("text,label\n" + "".join(f"word{n} more,{n % 2}\n" for n in range(40)))
    for number in range(40):
        (folder / "images" / str(number % 2)).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), number).save(folder / "images" / str(number % 2) / f"{number}.png")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for module in (options, command, compose, errors):
            patch.setattr(module, "CONFIG_DIR", folder / "configs")
        patch.setattr(options, "SEARCH_PATH", [folder / "configs", *options.SEARCH_PATH[1:]])
        assert told("train", [*BRIEF, *IMAGES, "output_dir=run"]) is None
        yield folder
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def words_for(file):
    """Return the words of a small training that reads this file of configs/."""
    group, _, choice = file.removesuffix(".yaml").rpartition("/")
    if group == "callbacks":
        return [*BRIEF, *IMAGES, f"callbacks={choice}"]
    if group == "model":
        fake = TINY_OVERRIDES[get_modality(group, choice)][0]
        return [*BRIEF, *GUARDED, f"model={choice}", fake, *FEW]
    if group == "data":
        model = f"model={get_tiny_model(get_modality(group, choice))}"
        return [*BRIEF, *GUARDED, model, f"data={choice}", *OWN.get(choice, [])]
    return [*BRIEF, *GUARDED, *IMAGES, *([f"{group}={choice}"] if group else [])]


def follow_configs(place, chance):
    """Damage a file of configs/, and follow the command that reads it."""
    name = chance.choice(FILES)
    words, file = words_for(name), place / "configs" / name
    whole = file.read_bytes()
    renew()
    try:
        file.write_bytes(damage(chance, whole))
        note(f"{name}: {file.read_bytes()!r}")
        root = name.removesuffix(".yaml")
        if root in SOURCES:
            told("train" if root == "resume" else root, SOURCES[root])
        elif root in ("benchmark", "preflight", "wandb_sync", "wandb_sweep"):
            told(root, [])
        trained(words)
    finally:
        file.write_bytes(whole)


def renew():
    """Make `again` a copy of the run."""
    for name in ("new", "again"):
        shutil.rmtree(name, ignore_errors=True)
    shutil.copytree("run", "again")


def follow_run(place, chance):
    """Damage a file of a run, and follow the commands that read it."""
    renew()
    file = Path("again", chance.choice(["config.yaml", "config.yaml", "run.json"]))
    file.write_bytes(damage(chance, file.read_bytes()))
    note(f"{file}: {file.read_bytes()!r}")
    name, words = chance.choice(list(SOURCES.items()))
    if name == "resume":
        name = "train"
    told(name, words)


def follow_sweep(place, chance):
    """Damage sweep.json or the run.json of a job, and follow what reads it."""
    renew()
    folder = Path("sweeps", "2000-01-01")
    asked = {"overrides": ["seed=1,2"], "jobs": [["seed=1"], ["seed=2"]]}
    shutil.rmtree("sweeps", ignore_errors=True)
    shutil.copytree("again", folder / "0_seed-1")
    (folder / "sweep.json").write_text(json.dumps(asked, indent=2))
    file = chance.choice([folder / "sweep.json", folder / "0_seed-1" / "run.json"])
    file.write_bytes(damage(chance, file.read_bytes()))
    note(f"{file}: {file.read_bytes()!r}")

    def go_on(cfg):
        sweep.unfinished(Path("sweeps"), asked)
        sweep.num_with(folder, "finished")
        if rows := sweep.collect(folder):
            sweep.write(folder, rows)
            sweep.show(folder, rows)

    told("train", [], go_on)
    told("report", ["runs=sweeps", "output=report.html"])


def follow_words(place, chance):
    """Type random values for random settings."""
    convolved = ["model=tiny_images", "data=fake_images", *FEW]
    texts = [["model=tiny_text", "data=fake_text", *FEW]] if HAS_TEXT else []
    data = chance.choice([IMAGES, IMAGES, convolved, *texts])
    groups = chance.choice([GUARDED, GUARDED, ["callbacks=default"]])
    groups = [*groups, *(f"{group}={chance.choice(list_options(group))}" for group in ("optimizer", "scheduler"))]
    words = [*BRIEF, *groups, *data]
    known = [
        name
        for name in list_leaves(OmegaConf.to_container(compose.compose_config("train", words)))
        if name.rpartition(".")[2] not in LONG
    ]
    typed = [
        f"{chance.choice(known)}={chance.choice(INVALID_OVERRIDES)}" for _ in range(chance.choice([1, 1, 1, 2, 3]))
    ]
    note(f"{groups} {typed}")
    renew()
    if not any(word.startswith("output_dir=") for word in typed):
        trained([*words, *typed])
    else:
        told("train", [*words, *typed])


# What is followed how often, 100 times in all.
COUNTS = {follow_configs: 40, follow_run: 20, follow_sweep: 10, follow_words: 30}


@pytest.mark.slow
@pytest.mark.parametrize("follow", COUNTS)
def test_what_is_damaged_or_senseless_works_or_is_refused_in_a_sentence(place, follow):
    @settings(max_examples=COUNTS[follow], **FUZZ_SETTINGS)
    @given(seed=st.integers(0, 2**62))
    def examples(seed):
        follow(place, Random(seed))

    examples()
