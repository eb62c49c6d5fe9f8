"""Callbacks observe: each alone, and all of them, leave a training as it would be without."""

import pytest

from firstlight.config.options import load_option
from support.choices import a_model, names, tiny
from support.interrupted import SMALL
from support.observed import require_predictions, require_the_same, trained

ALL = list(load_option("callbacks", "wandb"))
MODELS = names("model")
SMALL = [word for word in SMALL if word not in ("logger=none", "test=false", "trainer.max_epochs=3")]


@pytest.mark.parametrize("model", [MODELS[0], *(pytest.param(model, marks=pytest.mark.slow) for model in MODELS[1:])])
def test_all_callbacks_leave_losses_and_weights_bit_for_bit(composed, model):
    without = trained(composed, "without", tiny(model), "callbacks=none", "logger=none")

    require_the_same(without, trained(composed, "all", tiny(model), "logger=wandb", "callbacks.watch.log_freq=2"))


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
    require_predictions(tmp_path / "run")
