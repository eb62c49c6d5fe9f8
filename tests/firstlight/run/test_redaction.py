"""Secrets are replaced by ***, and other values are not."""

import json
import shlex
import timeit
from urllib.parse import quote

import pytest
import yaml
from omegaconf import OmegaConf

from firstlight.run.console_log import tee_to_file
from firstlight.run.redaction import LogRedactor, redact, redact_override
from firstlight.run.secret_values import load_secret_formats
from support.fake_secrets import make_secrets

KEY = "local-0123456789abcdef"


@pytest.fixture(autouse=True)
def _set_api_key(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)


def test_secret_of_environment_is_redacted_at_any_depth():
    tree = {"notes": f"with {KEY}!", "list": [KEY, {"deep": f"{KEY}{KEY}"}], "pair": (KEY, 1)}

    assert redact(tree) == {"notes": "with ***!", "list": ["***", {"deep": "******"}], "pair": ("***", 1)}


@pytest.mark.parametrize("name", ["HF_TOKEN", "my_secret", "DbPassword", "AWS_ACCESS_KEY_ID"])
def test_variable_is_secret_by_its_name(monkeypatch, name):
    monkeypatch.setenv(name, "distinctive")

    assert redact("a distinctive value") == "a *** value"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOSTNAME", "distinctive"),
        ("USE_TOKEN", "true"),
        ("USE_AUTH", "1"),
        ("MAX_TOKENS", "4096"),
        ("TOKENIZERS_PARALLELISM", "disable"),
        ("PASSWORD_STORE_DIR", "distinctive"),
        ("SSH_AUTH_SOCK", "distinctive"),
        ("KEYMAP", "distinctive"),
        ("TOKEN_URL", "https://host/distinctive"),
        ("GOOGLE_APPLICATION_CREDENTIALS", __file__),
    ],
)
def test_other_variables_and_usual_words_are_not_redacted(monkeypatch, name, value):
    monkeypatch.setenv(name, value)

    assert redact(f"a {value} of 4096") == f"a {value} of 4096"


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("MY_PASSWORD", "hunter2", "hunter2"),
        ("MYSQL_PWD", "mysqlPWDvalue77", "mysqlPWDvalue77"),
        ("GITHUB_PAT", "a-value-of-1", "a-value-of-1"),
        ("SSH_PASSPHRASE", "two words", "two words"),
        ("DB_PASS", "pa'ss \"w\\ $d", "pa'ss \"w\\ $d"),
        ("SMTP_CREDENTIALS", "smtp1", "smtp1"),
        ("APIKEY", "abcd1", "abcd1"),
        ("DATABASE_URL", "postgres://user:dbpassword@host/db", "dbpassword"),
        ("DATABASE_URL", "mysql://user:p%40ss@host/db", "p@ss"),
        ("ODBC", "Server=host;Uid=me;Pwd=sql12;", "sql12"),
        ("PROXY", "http://:only-pass@proxy:80", "only-pass"),
        ("SIGNING_KEY", "-----BEGIN " + "PRIVATE KEY-----\nMIIEvQIBADANBg9\n", "MIIEvQIBADANBg9"),
    ],
)
def test_value_of_secret_variable_is_redacted(monkeypatch, name, value, secret):
    monkeypatch.setenv(name, value)

    assert redact(f"tags: {secret}, end") == "tags: ***, end"


@pytest.mark.parametrize("write", [json.dumps, repr, shlex.quote, quote, yaml.safe_dump, lambda text: f"'{text}'"])
def test_secret_that_needs_quotes_is_redacted_however_it_is_written(monkeypatch, write):
    secret = "pa'ss \"w\\ $d;x"
    monkeypatch.setenv("DB_PASS", secret)
    text = redact(f"value {write(secret)} end")

    assert "***" in text
    assert "ss" not in text


def test_secret_that_is_an_ordinary_word_changes_no_functional_value(monkeypatch, compose_cfg):
    for number, word in enumerate(["firstlight", "checkpoints", "auto", "train", "logs/train", "cpu", "bf16-mixed"]):
        monkeypatch.setenv(f"PASSWORD_{number}", word)
    settings = OmegaConf.to_container(compose_cfg(), resolve=True)

    assert settings == redact(settings)
    assert redact({"tags": ["train"], "reason": "no firstlight"}) == {"tags": ["***"], "reason": "no ***"}
    assert redact("checkpoints in logs/checkpoints/last.ckpt") == "*** in logs/checkpoints/last.ckpt"


def test_keys_and_paths_are_unchanged():
    run = {"output_dir": f"logs/{KEY}", "_target_": KEY, KEY: 1, "data": {"root": f"/data/{KEY}"}}

    assert redact(run) == run
    assert redact({"data": {"root": f"s3://{KEY}@host"}}) == {"data": {"root": "s3://***@host"}}


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
        ("train +logger.x.password='a b' seed=1", "train +logger.x.password='***' seed=1"),
        ("data.max_tokens=512", "data.max_tokens=512"),
        ("export WANDB_API_KEY=abc", "export WANDB_API_KEY=***"),
        ('{"db_password": "a b", "n": 1}', '{"db_password": "***", "n": 1}'),
        ("  password: abc\nnext: 1", "  password: ***\nnext: 1"),
        ("Invalid value for data.password: expected a string", "Invalid value for data.password: expected a string"),
        ("db: Server=h;Pwd=abc;Uid=5", "db: Server=h;Pwd=***;Uid=5"),
        ("url=s3://me:abc@host/x and s3://me@host", "url=s3://me:***@host/x and s3://me@host"),
        ("api_key=${oc.env:X}", "api_key=${oc.env:X}"),
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


@pytest.mark.parametrize("secret_format", load_secret_formats(), ids=lambda item: item.name)
def test_text_in_format_of_key_is_redacted(secret_format):
    for text, secret in make_secrets(secret_format.name):
        redacted = redact(f"notes {text} end")

        assert secret not in redacted
        assert redacted.startswith("notes ")
        assert redacted.endswith(" end") or "-----BEGIN" in text  # a private key may be incomplete


@pytest.mark.parametrize(
    "text",
    [
        "epoch 1/5  train/loss 0.4321  val/accuracy 0.98  382 samples/s",
        "run_dir   logs/train/2026-01-01_10-00-00_model_dataset",
        "commit 0123456789abcdef0123456789abcdef01234567",
        "task-1, disk-cache, sk-learn, wandb_dir=/tmp/wandb, hf_hub_download, asian-art, npm_config",
        "s3://bucket/path:1@2, user@host:/data, http://localhost:8080/a@b",
        "tokenizer: BertTokenizer, key=name, sorted(rows, key=name), max_tokens=512",
    ],
)
def test_ordinary_text_is_unchanged(text):
    assert redact(text) == text


def test_override_is_redacted_by_its_key():
    assert redact_override("+logger.x.api_key='a, b'") == "+logger.x.api_key='***'"
    assert redact_override("logger.x.api_key=a,null") == "logger.x.api_key=***,null"
    assert redact_override("model.hidden_size=16") == "model.hidden_size=16"


def test_redaction_of_a_line_takes_at_most_100_us(monkeypatch):
    for number in range(20):
        monkeypatch.setenv(f"SERVICE_{number}_TOKEN", f"a'distinctive-value-{number}")
    line = "epoch 1/5  train/loss=0.43  val/accuracy=0.98  data.max_tokens: 512, https://host:80/x?key=a  "
    log = LogRedactor()
    log(line)
    duration_s = min(timeit.repeat(lambda: log(line), number=50, repeat=5)) / 50

    assert duration_s < 200e-6  # 100 us on an idle machine; tests share a core
