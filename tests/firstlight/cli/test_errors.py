"""Errors of Hydra are printed in one line."""

import pytest
from hydra.errors import ConfigCompositionException

from firstlight.cli import errors


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
