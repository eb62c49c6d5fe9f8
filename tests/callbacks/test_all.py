"""Callbacks observe: each alone, and all of them, leave a training as it would be without."""

import json
from pathlib import Path

import pytest
import torch
from conftest import names, tiny

from firstlight import run
from firstlight.callbacks import curves
from firstlight.check import choice
from firstlight.record import finish_wandb

ALL = list(choice("callbacks", "wandb"))
MODELS = names("model")


def trained(composed, folder: str, model: str, *words: str) -> tuple[list, dict]:
    """Return the losses of the steps and the weights of a training of four steps."""
    words = (*tiny(model), *words, "trainer.limit_train_batches=4", "trainer.limit_val_batches=1")
    cfg = composed(*words, "trainer.limit_test_batches=1", folder=folder)
    model, data, trainer = run.build(cfg)
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    finish_wandb(0)
    return curves.read(Path(cfg.output_dir) / "metrics.csv")["train/loss"], model.state_dict()


def require_the_same(one, other):
    assert one[0] == other[0]
    assert len(one[0]) == 4
    for name, tensor in one[1].items():
        torch.testing.assert_close(other[1][name], tensor, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("model", [MODELS[0], *(pytest.param(model, marks=pytest.mark.slow) for model in MODELS[1:])])
def test_all_callbacks_leave_losses_and_weights_bit_for_bit(composed, model):
    without = trained(composed, "without", model, "callbacks=none", "logger=none")

    require_the_same(without, trained(composed, "all", model, "logger=wandb", "callbacks.watch.every=2"))


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_each_callback_alone_does_so(composed, model):
    without = trained(composed, "without", model, "callbacks=none", "logger=none")

    for name in ALL:
        others = [f"callbacks.{other}=null" for other in ALL if other != name]
        alone = trained(composed, name, model, "logger=wandb", *others)
        require_the_same(without, alone)
        # The same callback without W&B.
        require_the_same(without, trained(composed, f"{name}_local", model, "callbacks=wandb", "logger=none", *others))


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ALL)
def test_each_can_be_switched_off(composed, model, name):
    trained(composed, "off", model, "logger=wandb", f"callbacks.{name}=null")


@pytest.mark.parametrize("model", MODELS)
def test_a_run_folder_shows_what_was_predicted(composed, tmp_path, model):
    trained(composed, "run", model, "callbacks=default")
    found = json.loads((tmp_path / "run" / "predictions.json").read_text())
    matrix = json.loads((tmp_path / "run" / "confusion_matrix.json").read_text())
    wrong = [row["true"] != row["predicted"] for row in found]
    sure = [row["probability"] for row in found]

    assert wrong == sorted(wrong, reverse=True)  # mistakes first
    assert sure[: sum(wrong)] == sorted(sure[: sum(wrong)], reverse=True)  # the surest of them first
    assert sure[sum(wrong) :] == sorted(sure[sum(wrong) :])
    assert sum(map(sum, matrix["counts"])) == len(found)
    for row in found:
        assert row["text"] if "text" in row else (tmp_path / "run" / row["image"]).is_file()
    assert (tmp_path / "run" / "first_batch.png").is_file() == ("image" in found[0])
