"""A copy of the Rust tokenizer gives the tokens of the tokenizer."""

import pytest

from firstlight.data import tokenization
from firstlight.data.tokenization import is_standard_tokenizer, tokenize
from firstlight.data.word_tokenizer import build_word_tokenizer

pytest.importorskip("transformers", reason="the extra text is not installed")

TEXTS = [
    "",
    "word " * 300,
    "x" * 3000 + " word",
    "\u4e2d\u6587",
    "[SEP] a[MASK] [CLS]b " * 40,
    "\u200b " * 100 + "word",
]


class OtherTokenizer:
    """A tokenizer of another class, which counts its calls."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.calls = 0

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def __call__(self, texts, **kwargs):
        self.calls += 1
        return self.tokenizer(texts, **kwargs)


@pytest.fixture
def tokenizer(monkeypatch):
    monkeypatch.setattr(tokenization, "PARALLEL_THRESHOLD", 1)
    return build_word_tokenizer(["word", "a", "b"])


def to_lists(tokens):
    return [row.tolist() for row in tokens.values.split(tokens.lengths.tolist())]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("splits_special_tokens", [False, True])
def test_copy_gives_the_same_tokens(tokenizer, splits_special_tokens, side):
    tokenizer.truncation_side, tokenizer.split_special_tokens = side, splits_special_tokens
    expected = tokenizer(TEXTS, truncation=True, max_length=8)["input_ids"]
    tokenizer(["a text before"], truncation=True, max_length=5, padding="max_length")

    assert is_standard_tokenizer(tokenizer)
    assert to_lists(tokenize(TEXTS, tokenizer, 8)) == expected


def test_tokenizer_of_another_class_is_called(tokenizer):
    other = OtherTokenizer(tokenizer)

    assert not is_standard_tokenizer(other)
    tokenize(["word"], other, 8)
    assert other.calls == 1
