"""Cut texts into token ids, reading no more of a text than can matter."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

from firstlight.data.token_dataset import Ragged

# So many texts take seconds: all cores cut them.
LARGE = 5_000
# Texts that are cut at a time: the tokenizer returns Python numbers, which take ten times the memory of an array.
PORTION = 10_000
# What every tokenizer takes for the end of a word. `str.split` knows more such characters, as \x1c, which BERT
# deletes instead: to BERT, "a\x1cb" is one word.
BLANKS = " \t\n\r"
# Normalizer and pre-tokenizer, by class, of tokenizers that read each word without regard to the words around it.
WORD_BY_WORD = (("BertNormalizer", "BertPreTokenizer"), ("Lowercase", "WhitespaceSplit"))
PARALLELISM = "TOKENIZERS_PARALLELISM"


class Tokenizer(Protocol):
    """What cuts text into token ids: any tokenizer of transformers, for one."""

    pad_token_id: int

    def __call__(self, text: list[str], *, truncation: bool, max_length: int) -> Any:
        """Return {"input_ids": a list of ids for each text}."""


def cut(texts: list[str], tokenizer: Tokenizer, max_length: int) -> Ragged:
    """Return the first tokens of each text, [CLS] and [SEP] included.

    They are those of the whole text, though no more than its first words are read: most tokenizers take time for
    all of a text before they cut it off. BBC News takes 0.5 instead of 2.5 CPU seconds.

    Args:
        texts: the texts.
        tokenizer: what cuts them. One that is not known to read word by word is given whole texts.
        max_length: tokens to return of each text at most.
    """
    # max_length words have at least as many tokens, unless some have none, such as a lone zero-width space.
    words = re.compile(rf"(?:[^{BLANKS}]*+[{BLANKS}]++){{{max_length}}}") if reads_word_by_word(tokenizer) else None
    with all_cores() if len(texts) >= LARGE else nullcontext():
        starts = range(0, max(len(texts), 1), PORTION)
        return Ragged.joined([_cut(texts[at : at + PORTION], words, tokenizer, max_length) for at in starts])


def _cut(texts: list[str], words: re.Pattern[str] | None, tokenizer: Tokenizer, max_length: int) -> Ragged:
    found = [words.match(text) if words else None for text in texts]
    heads = [match.group() if match else text for match, text in zip(found, texts, strict=True)]
    rows = _token_ids(heads, tokenizer, max_length)
    doubtful = [i for i, row in enumerate(rows) if len(row) < max_length and len(heads[i]) < len(texts[i])]
    for i, row in zip(doubtful, _token_ids([texts[i] for i in doubtful], tokenizer, max_length), strict=True):
        rows[i] = row
    return Ragged.of(rows)


def _token_ids(texts: list[str], tokenizer: Tokenizer, max_length: int) -> list[list[int]]:
    return tokenizer(texts, truncation=True, max_length=max_length)["input_ids"] if texts else []


def reads_word_by_word(tokenizer: Tokenizer) -> bool:
    """Say whether the tokens of a text's first words are surely the first tokens of the text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or getattr(tokenizer, "truncation_side", None) != "right":
        return False
    added = [token.content for token in backend.get_added_tokens_decoder().values()]
    steps = type(backend.normalizer).__name__, type(backend.pre_tokenizer).__name__
    return steps in WORD_BY_WORD and not any(blank in token for token in added for blank in BLANKS)


@contextmanager
def all_cores() -> Iterator[None]:
    """Let tokenizers use all cores for now.

    Afterwards the variable is "false" again, as loader processes want it: tokenizers warns about a fork when it has
    used threads before and the variable is not set.
    """
    before = os.environ.get(PARALLELISM)
    if before is None:
        # Not set means threads already.
        yield
        return
    os.environ[PARALLELISM] = "true"
    try:
        yield
    finally:
        os.environ[PARALLELISM] = before
