"""Cutting reads a part of each text, and gives the tokens of the whole."""

import os
import random

import pytest
from torch.utils.data import DataLoader

from firstlight.data import tokenization, word_tokenizer
from firstlight.data.tokenization import PARALLELISM, parallel_tokenizers, tokenize, tokenizes_words_independently

pytest.importorskip("transformers", reason="the extra text is not installed")
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?[]-'\u4e2d\u6587\u3042\u03c3"
PIECES = [
    *("a", "words", "WORDS", "don't", "x" * 150, "\u4e2d\u6587", "\u3042\u4e2d", "[SEP]", "[MASK]", "[", "#"),
    *(" ", " ", " ", " ", "  ", "\t", "\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\xa0", "\u2028", "\u3000"),
    *("\x00", "\x07", "\ufeff", "\u200b", "\u200d", "\u00ad", "\ufffd", "\u0301", "e\u0301", "\u03a3", "\U0001f600"),
]
ODD = {
    "empty": "",
    "blanks": " \n\t" * 50,
    "one word": "word",
    "many words": "word " * 300,
    "long word first": "x" * 3000 + " word" * 300,
    "long words": ("y" * 150 + " ") * 40,
    "no blanks": "\u4e2d\u6587" * 200,
    "words without tokens": "\u200b " * 100 + "word " * 100,
    "a few words without tokens": "\u200b \x07 word " * 30,
    **{f"between words, {character!r}": f"a{character}b" * 100 for character in "\x0b\x0c\x1c\x1f\x85\xa0\u2028\u200b"},
    "blanks of Unicode": "a\u2028b\xa0c\x0bd\x85e\u3000f " * 40,
    "accents on blanks": "a \u0301b" * 80,
    "special tokens": "[SEP] a[MASK] [CLS]b " * 40,
    "a blank at the limit": "a b c d e f g h ",
}


def word_pieces() -> object:
    pieces = dict.fromkeys(
        [*word_tokenizer.SPECIAL_TOKENS, *LETTERS, *(f"##{letter}" for letter in LETTERS), "word", "##s"]
    )
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return word_tokenizer.from_json(tokenizer.to_str())


class Counting:
    """A tokenizer that counts the characters it was given."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.characters = 0

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def __call__(self, texts, **how):
        self.characters += sum(map(len, texts))
        return self.tokenizer(texts, **how)


@pytest.fixture(scope="module", params=["word pieces", "words"])
def tokenizer(request):
    return (
        word_pieces()
        if request.param == "word pieces"
        else word_tokenizer.build_word_tokenizer(["word", "words", "a", "b", "ab"])
    )


def rows(ragged):
    return [each.tolist() for each in ragged.values.split(ragged.lengths.tolist())]


@pytest.mark.parametrize("max_length", [3, 8, 64])
def test_odd_texts_give_the_tokens_of_the_whole(tokenizer, max_length):
    chance = random.Random(0)
    texts = [*ODD.values(), *("".join(chance.choices(PIECES, k=chance.randrange(200))) for _ in range(1000))]

    assert tokenizes_words_independently(tokenizer)
    assert tokenizer(texts, truncation=True, max_length=max_length)["input_ids"] == rows(
        tokenize(texts, tokenizer, max_length)
    )


def test_portions_make_no_difference(tokenizer, monkeypatch):
    texts = list(ODD.values())
    whole = rows(tokenize(texts, tokenizer, 8))
    monkeypatch.setattr(tokenization, "CHUNK_SIZE", 3)

    assert whole == rows(tokenize(texts, tokenizer, 8))
    assert rows(tokenize([], tokenizer, 8)) == []


def test_no_more_is_read_than_can_matter(tokenizer):
    counting = Counting(tokenizer)
    tokenize(["word " * 1000] * 10, counting, 8)

    assert 10 * 8 * len("word ") == counting.characters


def test_a_text_with_too_few_tokens_is_read_again(tokenizer):
    counting = Counting(word_pieces())
    tokenize([ODD["words without tokens"], "word " * 100], counting, 8)

    assert 8 * len("\u200b ") + 8 * len("word ") + len(ODD["words without tokens"]) == counting.characters


@pytest.mark.parametrize("reason", ["unknown steps", "a token with a blank", "the end is kept", "no backend"])
def test_other_tokenizers_read_whole_texts(reason):
    tokenizer = word_pieces()
    if reason == "unknown steps":
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    elif reason == "a token with a blank":
        tokenizer.add_tokens(["a b"])
    elif reason == "the end is kept":
        tokenizer.truncation_side = "left"
    else:
        tokenizer = type("Own", (), {"__call__": lambda self, texts, **how: word_pieces()(texts, **how)})()
    texts = ["\u200b \u200b c d e a b x y z", "word " * 100]
    counting = Counting(tokenizer)

    assert not tokenizes_words_independently(tokenizer)
    assert tokenizer(texts, truncation=True, max_length=8)["input_ids"] == rows(tokenize(texts, counting, 8))
    assert sum(map(len, texts)) == counting.characters


@pytest.mark.parametrize("before", ["false", "true", None])
def test_all_cores_are_used_for_a_while_only(monkeypatch, before):
    monkeypatch.delenv(PARALLELISM, raising=False)
    if before:
        monkeypatch.setenv(PARALLELISM, before)

    with parallel_tokenizers():
        assert os.environ.get(PARALLELISM, "true") == "true"
    assert before == os.environ.get(PARALLELISM)

    with pytest.raises(KeyError), parallel_tokenizers():
        raise KeyError
    assert before == os.environ.get(PARALLELISM)


def test_only_large_sets_use_all_cores(tokenizer, monkeypatch):
    seen = []

    def spy(texts, *rest):
        seen.append((len(texts), os.environ[PARALLELISM]))
        return [[0]] * len(texts)

    monkeypatch.setenv(PARALLELISM, "false")
    monkeypatch.setattr(tokenization, "PARALLEL_THRESHOLD", 4)
    monkeypatch.setattr(tokenization, "_token_ids", spy)
    tokenize(["a"] * 3, tokenizer, 8)
    tokenize(["a"] * 4, tokenizer, 8)

    assert seen == [(3, "false"), (0, "false"), (4, "true"), (0, "true")]


def test_loader_processes_do_not_warn_of_threads(tokenizer, monkeypatch, capfd):
    monkeypatch.setenv(PARALLELISM, "false")
    monkeypatch.setattr(tokenization, "PARALLEL_THRESHOLD", 1)
    tokenize(["word " * 100] * 100, tokenizer, 8)
    read = [int(each) for each in DataLoader(range(8), num_workers=2)]

    assert list(range(8)) == read
    assert "fork" not in capfd.readouterr().err
