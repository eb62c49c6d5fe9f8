"""Corrupt configs and random overrides result in a valid run or a one-line error: no traceback, and no hang."""

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
from support.random_damage import FUZZ_SETTINGS, INVALID_OVERRIDES, damage, list_keys, time_limit

# Skipped in a project that has deleted this command.
report = pytest.importorskip("firstlight.report.__main__")
sweep = pytest.importorskip("firstlight.sweep.__main__")

CONFIGS = options.CONFIG_DIR
# Instead of the models and datasets of a project, copies of the options of the tests are damaged.
FILES = sorted(str(file.relative_to(CONFIGS)) for file in CONFIGS.rglob("*.yaml"))
FILES = [file for file in FILES if not file.startswith(("model/", "data/"))]
FILES += [f"{group}/{name}.yaml" for group in ("model", "data") for name in list_options(group)]
COMMANDS = {"train": train.main, "evaluate": evaluate.main, "predict": predict.main, "report": report.main}
TIME_LIMIT_S = 20

# Keys that can make a run or its compilation take hours, which is not an error.
SLOW_KEYS = ("max_epochs", "max_steps", "max_time", "compile_min_steps", "num_samples")

SHORT_RUN = [
    "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "logger=none",
]
SHORT_RUN += ["trainer=cpu", "trainer.precision=32-true", "trainer.max_epochs=1", "trainer.log_every_n_steps=1"]
SHORT_RUN += ["trainer.compile=false", "output_dir=new"]
LOSS_GUARD_ONLY = [
    "callbacks=none",
    "+callbacks.loss_guard={_target_:firstlight.callbacks.loss_guard.LossGuard,output_dir:new}",
]
SMALL_DATA = ["data.num_samples=16", "data.num_classes=2", "data.batch_size=4"]
TINY_IMAGES = [
    "model=tiny_mlp",
    "optimizer=adamw",
    "scheduler=cosine",
    "data=fake_images",
    "data.image_size=2",
    *SMALL_DATA,
]
FILE_OVERRIDES = {"text_file": ["data.path=texts.csv"], "image_folder": ["data.root=images", "data.num_workers=0"]}
# Overrides of the commands that read an existing run.
RUN_COMMANDS = {
    "resume": ["resume=again", "trainer.max_epochs=2"],
    "evaluate": ["run=again"],
    "predict": ["run=again", "input=images/0"],
    "report": ["runs=again", "output=report.html"],
}


def get_error(name, overrides, task=None):
    """Run a command; return its one-line error message, or None if it succeeds."""
    try:
        with time_limit(TIME_LIMIT_S):
            (task or COMMANDS.get(name, validate.validate_config))(compose.compose_config(name, overrides))
        return None
    except Exception as error:
        line = errors.format_user_error(error, name, overrides)
        trace = "".join(traceback.format_exception(error))

    assert line, f"{overrides}: {trace}"
    assert len(line.splitlines()) == 1, line
    return line


