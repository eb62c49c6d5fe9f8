"""Hydra and launchers receive overrides without secrets, which mean the same."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from firstlight.run.secret_overrides import ENV_PREFIX, move_secrets_to_environment

SECRETS = {"HF_TOKEN": "hf_Distinctive", "DB_PASSWORD": "pa'ss w,x", "DATABASE_URL": "postgres://u:dbpassword@h/db"}


@pytest.fixture(autouse=True)
def _set_secrets(monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    for number in range(1, 5):
        monkeypatch.setenv(f"{ENV_PREFIX}{number}", "")  # restored after the test
        monkeypatch.delenv(f"{ENV_PREFIX}{number}")


def parse_values(override):
    """Return the values of an override, as Hydra's sweeper and OmegaConf understand it."""
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_sweep_override():
        return OmegaConf.to_container(OmegaConf.create({"x": parsed.value()}), resolve=True)["x"]
    overrides = OverridesParser.create().parse_overrides([f"x={text}" for text in parsed.sweep_string_iterator()])
    return [OmegaConf.create({"x": item.value()}).x for item in overrides]


@pytest.mark.parametrize(
    "override",
    [
        "tags=[of-hf_Distinctive]",
        "tags=['hf_Distinctive','pa\\'ss w,x',\"pa'ss w,x\",'postgres://u:dbpassword@h/db']",
        "notes='with dbpassword'",
        "+logger.x.api_key=abc",
        "logger.x.api_key='a b'",
        "logger.x.api_key=abc,'d e',null",
        "data.url=s3://user:other-secret@host/x",
        "data.url=s3://hf_Distinctive@host/a,s3://b",
        "++model.token=abc",
    ],
)
def test_override_without_secrets_has_the_same_value(override):
    (moved,) = move_secrets_to_environment([override])

    assert "${oc.env:" in moved
    assert not any(secret in moved for secret in ("hf_D", "ss w", "DBpass", "abc", "a b", "d e", "other-secret"))
    assert parse_values(moved) == parse_values(override)
    assert move_secrets_to_environment([moved]) == [moved]


@pytest.mark.parametrize(
    "override",
    [
        "seed=0,1",
        "output_dir=/runs/hf_Distinctive",
        "run=hf_Distinctive",
        "~callbacks.curves",
        "--cfg",
        "model.key=5",
        "logger.x.api_key=null",
        "logger.x.api_key=${oc.env:OTHER}",
        "optimizer.lr=interval(1e-4,1e-2)",
    ],
)
def test_other_overrides_are_unchanged(override):
    assert move_secrets_to_environment([override]) == [override]
