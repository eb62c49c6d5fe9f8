"""Callbacks only observe: a run with one or all of them has the same losses and weights as a run without."""

import pytest

from firstlight.config.options import load_option
from support.interruption import SMALL_OVERRIDES
from support.options import get_tiny_model, list_options, make_tiny_overrides
from support.training import check_predictions, check_same_training, train_four_steps

CALLBACKS = list(load_option("callbacks", "wandb"))
MODELS = list_options("model")
ONE_EPOCH_OVERRIDES = [
    override for override in SMALL_OVERRIDES if override not in ("logger=none", "test=false", "trainer.max_epochs=3")
]


@pytest.mark.parametrize("model", [MODELS[0], *(pytest.param(model, marks=pytest.mark.slow) for model in MODELS[1:])])
def test_all_callbacks_keep_losses_and_weights_bitwise_equal(compose_cfg, model):
    expected = train_four_steps(compose_cfg, "without", make_tiny_overrides(model), "callbacks=none", "logger=none")

    check_same_training(
        expected,
        train_four_steps(compose_cfg, "all", make_tiny_overrides(model), "logger=wandb", "callbacks.watch.log_freq=2"),
    )


def check_each_callback(compose_cfg, run_overrides: list[str]) -> None:
    """Compare runs that have a single callback with a run without callbacks."""
    expected = train_four_steps(compose_cfg, "without", run_overrides, "callbacks=none", "logger=none")

    for name in CALLBACKS:
        others = [f"callbacks.{other}=null" for other in CALLBACKS if other != name]
        check_same_training(expected, train_four_steps(compose_cfg, name, run_overrides, "logger=wandb", *others))
        # The same callback without W&B.
        overrides = ["callbacks=wandb", "logger=none", *others]
        check_same_training(expected, train_four_steps(compose_cfg, f"{name}_local", run_overrides, *overrides))


@pytest.mark.slow
def test_single_callback_keeps_losses_and_weights_bitwise_equal(compose_cfg):
    check_each_callback(compose_cfg, ONE_EPOCH_OVERRIDES)


@pytest.mark.slow
def test_single_callback_keeps_losses_and_weights_bitwise_equal_for_texts(compose_cfg):
    check_each_callback(compose_cfg, make_tiny_overrides(get_tiny_model("text")))


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLBACKS)
def test_callback_can_be_disabled(compose_cfg, name):
    train_four_steps(compose_cfg, "off", ONE_EPOCH_OVERRIDES, "logger=wandb", f"callbacks.{name}=null")


@pytest.mark.parametrize("name", list_options("callbacks"))
def test_callbacks_option_trains(compose_cfg, name):
    losses, _ = train_four_steps(compose_cfg, "run", ONE_EPOCH_OVERRIDES, f"callbacks={name}", "logger=none")

    assert len(losses) == 4


@pytest.mark.parametrize("model", MODELS)
def test_run_directory_contains_predictions(compose_cfg, tmp_path, model):
    train_four_steps(compose_cfg, "run", make_tiny_overrides(model), "callbacks=default")
    check_predictions(tmp_path / "run")
