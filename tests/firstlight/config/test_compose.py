"""Config groups that a command does not use are errors, before the run is read."""

import pytest

from firstlight.config.compose import compose_config
from firstlight.run.errors import CheckpointError, ConfigError


@pytest.mark.parametrize(
    ("command", "override", "noun"),
    [
        ("evaluate", "logger=wandb", "loggers"),
        ("predict", "logger=csv", "loggers"),
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
