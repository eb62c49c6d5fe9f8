"""Each model and dataset in configs/ trains, saves and loads checkpoints, and would run on a Mac."""

import pickle
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from firstlight import evaluate, train
from firstlight.checkpoint import io as checkpoint_io
from firstlight.config import schema
from firstlight.config.compose import compose_config
from firstlight.config.instantiate import locate
from firstlight.config.options import load_option
from firstlight.config.validate import validate_config
from firstlight.model.load import load_model
from firstlight.run.errors import ConfigError, MissingPackageError
from support.fakes import explain_absence, make_fake_files, raise_unreachable
from support.options import (
    HAS_TEXT,
    QUICK_OVERRIDES,
    get_modality,
    list_project_options,
    make_tiny_overrides,
    skip_without_package,
)
from support.signatures import list_parameters

OPTIONS = [(group, name) for group in ("model", "data") for name in list_project_options(group)]
GROUPS = ["callbacks", "data", "experiment", "logger", "model", "optimizer", "scheduler", "trainer"]
SMALL_DATA = {"batch_size": 4, "num_workers": 0}
ONE_BATCH = [f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]


def make_data_overrides(name: str, fake_files: dict[str, Any]) -> list[str]:
    """Return the overrides of the smallest training run on a dataset."""
    node = load_option("data", name)
    # Any model would do, because only the dataset is tested.
    model = f"model=tiny_{get_modality('data', name)}"
    values = {key: value for key, value in SMALL_DATA.items() if key in node} | fake_files
    overrides = [f"data.{key}={'null' if value is None else value}" for key, value in values.items()]
    return [model, f"data={name}", *overrides, *QUICK_OVERRIDES]


@pytest.fixture(scope="module", params=OPTIONS, ids="=".join)
def trained_run(request, tmp_path_factory):
    """Return an option, the run directory of a one-step training run with it, and the overrides of the run."""
    group, name = request.param
    if get_modality(group, name) == "text" and not HAS_TEXT:
        pytest.skip("the extra text is not installed")
    parent = tmp_path_factory.mktemp(name)
    (parent / "data").mkdir()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(socket, "getaddrinfo", raise_unreachable)
        fake_files = make_fake_files(name, parent / "data", monkeypatch) if group == "data" else {}
        base = make_tiny_overrides(name) if group == "model" else make_data_overrides(name, fake_files)
        overrides = [*base, *ONE_BATCH]
        try:
            train.main(compose_config("train", [*overrides, f"output_dir={parent / 'run'}", "test=false"]))
        except (OSError, ValueError, RuntimeError) as error:
            if group == "data" and not fake_files and (reason := explain_absence(error, load_option("data", name))):
                pytest.skip(f"data={name} is not available here: {reason}")
            raise
        yield f"{group}={name}", parent / "run", overrides


def load_checkpoint(option: str, file: Path) -> dict[str, Any]:
    """Return a checkpoint, or fail with advice for the class that saved it."""
    unsafe_class = None
    try:
        checkpoint = torch.load(file, weights_only=True)
    except pickle.UnpicklingError as error:
        unsafe_class = ["an object", *re.findall(r"GLOBAL (\S+)", str(error))][-1]
    if unsafe_class:
        pytest.fail(
            f"The checkpoint of {option} contains {unsafe_class}, but only tensors and plain values are allowed. Use "
            "numbers, strings, lists and dictionaries as arguments of __init__.",
            pytrace=False,
        )
    return checkpoint


def test_checkpoints_load_with_weights_only(trained_run):
    option, run_dir, _ = trained_run
    for name in ("best", "last"):
        assert load_checkpoint(option, run_dir / "checkpoints" / f"{name}.ckpt")["global_step"] == 1


def test_model_is_rebuilt_from_checkpoint(trained_run):
    option, run_dir, _ = trained_run
    state_dict = load_checkpoint(option, run_dir / "checkpoints" / "last.ckpt")["state_dict"]
    model = load_model(checkpoint_io.load_checkpoint(run_dir / "checkpoints" / "last.ckpt"))

    assert all(torch.equal(value, state_dict[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_run_is_evaluated_without_overrides(trained_run):
    option, run_dir, _ = trained_run
    load_checkpoint(option, run_dir / "checkpoints" / "best.ckpt")
    metrics = evaluate.main(compose_config("evaluate", [f"run={run_dir}"]))["metrics"]

    assert 0 <= metrics["test/accuracy"] <= 1
    assert metrics["test/loss"] >= 0


@pytest.mark.slow
def test_preflight_passes(trained_run):
    _, _, overrides = trained_run
    preflight = pytest.importorskip("firstlight.preflight.__main__")
    ignored = ("trainer=", "trainer.precision=", "logger=")
    overrides = [override for override in overrides if not override.startswith(ignored)]

    # If training on a Mac would fail, preflight raises an error that says where.
    assert preflight.main(compose_config("preflight", overrides))["passed"]


def list_required_overrides(group: str, name: str) -> list[str]:
    """Return the override of a model that accepts a dataset."""
    return [f"model=tiny_{get_modality(group, name)}"] if group == "data" else []


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in list_project_options(group)])
def test_option_composes(compose_cfg, group, name):
    if group == "model":
        skip_without_package(name)
    try:
        validate_config(compose_cfg(f"{group}={name}", *list_required_overrides(group, name)))
    except MissingPackageError as error:
        pytest.skip(str(error))


TARGETS = {
    load_option(group, name).get(group, load_option(group, name))["_target_"]
    for group in ("model", "data", "trainer", "optimizer", "scheduler")
    for name in list_project_options(group)
}


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_parsed_signature_matches_class(target):
    assert target.rpartition(".")[2] == locate(target).__name__
    assert list_parameters(locate(target)) == set(schema.read_signature(target).parameters)


@pytest.mark.parametrize("model", list_project_options("model"))
def test_model_rejects_dataset_of_other_modality(model):
    skip_without_package(model)
    expected = get_modality("model", model)
    other = "images" if expected == "text" else "text"

    with pytest.raises(ConfigError, match=rf"expects {expected}, but \w+ provides {other}. Use another dataset"):
        validate_config(compose_config("train", [f"model={model}", f"data=fake_{other}", "output_dir=run"]))
