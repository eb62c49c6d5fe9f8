"""The token cache returns what tokenizing returns, or nothing."""

import pickle
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from firstlight.data import token_cache, token_file
from firstlight.data.text import TextDataModule
from firstlight.data.text_file import TextFileDataModule
from firstlight.data.token_cache import tokenize_cached
from firstlight.data.token_dataset import RaggedTokens
from firstlight.data.token_file import load_tokens, save_tokens
from firstlight.data.tokenization import tokenize
from firstlight.data.word_tokenizer import build_word_tokenizer, tokenizer_from_json, tokenizer_to_json

TEXTS = [f"word{index % 7} " * (index % 12) for index in range(40)]


@pytest.fixture(autouse=True)
def low_cache_threshold(monkeypatch, requires_text_packages):
    monkeypatch.setattr(token_cache, "MIN_TEXTS_TO_CACHE", 40)


@pytest.fixture
def tokenizer():
    return build_word_tokenizer([f"word{index}" for index in range(7)])


@pytest.fixture
def cache_dir(tmp_path):
    return tmp_path / "data" / "tokens"


def are_equal(first, second):
    return all(torch.equal(*pair) and pair[0].dtype == pair[1].dtype for pair in zip(first, second, strict=True))


def fail_to_tokenize(*args):
    raise AssertionError("tokenized again")


def test_large_dataset_is_tokenized_once(cache_dir, tokenizer, monkeypatch):
    first = tokenize_cached(TEXTS, tokenizer, 8, cache_dir)
    monkeypatch.setattr(token_cache, "iter_tokens", fail_to_tokenize)
    second = tokenize_cached(TEXTS, tokenizer, 8, cache_dir)

    assert are_equal(first, second)
    assert [path.suffix for path in cache_dir.iterdir()] == [".safetensors"]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux lists the mapped files")
def test_cache_file_is_memory_mapped(cache_dir, tokenizer):
    tokenize_cached(TEXTS, tokenizer, 8, cache_dir)
    tokens = tokenize_cached(TEXTS, tokenizer, 8, cache_dir)
    with open("/proc/self/maps") as maps:
        assert len(tokens.values)
        assert str(next(cache_dir.iterdir())) in maps.read()


def test_small_dataset_is_not_cached(cache_dir, tokenizer):
    tokenize_cached(TEXTS[1:], tokenizer, 8, cache_dir)

    assert not cache_dir.exists()


def test_texts_tokenizer_and_length_determine_cache_file(cache_dir, tokenizer):
    tokenize_cached(TEXTS, tokenizer, 8, cache_dir)
    tokenize_cached(TEXTS, tokenizer, 9, cache_dir)
    tokenize_cached([*TEXTS[1:], "word1"], tokenizer, 8, cache_dir)
    tokenize_cached([*TEXTS[:2], "word1 word1", "", *TEXTS[4:]], tokenizer, 8, cache_dir)
    tokenize_cached([*TEXTS[:2], "word1 ", "word1", *TEXTS[4:]], tokenizer, 8, cache_dir)
    tokenize_cached(TEXTS, build_word_tokenizer(["word1"]), 8, cache_dir)

    assert len(list(cache_dir.iterdir())) == 6


def test_tokenizer_of_checkpoint_uses_cache_of_training(cache_dir, tokenizer, monkeypatch):
    tokenize_cached(TEXTS, tokenizer, 8, cache_dir)
    tokenizer(["word1"], truncation=True, max_length=5)
    monkeypatch.setattr(token_cache, "iter_tokens", fail_to_tokenize)

    tokenize_cached(TEXTS, tokenizer_from_json(tokenizer_to_json(tokenizer)), 8, cache_dir)


def test_corrupt_cache_file_is_written_again(cache_dir, tokenizer, capsys):
    expected = tokenize_cached(TEXTS, tokenizer, 8, cache_dir)
    (path,) = cache_dir.iterdir()
    content = path.read_bytes()
    flipped = [content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :] for i in range(0, len(content), 23)]
    truncated = [content[:length] for length in range(0, len(content), 150)]
    for corrupt_content in (*flipped, *truncated, content + b"\0"):
        path.write_bytes(corrupt_content)

        assert are_equal(expected, tokenize_cached(TEXTS, tokenizer, 8, cache_dir))
        assert are_equal(expected, load_tokens(path))
    assert capsys.readouterr().err.splitlines()[-1] == f"data: the token cache {path} is damaged and is written again."


def test_chunks_are_one_valid_file(tmp_path):
    rows = [[[1, 2], [], [3]], [], [[4], [5, 6, 7]]]
    path = tmp_path / "a.safetensors"

    assert save_tokens(path, map(RaggedTokens.from_lists, rows))
    assert are_equal(RaggedTokens.from_lists([row for chunk in rows for row in chunk]), load_tokens(path))


def test_processes_tokenize_the_same_texts_once(cache_dir, tokenizer, monkeypatch):
    calls, original = [], token_cache.iter_tokens

    def tokenize_slowly(*args):
        calls.append(args)
        time.sleep(0.3)
        return original(*args)

    monkeypatch.setattr(token_cache, "iter_tokens", tokenize_slowly)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: tokenize_cached(TEXTS, tokenizer, 8, cache_dir), range(2))

    assert len(calls) == 1
    assert are_equal(first, second)


def test_pickle_is_not_loaded(cache_dir, tokenizer):
    tokens = tokenize_cached(TEXTS, tokenizer, 8, cache_dir)
    (path,) = cache_dir.iterdir()
    path.write_bytes(pickle.dumps(tokens))

    assert load_tokens(path) is None


def test_texts_are_tokenized_each_time_if_cache_is_not_writable(tmp_path, tokenizer):
    (tmp_path / "data").write_text("a file in place of the directory")

    for _ in range(2):
        tokens = tokenize_cached(TEXTS, tokenizer, 8, tmp_path / "data" / "tokens")
        assert are_equal(tokenize(TEXTS, tokenizer, 8), tokens)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_failed_write_leaves_no_file(cache_dir, tokenizer, monkeypatch, error):
    def write_half(file, chunks):
        file.write(b"half")
        raise error

    monkeypatch.setattr(token_file, "write_tokens", write_half)
    if isinstance(error, OSError):
        tokenize_cached(TEXTS, tokenizer, 8, cache_dir)
    else:
        with pytest.raises(KeyboardInterrupt):
            tokenize_cached(TEXTS, tokenizer, 8, cache_dir)

    assert list(cache_dir.iterdir()) == []


def test_tokenizer_without_json_is_not_cached(cache_dir, tokenizer):
    custom = type("Custom", (), {"__call__": lambda self, texts, **kwargs: tokenizer(texts, **kwargs)})()

    assert are_equal(tokenize(TEXTS, tokenizer, 8), tokenize_cached(TEXTS, custom, 8, cache_dir))
    assert not cache_dir.exists()


def test_splits_are_cached_but_not_predict_inputs(cache_dir, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(TextDataModule, "tokens_dir", cache_dir)
    path = tmp_path / "texts.csv"
    path.write_text("text,label\n" + "".join(f"word{index},{index % 2}\n" for index in range(40)))
    data = TextFileDataModule(str(path), val_path=str(path), test_path=str(path))
    data.setup()
    data.set_tokenizer(tokenizer)
    files = list(cache_dir.iterdir())
    path.write_text(path.read_text() + "another,0\n")
    data.set_predict_inputs(str(path))

    assert 1 == len(files) == len(list(cache_dir.iterdir()))
