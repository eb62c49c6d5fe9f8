"""Tests of `make prepare`: afterwards, training needs no network and tokenizes nothing again."""

import re
import socket

import pytest

from firstlight import train
from firstlight.config.compose import compose_config
from firstlight.data import token_cache
from firstlight.prepare import __main__ as prepare
from firstlight.run.errors import DataError
from support.options import HAS_TEXT, QUICK_OVERRIDES

TABULAR = ["model=plain_tabular", "data=plain_fetched", *QUICK_OVERRIDES]
NUM_TEXTS = token_cache.MIN_TEXTS_TO_CACHE + 250  # after the split, the training texts are enough to be cached


@pytest.fixture
def block_network(monkeypatch):
    """Return a function that makes each connection fail."""

    def fail(*args):
        raise AssertionError(f"connected to {args[1:]}")

    def block():
        monkeypatch.setattr(socket.socket, "connect", fail)
        monkeypatch.setattr(socket, "getaddrinfo", fail)

    return block


def run_prepare(capsys, *overrides):
    """Run the command; return the lines that it printed."""
    capsys.readouterr()
    prepare.main(compose_config("prepare", list(overrides)))
    return capsys.readouterr().out.splitlines()


@pytest.mark.skipif(not HAS_TEXT, reason="transformers is not installed")
def test_training_after_prepare_reads_the_tokens(tmp_path, monkeypatch, capsys, block_network):
    monkeypatch.chdir(tmp_path)
    rows = [f"word{index % 7} word{index} text,{'ab'[index % 2]}" for index in range(NUM_TEXTS)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]))
    overrides = ["model=tiny_text", "data=text_file", "data.path=rows.csv", *QUICK_OVERRIDES, "data.batch_size=512"]
    first = run_prepare(capsys, *overrides, "trainer=ddp", "callbacks.best.monitor=val/f1")
    second = run_prepare(capsys, *overrides)
    size = re.escape(f"{(tmp_path / 'rows.csv').stat().st_size / 1024:.1f} KiB")

    assert re.fullmatch(r"new       data/tokens  \(.* KiB, 1 file\)", first[0])
    assert re.fullmatch(rf"present   rows.csv  \({size}\)", first[1])
    assert second == [first[0].replace("new    ", "present"), first[1], first[2]]
    assert first[2:] == ["Train with: make train"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "rows.csv"]

    tokenized = []  # number of texts in each call
    tokenize = token_cache.tokenize
    monkeypatch.setattr(
        token_cache, "tokenize", lambda texts, *args: tokenized.append(len(texts)) or tokenize(texts, *args)
    )
    block_network()
    metrics = train.main(compose_config("train", [*overrides, "test=false", "output_dir=run"]))["metrics"]
    assert "val/loss" in metrics
    assert sorted(tokenized) == [124, 126]  # val and test, which are too small for the cache


def test_prepare_data_of_any_datamodule_is_run_once(tmp_path, monkeypatch, capsys, block_network):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source").write_text("1 2\n")
    overrides = [*TABULAR, f"data.source=file://{tmp_path}/source"]
    first = run_prepare(capsys, *overrides)
    (tmp_path / "source").unlink()
    block_network()
    second = run_prepare(capsys, *overrides)

    assert first[0] == "new       datasets/rows  (4 B, 1 file)"
    assert second[0] == "present   datasets/rows  (4 B, 1 file)"
    assert first[-1] == "Train with: HF_HUB_OFFLINE=1 make train"  # an address was asked for
    assert second[-1] == "Train with: make train"
    assert train.main(compose_config("train", [*overrides, "trainer.max_steps=1", "output_dir=run"]))["metrics"]


def test_address_that_cannot_be_reached_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = (
        r"^FetchedDataModule.prepare_data could not fetch http://127.0.0.1:9/rows.csv \(.*refused.*\). Run "
        "`make prepare` on a machine with network access, and copy the files that it lists to the same paths here.$"
    )
    with pytest.raises(DataError, match=message):
        prepare.main(compose_config("prepare", TABULAR))


def test_other_errors_keep_their_traceback(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source").write_text("no number\n")
    with pytest.raises(ValueError, match="could not convert string"):
        prepare.main(compose_config("prepare", [*TABULAR, f"data.source=file://{tmp_path}/source"]))
