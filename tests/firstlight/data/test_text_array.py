"""Texts in a file are the same texts as in memory, and give the same splits and tokens."""

import sys

import numpy as np
import pytest

from firstlight.data import text_array, token_cache
from firstlight.data.text import TextDataModule
from firstlight.data.text_array import TextArray, TextArrayBuilder, take_texts
from firstlight.data.text_file import TextFileDataModule
from firstlight.data.word_tokenizer import build_word_tokenizer

TEXTS = ["a", "", "\u00e4\U0001f600", "two words\nand a line", *(f"text {index}" for index in range(20))]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(text_array, "MAX_TEXTS_IN_MEMORY", 7)
    monkeypatch.setattr(text_array, "BLOCK_SIZE", 3)
    monkeypatch.setattr(token_cache, "MIN_TEXTS_TO_CACHE", 10)


def collect(texts, directory):
    builder = TextArrayBuilder(directory)
    for text in texts:
        builder.append(text)
    assert len(builder) == len(texts)
    return builder.build()


def test_texts_in_a_file_equal_those_in_memory(tmp_path):
    texts = collect(TEXTS, tmp_path)

    assert isinstance(texts, TextArray)
    assert list(texts) == TEXTS
    assert texts[2] == TEXTS[2]
    assert texts[-1] == TEXTS[-1]
    assert texts[1:20:4] == TEXTS[1:20:4]
    assert list(tmp_path.iterdir()) == []  # the file has no name


def test_few_texts_stay_in_memory(tmp_path):
    assert collect(TEXTS[:6], tmp_path) == TEXTS[:6]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux lists the mapped files")
def test_texts_are_memory_mapped(tmp_path):
    texts = collect(TEXTS, tmp_path)
    with open("/proc/self/maps") as maps:
        assert f"{tmp_path}/#" in maps.read()
    assert len(texts) == len(TEXTS)


def test_chosen_texts_are_not_read(tmp_path):
    texts = collect(TEXTS, tmp_path)
    chosen = take_texts(take_texts(texts, np.array([5, 3, 8])), np.array([2, 0]))

    assert list(chosen) == [TEXTS[8], TEXTS[5]]
    assert take_texts(TEXTS, np.array([8, 5])) == [TEXTS[8], TEXTS[5]]


def test_digest_determines_the_texts(tmp_path):
    texts = collect(TEXTS, tmp_path)
    others = [
        collect(TEXTS, tmp_path).take(np.arange(3)),
        collect(TEXTS, tmp_path).take(np.array([0, 2, 1])),
        collect(["a" + TEXTS[1], *TEXTS[2:], ""], tmp_path),
        collect([*TEXTS[:-2], TEXTS[-2] + TEXTS[-1][0], TEXTS[-1][1:]], tmp_path),
    ]

    assert collect(TEXTS, tmp_path / "b").digest == texts.digest
    assert len({texts.digest, *(other.digest for other in others)}) == 5


def test_directory_that_is_not_writable_is_replaced(tmp_path):
    (tmp_path / "file").write_text("a file in place of the directory")

    assert list(collect(TEXTS, tmp_path / "file")) == TEXTS


def test_only_empty_texts(tmp_path):
    assert list(collect([""] * 9, tmp_path)) == [""] * 9


def test_large_file_gives_the_same_splits_and_tokens(tmp_path, monkeypatch, requires_text_packages):
    monkeypatch.setattr(TextDataModule, "tokens_dir", tmp_path / "tokens")
    path = tmp_path / "texts.csv"
    path.write_text("text,label\n" + "".join(f"word{index} word,{index % 3}\n" for index in range(100)))
    found = {}
    for limit in (7, 1000):
        monkeypatch.setattr(text_array, "MAX_TEXTS_IN_MEMORY", limit)
        data = TextFileDataModule(str(path))
        data.setup("fit")
        data.set_tokenizer(build_word_tokenizer(data.metadata["vocabulary"]))
        assert isinstance(data.texts["train"][0], TextArray) == (limit == 7)
        tokens = {name: part.token_ids.tolist() for name, part in data.datasets.items()}
        labels = {name: part.labels.tolist() for name, part in data.datasets.items()}
        found[limit] = {name: list(texts) for name, (texts, _) in data.texts.items()}, tokens, labels, data.state_dict()

    assert str(found[7]) == str(found[1000])
