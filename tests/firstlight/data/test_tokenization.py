"""Tokenizing only the first words of a text gives the same tokens as tokenizing the complete text."""

import os
import random

import pytest
from torch.utils.data import DataLoader

from firstlight.data import tokenization
from firstlight.data.tokenization import (
    MAX_CHARACTERS,
    PARALLELISM,
    cut_long_texts,
    enable_tokenizer_parallelism,
    tokenize,
    tokenizes_words_independently,
)
from firstlight.data.word_tokenizer import SPECIAL_TOKENS, build_word_tokenizer, tokenizer_from_json

pytest.importorskip("transformers", reason="the extra text is not installed")
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?[]-'\u4e2d\u6587\u3042\u03c3"
PIECES = [
    *("a", "words", "WORDS", "don't", "x" * 150, "\u4e2d\u6587", "\u3042\u4e2d", "[SEP]", "[MASK]", "[", "#"),
    *(" ", " ", " ", " ", "  ", "\t", "\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\xa0", "\u2028", "\u3000"),
    *("\x00", "\x07", "\ufeff", "\u200b", "\u200d", "\u00ad", "\ufffd", "\u0301", "e\u0301", "\u03a3", "\U0001f600"),
]
EDGE_CASES = {
    "empty": "",
    "whitespace": " \n\t" * 50,
    "one word": "word",
    "many words": "word " * 300,
    "long word first": "x" * 3000 + " word" * 300,
    "long words": ("y" * 150 + " ") * 40,
    "no whitespace": "\u4e2d\u6587" * 200,
    "words without tokens": "\u200b " * 100 + "word " * 100,
    "a few words without tokens": "\u200b \x07 word " * 30,
    **{f"between words, {character!r}": f"a{character}b" * 100 for character in "\x0b\x0c\x1c\x1f\x85\xa0\u2028\u200b"},
    "Unicode whitespace": "a\u2028b\xa0c\x0bd\x85e\u3000f " * 40,
    "accents on whitespace": "a \u0301b" * 80,
    "special tokens": "[SEP] a[MASK] [CLS]b " * 40,
    "whitespace at the limit": "a b c d e f g h ",
}


def build_word_piece_tokenizer() -> object:
    pieces = dict.fromkeys([*SPECIAL_TOKENS, *LETTERS, *(f"##{letter}" for letter in LETTERS), "word", "##s"])
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer_from_json(tokenizer.to_str())


