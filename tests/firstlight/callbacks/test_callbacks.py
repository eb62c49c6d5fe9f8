"""Callbacks observe: each alone, and all of them, leave a training as it would be without."""

import pytest

from firstlight.config.options import load_option
from support.interruption import SMALL_OVERRIDES
from support.options import get_tiny_model, list_options, make_tiny_overrides
from support.training import check_predictions, check_same_training, train_four_steps

ALL = list(load_option("callbacks", "wandb"))
MODELS = list_options("model")
SMALL = [word for word in SMALL_OVERRIDES if word not in ("logger=none", "test=false", "trainer.max_epochs=3")]


@pytest.mark.parametrize("model", [MODELS[0], *(pytest.param(model, marks=pytest.mark.slow) for model in MODELS[1:])])
def test_all_callbacks_leave_losses_and_weights_bit_for_bit(compose_cfg, model):
    without = train_four_steps(compose_cfg, "without", make_tiny_overrides(model), "callbacks=none", "logger=none")

    check_same_training(
        without,
        train_four_steps(compose_cfg, "all", make_tiny_overrides(model), "logger=wandb", "callbacks.watch.log_freq=2"),
    )


def alone_as_without(compose_cfg, training: list[str]) -> None:
    without = train_four_steps(compose_cfg, "without", training, "callbacks=none", "logger=none")

    for name in ALL:
        others = [f"callbacks.{other}=null" for other in ALL if other != name]
        check_same_training(without, train_four_steps(compose_cfg, name, training, "logger=wandb", *others))
        # The same callback without W&B.
        words = ["callbacks=wandb", "logger=none", *others]
        check_same_training(without, train_four_steps(compose_cfg, f"{name}_local", training, *words))


@pytest.mark.slow
def test_each_callback_alone_does_so(compose_cfg):
    alone_as_without(compose_cfg, SMALL_OVERRIDES)


@pytest.mark.slow
def test_each_callback_alone_does_so_with_texts(compose_cfg):
    alone_as_without(compose_cfg, make_tiny_overrides(get_tiny_model("text")))


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_each_can_be_switched_off(compose_cfg, name):
    train_four_steps(compose_cfg, "off", SMALL_OVERRIDES, "logger=wandb", f"callbacks.{name}=null")


@pytest.mark.parametrize("name", list_options("callbacks"))
def test_every_choice_of_callbacks_sees_a_training(compose_cfg, name):
    losses, _ = train_four_steps(compose_cfg, "run", SMALL_OVERRIDES, f"callbacks={name}", "logger=none")

    assert len(losses) == 4


@pytest.mark.parametrize("model", MODELS)
def test_a_run_folder_shows_what_was_predicted(compose_cfg, tmp_path, model):
    train_four_steps(compose_cfg, "run", make_tiny_overrides(model), "callbacks=default")
    check_predictions(tmp_path / "run")
