"""Callbacks observe: each alone, and all of them, leave a training as it would be without."""

import json
from pathlib import Path

import pytest
import torch

from firstlight import build
from firstlight.callbacks import learning_curves
from firstlight.config.options import choice
from firstlight.run.record import run_at_end
from support.choices import a_model, names, tiny
from support.interrupted import SMALL

ALL = list(choice("callbacks", "wandb"))
MODELS = names("model")
SMALL = [word for word in SMALL if word not in ("logger=none", "test=false", "trainer.max_epochs=3")]


def trained(composed, folder: str, training: list[str], *words: str) -> tuple[list, dict]:
    """Return the losses of the steps and the weights of a training of four steps."""
    words = (*training, *words, "trainer.limit_train_batches=4", "trainer.limit_val_batches=1")
    cfg = composed(*words, "trainer.limit_test_batches=1", folder=folder)
    model, data, trainer = build.build(cfg)
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    run_at_end(0)
    return learning_curves.read(Path(cfg.output_dir) / "metrics.csv")["train/loss"], model.state_dict()


def require_the_same(one, other):
    assert one[0] == other[0]
    assert len(one[0]) == 4
    for name, tensor in one[1].items():
        torch.testing.assert_close(other[1][name], tensor, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("model", [MODELS[0], *(pytest.param(model, marks=pytest.mark.slow) for model in MODELS[1:])])
def test_all_callbacks_leave_losses_and_weights_bit_for_bit(composed, model):
    without = trained(composed, "without", tiny(model), "callbacks=none", "logger=none")

    require_the_same(without, trained(composed, "all", tiny(model), "logger=wandb", "callbacks.watch.every=2"))


def alone_as_without(composed, training: list[str]) -> None:
    without = trained(composed, "without", training, "callbacks=none", "logger=none")

    for name in ALL:
        others = [f"callbacks.{other}=null" for other in ALL if other != name]
        require_the_same(without, trained(composed, name, training, "logger=wandb", *others))
        # The same callback without W&B.
        words = ["callbacks=wandb", "logger=none", *others]
        require_the_same(without, trained(composed, f"{name}_local", training, *words))


@pytest.mark.slow
def test_each_callback_alone_does_so(composed):
    alone_as_without(composed, SMALL)


@pytest.mark.slow
def test_each_callback_alone_does_so_with_texts(composed):
    alone_as_without(composed, tiny(a_model("text")))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_each_can_be_switched_off(composed, name):
    trained(composed, "off", SMALL, "logger=wandb", f"callbacks.{name}=null")


@pytest.mark.parametrize("name", names("callbacks"))
def test_every_choice_of_callbacks_sees_a_training(composed, name):
    losses, _ = trained(composed, "run", SMALL, f"callbacks={name}", "logger=none")

    assert len(losses) == 4


@pytest.mark.parametrize("model", MODELS)
def test_a_run_folder_shows_what_was_predicted(composed, tmp_path, model):
    trained(composed, "run", tiny(model), "callbacks=default")
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