def check_training(overrides):
    """Train, and check the metrics; or check that the overrides are rejected in one line."""
    if get_error("train", overrides) is not None:
        return
    record = json.loads(Path("new", "run.json").read_text())

    assert record["status"] == "finished"
    assert record["metrics"]["train/loss"] >= 0
    for name, value in record["metrics"].items():
        assert math.isfinite(value), name
        assert 0 <= value <= 1 or not name.endswith(("accuracy", "f1")), name


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Change to a directory with a copy of configs/, data files and a run, and return it."""
    workspace = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(CONFIGS, workspace / "configs")
    for name in MODELS:
        shutil.copy(options.list_option_files("model")[name], workspace / "configs" / "model")
    (workspace / "texts.csv").write_text("text,label\n" + "".join(f"word{n} more,{n % 2}\n" for n in range(40)))
    for number in range(40):
        (workspace / "images" / str(number % 2)).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), number).save(workspace / "images" / str(number % 2) / f"{number}.png")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        for module in (options, command, compose, errors):
            patch.setattr(module, "CONFIG_DIR", workspace / "configs")
        patch.setattr(options, "SEARCH_PATH", [workspace / "configs", *options.SEARCH_PATH[1:]])
        assert get_error("train", [*SHORT_RUN, *TINY_IMAGES, "output_dir=run"]) is None
        yield workspace
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def make_overrides(file):
    """Return the overrides of a small run that reads a file of configs/."""
    group, _, option = file.removesuffix(".yaml").rpartition("/")
    if group == "callbacks":
        return [*SHORT_RUN, *TINY_IMAGES, f"callbacks={option}"]
    if group == "model":
        fake = TINY_OVERRIDES[get_modality(group, option)][0]
        return [*SHORT_RUN, *LOSS_GUARD_ONLY, f"model={option}", fake, *SMALL_DATA]
    if group == "data":
        model = f"model={get_tiny_model(get_modality(group, option))}"
        return [*SHORT_RUN, *LOSS_GUARD_ONLY, model, f"data={option}", *FILE_OVERRIDES.get(option, [])]
    return [*SHORT_RUN, *LOSS_GUARD_ONLY, *TINY_IMAGES, *([f"{group}={option}"] if group else [])]


def fuzz_configs(workspace, rng):
    """Damage a file of configs/, and run a command that reads it."""
    name = rng.choice(FILES)
    overrides, file = make_overrides(name), workspace / "configs" / name
    content = file.read_bytes()
    reset_runs()
    try:
        file.write_bytes(damage(rng, content))
        note(f"{name}: {file.read_bytes()!r}")
        root = name.removesuffix(".yaml")
        if root in RUN_COMMANDS:
            get_error("train" if root == "resume" else root, RUN_COMMANDS[root])
        elif root in ("benchmark", "preflight", "wandb_sync", "wandb_sweep"):
            get_error(root, [])
        check_training(overrides)
    finally:
        file.write_bytes(content)


def reset_runs():
    """Delete the directory `new`, and make `again` a copy of the run."""
    for name in ("new", "again"):
        shutil.rmtree(name, ignore_errors=True)
    shutil.copytree("run", "again")


def fuzz_run(workspace, rng):
    """Damage a file of a run, and run a command that reads it."""
    reset_runs()
    file = Path("again", rng.choice(["config.yaml", "config.yaml", "run.json"]))
    file.write_bytes(damage(rng, file.read_bytes()))
    note(f"{file}: {file.read_bytes()!r}")
    name, overrides = rng.choice(list(RUN_COMMANDS.items()))
    if name == "resume":
        name = "train"
    get_error(name, overrides)


def fuzz_sweep(workspace, rng):
    """Damage sweep.json or the run.json of a job, and run the code that reads it."""
    reset_runs()
    sweep_dir = Path("sweeps", "2000-01-01")
    definition = {"overrides": ["seed=1,2"], "jobs": [["seed=1"], ["seed=2"]]}
    shutil.rmtree("sweeps", ignore_errors=True)
    shutil.copytree("again", sweep_dir / "0_seed-1")
    (sweep_dir / "sweep.json").write_text(json.dumps(definition, indent=2))
    file = rng.choice([sweep_dir / "sweep.json", sweep_dir / "0_seed-1" / "run.json"])
    file.write_bytes(damage(rng, file.read_bytes()))
    note(f"{file}: {file.read_bytes()!r}")

    def resume_sweep(cfg):
        sweep.find_unfinished_sweep(Path("sweeps"), definition)
        sweep.count_jobs(sweep_dir, "finished")
        if rows := sweep.collect_results(sweep_dir):
            sweep.write_results_and_plots(sweep_dir, rows)
            sweep.print_results(sweep_dir, rows)

    get_error("train", [], resume_sweep)
    get_error("report", ["runs=sweeps", "output=report.html"])


def fuzz_overrides(workspace, rng):
    """Set random keys to random values."""
    cnn = ["model=tiny_images", "data=fake_images", *SMALL_DATA]
    texts = [["model=tiny_text", "data=fake_text", *SMALL_DATA]] if HAS_TEXT else []
    data = rng.choice([TINY_IMAGES, TINY_IMAGES, cnn, *texts])
    groups = rng.choice([LOSS_GUARD_ONLY, LOSS_GUARD_ONLY, ["callbacks=default"]])
    groups = [*groups, *(f"{group}={rng.choice(list_options(group))}" for group in ("optimizer", "scheduler"))]
    overrides = [*SHORT_RUN, *groups, *data]
    keys = [
        name
        for name in list_keys(OmegaConf.to_container(compose.compose_config("train", overrides)))
        if name.rpartition(".")[2] not in SLOW_KEYS
    ]
    fuzzed = [f"{rng.choice(keys)}={rng.choice(INVALID_OVERRIDES)}" for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    note(f"{groups} {fuzzed}")
    reset_runs()
    if not any(override.startswith("output_dir=") for override in fuzzed):
        check_training([*overrides, *fuzzed])
    else:
        get_error("train", [*overrides, *fuzzed])


# Number of examples of each kind, 100 in total.
NUM_EXAMPLES = {fuzz_configs: 40, fuzz_run: 20, fuzz_sweep: 10, fuzz_overrides: 30}


@pytest.mark.slow
@pytest.mark.parametrize("fuzz", NUM_EXAMPLES)
def test_corrupt_or_invalid_config_is_rejected_in_one_line(workspace, fuzz):
    @settings(max_examples=NUM_EXAMPLES[fuzz], **FUZZ_SETTINGS)
    @given(seed=st.integers(0, 2**62))
    def examples(seed):
        fuzz(workspace, Random(seed))

    examples()