class CountingTokenizer:
    """A tokenizer that counts the characters that it gets."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.characters = 0

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def __call__(self, texts, **kwargs):
        self.characters += sum(map(len, texts))
        return self.tokenizer(texts, **kwargs)


@pytest.fixture(scope="module", params=["word pieces", "words"])
def tokenizer(request):
    if request.param == "word pieces":
        return build_word_piece_tokenizer()
    return build_word_tokenizer(["word", "words", "a", "b", "ab"])


def to_lists(tokens):
    return [row.tolist() for row in tokens.values.split(tokens.lengths.tolist())]


@pytest.mark.parametrize("max_length", [3, 8, 64])
def test_tokens_equal_those_of_complete_text(tokenizer, max_length):
    rng = random.Random(0)
    random_texts = ["".join(rng.choices(PIECES, k=rng.randrange(200))) for _ in range(1000)]
    texts = [*EDGE_CASES.values(), *random_texts]
    expected = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]

    assert tokenizes_words_independently(tokenizer)
    assert expected == to_lists(tokenize(texts, tokenizer, max_length))


def test_chunk_size_does_not_change_tokens(tokenizer, monkeypatch):
    texts = list(EDGE_CASES.values())
    expected = to_lists(tokenize(texts, tokenizer, 8))
    monkeypatch.setattr(tokenization, "CHUNK_SIZE", 3)

    assert expected == to_lists(tokenize(texts, tokenizer, 8))
    assert to_lists(tokenize([], tokenizer, 8)) == []


def test_only_first_words_are_tokenized(tokenizer):
    counting = CountingTokenizer(tokenizer)
    tokenize(["word " * 1000] * 10, counting, 8)

    assert 10 * 8 * len("word ") == counting.characters


def test_text_with_too_few_tokens_is_tokenized_completely(tokenizer):
    counting = CountingTokenizer(build_word_piece_tokenizer())
    tokenize([EDGE_CASES["words without tokens"], "word " * 100], counting, 8)

    assert 8 * len("\u200b ") + 8 * len("word ") + len(EDGE_CASES["words without tokens"]) == counting.characters


@pytest.mark.parametrize("reason", ["unknown steps", "token with whitespace", "left truncation", "no backend"])
def test_other_tokenizers_get_complete_texts(reason):
    tokenizer = build_word_piece_tokenizer()
    if reason == "unknown steps":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    elif reason == "token with whitespace":
        tokenizer.add_tokens(["a b"])
    elif reason == "left truncation":
        tokenizer.truncation_side = "left"
    else:
        word_pieces = tokenizer
        tokenizer = type("Custom", (), {"__call__": lambda self, texts, **kwargs: word_pieces(texts, **kwargs)})()
    texts = ["\u200b \u200b c d e a b x y z", "word " * 100]
    counting = CountingTokenizer(tokenizer)
    expected = tokenizer(texts, truncation=True, max_length=8)["input_ids"]

    assert not tokenizes_words_independently(tokenizer)
    assert expected == to_lists(tokenize(texts, counting, 8))
    assert sum(map(len, texts)) == counting.characters


def build_byte_level_tokenizer():
    corpus = [
        "some words of a text, and some more words; don't",
        "x" * 300,
        "\u4e2d\u6587 e\u0301 \U0001f600",
        "12.5 ",
    ] * 9
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[*SPECIAL_TOKENS], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer_from_json(tokenizer.to_str())


def build_unigram_tokenizer():
    pieces = [("[UNK]", 0.0), *((piece, -float(index)) for index, piece in enumerate(["\u2581", *LETTERS, "wo", "rd"]))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer_from_json(tokenizer.to_str())


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("build", [build_word_piece_tokenizer, build_byte_level_tokenizer, build_unigram_tokenizer])
def test_cut_texts_have_tokens_of_complete_texts(build, side):
    tokenizer, rng = build(), random.Random(1)
    tokenizer.truncation_side = side
    texts = ["".join(rng.choices(PIECES, k=rng.choice([500, 2000]))) for _ in range(30)]
    texts += [
        "x" * 2000 + " word" * 300,
        "\u200b" * 3000 + "word " * 500,
        "word " * 500 + "\u0301" * 3000,
        "ab1" * 3000,
    ]
    counting = CountingTokenizer(tokenizer)
    expected = tokenizer(texts, truncation=True, max_length=8)["input_ids"]

    assert tokenizer(cut_long_texts(texts, counting, 8), truncation=True, max_length=8)["input_ids"] == expected
    assert to_lists(tokenize(texts, tokenizer, 8)) == expected
    assert sum(map(len, texts)) > counting.characters


@pytest.mark.parametrize("unit", ["x", "word ", "\u4e2d", "\u200b", " ", "a.b,"])
def test_huge_text_is_never_tokenized_completely(unit):
    counting = CountingTokenizer(build_word_piece_tokenizer())
    text = unit * (20_000_000 // len(unit))
    (tokens,) = to_lists(tokenize([text], counting, 128))

    assert counting.characters < 5 * MAX_CHARACTERS
    assert tokens == counting.tokenizer([text[: 10**5]], truncation=True, max_length=128)["input_ids"][0]


@pytest.mark.parametrize("previous", ["false", "true", None])
def test_parallelism_variable_is_restored(monkeypatch, previous):
    monkeypatch.delenv(PARALLELISM, raising=False)
    if previous:
        monkeypatch.setenv(PARALLELISM, previous)

    with enable_tokenizer_parallelism():
        assert os.environ.get(PARALLELISM, "true") == "true"
    assert previous == os.environ.get(PARALLELISM)

    with pytest.raises(KeyError), enable_tokenizer_parallelism():
        raise KeyError
    assert previous == os.environ.get(PARALLELISM)


def test_only_large_datasets_are_tokenized_in_parallel(tokenizer, monkeypatch):
    calls = []

    def record_call(texts, *args):
        calls.append((len(texts), os.environ[PARALLELISM]))
        return [[0]] * len(texts)

    monkeypatch.setenv(PARALLELISM, "false")
    monkeypatch.setattr(tokenization, "PARALLEL_THRESHOLD", 4)
    monkeypatch.setattr(tokenization, "_encode_texts", record_call)
    tokenize(["a"] * 3, tokenizer, 8)
    tokenize(["a"] * 4, tokenizer, 8)

    assert calls == [(3, "false"), (0, "false"), (4, "true"), (0, "true")]


def test_workers_do_not_warn_about_fork(tokenizer, monkeypatch, capfd):
    monkeypatch.setenv(PARALLELISM, "false")
    monkeypatch.setattr(tokenization, "PARALLEL_THRESHOLD", 1)
    tokenize(["word " * 100] * 100, tokenizer, 8)
    items = [int(item) for item in DataLoader(range(8), num_workers=2)]

    assert list(range(8)) == items
    assert "fork" not in capfd.readouterr().err
