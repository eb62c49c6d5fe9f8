"""Errors of Hydra are printed in one line."""

import pytest
from hydra.errors import ConfigCompositionException

from firstlight.cli import errors
from firstlight.config.compose import compose_config
from firstlight.run.errors import ConfigError


@pytest.mark.parametrize(
    ("group", "options", "message"),
    [
        ("model", [], "There is no model yet. Add one with `make new model=<name>`."),
        (
            "model",
            ["net"],
            "model has no default. Pass model=<option> (available: net), or set `- model:` in",
        ),
        (
            "data",
            ["set"],
            "data has no default. Pass data=<option> (available: set), or set `- override /data:` in",
        ),
    ],
)
def test_group_without_default_lists_options(monkeypatch, group, options, message):
    monkeypatch.setattr(errors, "list_option_files", lambda name: dict.fromkeys(options))
    error = ConfigCompositionException(f"You must specify '{group}', e.g, {group}=<OPTION>\nAvailable options:")

    assert errors.format_user_error(error, "train", []).startswith(message)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed.x=1", "'seed.x' cannot be set: seed is 0. Remove seed.x."),
        (
            "callbacks.ema.decay.a=1",
            "'callbacks.ema.decay.a' cannot be set: callbacks.ema.decay is null. "
            "Use 'callbacks.ema.decay={a: <value>}'.",
        ),
    ],
)
def test_override_below_a_value_names_the_value(override, message):
    overrides = ["model=tiny_mlp", "data=fake_images", override]
    with pytest.raises(ConfigCompositionException) as error:
        compose_config("train", overrides)

    assert errors.format_user_error(error.value, "train", overrides) == message


def test_output_dir_of_a_sweep_is_rejected(tmp_path):
    sweep = pytest.importorskip("firstlight.sweep.__main__")
    with pytest.raises(ConfigError, match="output_dir has no effect in a sweep: its jobs are in .*/<time>. Remove"):
        sweep.plan_and_run(["seed=1,2", "output_dir=x"], tmp_path)
