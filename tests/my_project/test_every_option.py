"""What is in configs/ works: each model and each data set trains, is kept, is loaded again, and would run on a Mac."""

import pickle
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from firstlight import evaluate, train
from firstlight.config import schema
from firstlight.config.compose import compose_config as composed_from
from firstlight.config.instantiate import locate
from firstlight.config.options import load_option
from firstlight.config.validate import validate_config
from firstlight.model.load import load_model
from support.fakes import explain_absence, make_fake_files, raise_unreachable
from support.options import HAS_TEXT, QUICK_OVERRIDES, get_modality, list_project_options, make_tiny_overrides
from support.signatures import list_parameters

CHOICES = [(group, name) for group in ("model", "data") for name in list_project_options(group)]
GROUPS = ["callbacks", "data", "experiment", "logger", "model", "optimizer", "scheduler", "trainer"]
SMALL = {"batch_size": 4, "num_workers": 0}
BRIEF = [f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]


def words_for(name: str, files: dict[str, Any]) -> list[str]:
    """Return the words of the smallest training on a data set with these settings."""
    node = load_option("data", name)
    # Only the data is looked at here: the smallest model is as good as any.
    model = [f"model=tiny_{get_modality('data', name)}"]
    own = {setting: value for setting, value in SMALL.items() if setting in node} | files
    words = [f"data.{setting}={'null' if value is None else value}" for setting, value in own.items()]
    return [*model, f"data={name}", *words, *QUICK_OVERRIDES]


@pytest.fixture(scope="module", params=CHOICES, ids="=".join)
def trained(request, tmp_path_factory):
    """Return a choice, the folder of a training of one step with it, and the words of that."""
    group, name = request.param
    if get_modality(group, name) == "text" and not HAS_TEXT:
        pytest.skip("the extra text is not installed")
    folder = tmp_path_factory.mktemp(name)
    (folder / "data").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", raise_unreachable)
        files = make_fake_files(name, folder / "data", patch) if group == "data" else {}
        words = [*(make_tiny_overrides(name) if group == "model" else words_for(name, files)), *BRIEF]
        try:
            train.main(composed_from("train", [*words, f"output_dir={folder / 'run'}", "test=false"]))
        except (OSError, ValueError, RuntimeError) as error:
            if group == "data" and not files and (reason := explain_absence(error, load_option("data", name))):
                pytest.skip(f"data={name} cannot be had here: {reason}")
            raise
        yield f"{group}={name}", folder / "run", words


def loaded(chosen: str, file: Path) -> dict[str, Any]:
    """Return a checkpoint, or fail with what to mend in the class that wrote it."""
    why = None
    try:
        saved = torch.load(file, weights_only=True)
    except pickle.UnpicklingError as error:
        why = ["an object of its own", *re.findall(r"GLOBAL (\S+)", str(error))][-1]
    if why:
        pytest.fail(
            f"A checkpoint holds tensors and plain values, but that of {chosen} holds {why}: give the __init__ of the "
            "class numbers, texts, lists and dictionaries, and let save_hyperparameters() keep no other",
            pytrace=False,
        )
    if "hyper_parameters" not in saved:
        pytest.fail(f"{chosen}: call self.save_hyperparameters(logger=False) in the model's __init__", pytrace=False)
    return saved


def test_its_checkpoints_load_without_running_code(trained):
    chosen, folder, _ = trained
    for name in ("best", "last"):
        assert loaded(chosen, folder / "checkpoints" / f"{name}.ckpt")["global_step"] == 1


def test_its_model_is_built_again_from_the_checkpoint(trained):
    chosen, folder, _ = trained
    saved = loaded(chosen, folder / "checkpoints" / "last.ckpt")["state_dict"]
    model = load_model(folder / "checkpoints" / "last.ckpt")

    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())


def test_it_is_evaluated_from_the_run_alone(trained):
    chosen, folder, _ = trained
    loaded(chosen, folder / "checkpoints" / "best.ckpt")
    figures = evaluate.main(composed_from("evaluate", [f"run={folder}"]))

    assert 0 <= figures["test/accuracy"] <= 1
    assert figures["test/loss"] >= 0


def test_it_would_train_on_a_mac(trained):
    _, _, words = trained
    preflight = pytest.importorskip("firstlight.preflight.__main__")
    own = [word for word in words if not word.startswith(("trainer=", "trainer.precision=", "logger="))]

    # What a Mac would refuse is raised, in a sentence that says where.
    assert preflight.main(composed_from("preflight", own))["passed"]


def readers(group: str, name: str) -> list[str]:
    """Return the word for a model, where an option has none."""
    return [f"model=tiny_{get_modality(group, name)}"] if group == "data" else []


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in list_project_options(group)])
def test_it_composes_with_the_others(compose_cfg, group, name):
    validate_config(compose_cfg(f"{group}={name}", *readers(group, name)))


TARGETS = {
    load_option(group, name).get(group, load_option(group, name))["_target_"]
    for group in ("model", "data", "trainer", "optimizer", "scheduler")
    for name in list_project_options(group)
}


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_the_text_of_its_class_tells_what_it_takes(target):
    assert target.rpartition(".")[2] == locate(target).__name__
    assert list_parameters(locate(target)) == set(schema.read_signature(target).parameters)


@pytest.mark.parametrize("model", list_project_options("model"))
def test_a_model_refuses_data_of_another_kind(model):
    other = next(kind for kind in ("text", "images") if kind != get_modality("model", model))
    with pytest.raises(ValueError, match=rf"^\w+ reads \w+, but \w+ yields {other}: choose another data=, e.g. data="):
        validate_config(composed_from("train", [f"model={model}", f"data=fake_{other}", "output_dir=run"]))
