"""Config groups that a command does not use are errors, before the run is read; others replace keys of the run."""

import pytest
from omegaconf import OmegaConf

from firstlight.config.compose import compose_config, override_group
from firstlight.config.options import load_option
from firstlight.run.errors import CheckpointError, ConfigError


@pytest.mark.parametrize(
    ("command", "override", "noun"),
    [
        ("evaluate", "logger=wandb", "loggers"),
        ("evaluate", "logger=[wandb,tensorboard]", "loggers"),
        ("predict", "logger=wandb", "loggers"),
        ("predict", "callbacks=default", "callbacks"),
        ("export", "callbacks=wandb", "callbacks"),
    ],
)
def test_unused_group_is_rejected(command, override, noun):
    expected = f"{override} has no effect, because {command} uses no {noun}. Remove {override.partition('=')[0]}=."
    with pytest.raises(ConfigError) as caught:
        compose_config(command, ["run=logs/missing", override])
    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("command", "override"), [("predict", "logger=none"), ("predict", "logger=[none]"), ("evaluate", "callbacks=none")]
)
def test_group_that_is_off_or_used_is_accepted(command, override):
    with pytest.raises(CheckpointError):  # the run does not exist
        compose_config(command, ["run=logs/missing", override])


@pytest.mark.parametrize(
    ("option", "changed"),
    [
        # `auto` of mps.yaml depends on the chip: the values of another device must not remain.
        ("mps", {"accelerator": "mps", "precision": "auto", "channels_last": "auto", "compile": False}),
        ("auto", {"accelerator": "auto", "precision": "auto", "channels_last": "auto", "compile": "auto"}),
        ("ddp", {"accelerator": "cuda", "precision": "bf16-mixed", "strategy": "ddp", "devices": "auto"}),
    ],
)
def test_trainer_option_replaces_the_keys_that_it_sets(option, changed):
    saved = OmegaConf.create({"trainer": {**load_option("trainer", "cuda"), "max_epochs": 9, "compile": True}})
    override_group(saved, "trainer", option)

    assert saved.trainer.items() >= changed.items()
    assert (saved.trainer.max_epochs, saved.trainer.fused_optimizer) == (9, "auto" if option == "auto" else True)


def test_list_of_loggers_replaces_those_of_the_run():
    saved = OmegaConf.create({"logger": load_option("logger", "wandb")})
    override_group(saved, "logger", "[tensorboard, mlflow]")

    assert saved.logger == {**load_option("logger", "tensorboard"), **load_option("logger", "mlflow")}
    with pytest.raises(ConfigError, match="Unknown option logger=tensorbord. Did you mean logger=tensorboard?"):
        override_group(saved, "logger", "[wandb,tensorbord]")


@pytest.mark.parametrize(
    ("loggers", "has_wandb_callbacks"),
    [("[tensorboard,mlflow]", False), ("[tensorboard,wandb]", True), ("none", False)],
)
def test_callbacks_of_wandb_are_selected_with_its_logger(loggers, has_wandb_callbacks):
    cfg = compose_config("train", [f"logger={loggers}", "output_dir=run"])

    assert list(cfg.logger) == [name for name in loggers.strip("[]").split(",") if name != "none"]
    assert ("watch" in cfg.callbacks) == has_wandb_callbacks
