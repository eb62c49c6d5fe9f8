"""Tokenizers for a BERT without pretrained weights, and their form in a checkpoint."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from firstlight.run.errors import MissingPackageError, missing_package
from firstlight.run.packages import is_installed

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def build_word_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer that knows whole lower-case words; any other is [UNK]."""
    validate_text_packages()
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: index for index, word in enumerate(dict.fromkeys([*SPECIAL_TOKENS, *words]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    )
    return _to_fast_tokenizer(tokenizer)


def to_json(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return a tokenizer as text."""
    return str(tokenizer.backend_tokenizer.to_str())


def from_json(text: str) -> PreTrainedTokenizerFast:
    """Return the tokenizer that `to_json` wrote."""
    validate_text_packages()
    from tokenizers import Tokenizer

    # Lengths are the data's business, call by call.
    state = {**json.loads(text), "truncation": None, "padding": None}
    return _to_fast_tokenizer(Tokenizer.from_str(json.dumps(state)))


def validate_text_packages() -> None:
    """Refuse to make a tokenizer without its libraries.

    Raises:
        ValueError: If one of them is not installed.
    """
    for package in ("transformers", "tokenizers"):
        if not is_installed(package):
            raise MissingPackageError(missing_package("A tokenizer", package))


def _to_fast_tokenizer(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL_TOKENS, strict=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{short}_token": token for short, token in names.items()}
    )
