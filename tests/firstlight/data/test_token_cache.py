"""Tokens kept on disk are those that cutting would give, or none at all."""

import pickle
import sys

import pytest
import torch

from firstlight.data import token_cache, word_tokenizer
from firstlight.data.text import TextDataModule
from firstlight.data.text_file import TextFileDataModule
from firstlight.data.token_cache import load_tokens, tokenize_cached
from firstlight.data.tokenization import tokenize

TEXTS = [f"word{index % 7} " * (index % 12) for index in range(40)]


@pytest.fixture(autouse=True)
def forty_texts_are_many(monkeypatch, requires_text_packages):
    monkeypatch.setattr(token_cache, "MIN_TEXTS_TO_CACHE", 40)


@pytest.fixture
def tokenizer():
    return word_tokenizer.build_word_tokenizer([f"word{index}" for index in range(7)])


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "tokens"


def equal(first, second):
    return all(torch.equal(*pair) and pair[0].dtype == pair[1].dtype for pair in zip(first, second, strict=True))


def no_cutting(*args):
    raise AssertionError("cut again")


def test_a_large_set_is_cut_once(folder, tokenizer, monkeypatch):
    first = tokenize_cached(TEXTS, tokenizer, 8, folder)
    monkeypatch.setattr(token_cache, "tokenize", no_cutting)
    second = tokenize_cached(TEXTS, tokenizer, 8, folder)

    assert equal(first, second)
    assert [each.suffix for each in folder.iterdir()] == [".safetensors"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux lists what is mapped")
def test_what_was_kept_is_mapped_not_read(folder, tokenizer):
    tokenize_cached(TEXTS, tokenizer, 8, folder)
    kept = tokenize_cached(TEXTS, tokenizer, 8, folder)
    with open("/proc/self/maps") as maps:
        assert len(kept.values)
        assert str(next(folder.iterdir())) in maps.read()


def test_a_small_set_leaves_no_file(folder, tokenizer):
    tokenize_cached(TEXTS[1:], tokenizer, 8, folder)

    assert not folder.exists()


def test_whatever_changes_the_tokens_is_kept_apart(folder, tokenizer):
    tokenize_cached(TEXTS, tokenizer, 8, folder)
    tokenize_cached(TEXTS, tokenizer, 9, folder)
    tokenize_cached([*TEXTS[1:], "word1"], tokenizer, 8, folder)
    tokenize_cached([*TEXTS[:2], "word1 word1", "", *TEXTS[4:]], tokenizer, 8, folder)
    tokenize_cached([*TEXTS[:2], "word1 ", "word1", *TEXTS[4:]], tokenizer, 8, folder)
    tokenize_cached(TEXTS, word_tokenizer.build_word_tokenizer(["word1"]), 8, folder)

    assert len(list(folder.iterdir())) == 6


def test_the_tokenizer_of_a_checkpoint_finds_what_its_training_kept(folder, tokenizer, monkeypatch):
    tokenize_cached(TEXTS, tokenizer, 8, folder)
    tokenizer(["word1"], truncation=True, max_length=5)
    monkeypatch.setattr(token_cache, "tokenize", no_cutting)

    tokenize_cached(TEXTS, word_tokenizer.from_json(word_tokenizer.to_json(tokenizer)), 8, folder)


def test_a_damaged_file_is_made_anew(folder, tokenizer):
    right = tokenize_cached(TEXTS, tokenizer, 8, folder)
    (path,) = folder.iterdir()
    sound = path.read_bytes()
    flipped = [sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :] for at in range(0, len(sound), 23)]
    for damaged in (*flipped, *(sound[:length] for length in range(0, len(sound), 150)), sound + b"\0"):
        path.write_bytes(damaged)

        assert equal(right, tokenize_cached(TEXTS, tokenizer, 8, folder))
        assert equal(right, load_tokens(path))


def test_a_file_that_could_run_code_is_no_tokens(folder, tokenizer):
    right = tokenize_cached(TEXTS, tokenizer, 8, folder)
    (path,) = folder.iterdir()
    path.write_bytes(pickle.dumps(right))

    assert load_tokens(path) is None


def test_where_nothing_can_be_written_texts_are_cut_each_time(tmp_path, tokenizer):
    (tmp_path / "data").write_text("a file where a folder should be")

    for _ in range(2):
        assert equal(tokenize(TEXTS, tokenizer, 8), tokenize_cached(TEXTS, tokenizer, 8, tmp_path / "data" / "tokens"))


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_nothing(folder, tokenizer, monkeypatch, error):
    def fails(tensors, path, metadata):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(token_cache, "save_file", fails)
    if isinstance(error, OSError):
        tokenize_cached(TEXTS, tokenizer, 8, folder)
    else:
        with pytest.raises(KeyboardInterrupt):
            tokenize_cached(TEXTS, tokenizer, 8, folder)

    assert list(folder.iterdir()) == []


def test_a_tokenizer_without_json_is_not_kept(folder, tokenizer):
    own = type("Own", (), {"__call__": lambda self, texts, **how: tokenizer(texts, **how)})()

    assert equal(tokenize(TEXTS, tokenizer, 8), tokenize_cached(TEXTS, own, 8, folder))
    assert not folder.exists()


def test_the_splits_of_a_data_set_are_kept_but_not_what_is_predicted(folder, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(TextDataModule, "tokens_dir", folder)
    path = tmp_path / "texts.csv"
    path.write_text("text,label\n" + "".join(f"word{index},{index % 2}\n" for index in range(40)))
    data = TextFileDataModule(str(path), val_path=str(path), test_path=str(path))
    data.setup()
    data.set_tokenizer(tokenizer)
    kept = list(folder.iterdir())
    path.write_text(path.read_text() + "another,0\n")
    data.set_predict_inputs(str(path))

    assert 1 == len(kept) == len(list(folder.iterdir()))
