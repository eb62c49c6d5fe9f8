"""Secrets are replaced by ***, and other values are not."""

import pytest
from omegaconf import OmegaConf

from firstlight.run.console_log import tee_to_file
from firstlight.run.redaction import redact

KEY = "local-0123456789abcdef"


@pytest.fixture(autouse=True)
def _set_api_key(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def test_secret_of_environment_is_redacted_at_any_depth():
    tree = {"notes": f"with {KEY}!", "list": [KEY, {"deep": f"{KEY}{KEY}"}], "pair": (KEY, 1)}

    assert redact(tree) == {"notes": "with ***!", "list": ["***", {"deep": "******"}], "pair": ["***", 1]}


@pytest.mark.parametrize("name", ["HF_TOKEN", "my_secret", "DbPassword", "AWS_ACCESS_KEY_ID"])
def test_variable_is_secret_by_its_name(monkeypatch, name):
    monkeypatch.setenv(name, "distinctive")

    assert redact("a distinctive value") == "a *** value"


def test_other_variables_and_short_values_are_not_redacted(monkeypatch):
    monkeypatch.setenv("HOSTNAME", "distinctive")
    monkeypatch.setenv("USE_TOKEN", "seven77")

    assert redact("distinctive seven77") == "distinctive seven77"


def test_longer_of_two_secrets_is_redacted_first(monkeypatch):
    monkeypatch.setenv("OTHER_KEY", f"{KEY}-and-more")

    assert redact(f"{KEY}-and-more {KEY}") == "*** ***"


def test_changed_secret_is_redacted(monkeypatch):
    redact("before")
    monkeypatch.setenv("WANDB_API_KEY", "another-key")

    assert redact(f"another-key {KEY}") == f"*** {KEY}"


@pytest.mark.parametrize("name", ["key", "api_key", "token", "HF_TOKEN", "auth_token", "password", "logger.x.secret"])
def test_config_key_is_secret_by_its_name(name):
    assert redact({"a": {name: "short"}}) == {"a": {name: "***"}}


@pytest.mark.parametrize(
    "config", [{"max_tokens": "512"}, {"tokens_dir": "a"}, {"pad_token_id": 0}, {"token": None}, {"key": 5}]
)
def test_similar_config_keys_are_not_redacted(config):
    assert config == redact(config)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("logger.x.api_key=abc", "logger.x.api_key=***"),
        ("train +logger.x.password='a b' seed=1", "train +logger.x.password=*** seed=1"),
        ("data.max_tokens=512", "data.max_tokens=512"),
        ("sorted(rows, key=priority)", "sorted(rows, key=priority)"),
    ],
)
def test_secret_on_command_line_is_redacted(text, expected):
    assert expected == redact(text)


def test_config_without_secrets_is_unchanged(compose_cfg, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    settings = OmegaConf.to_container(compose_cfg(), resolve=True)

    assert settings == redact(settings)


def test_secrets_are_redacted_only_in_log(tmp_path, capsys):
    with tee_to_file(tmp_path / "output.log"):
        print("key", KEY)

    assert (tmp_path / "output.log").read_text() == "key ***\n"
    assert capsys.readouterr().out == f"key {KEY}\n"


def test_secrets_are_redacted_in_logged_traceback(tmp_path):
    with pytest.raises(ValueError), tee_to_file(tmp_path / "output.log"):
        raise ValueError(f"no access with {KEY}")

    assert KEY not in (tmp_path / "output.log").read_text()
