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


@pytest.mark.parametrize(("command", "override"), [("predict", "logger=none"), ("evaluate", "callbacks=none")])
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
