"""Tokenizers for text models without pretrained weights, and their JSON format in a checkpoint."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from firstlight.data.tokenizer_errors import convert_tokenizer_errors, probe_tokenizer, silence_panics
from firstlight.run.errors import MissingPackageError, missing_package
from firstlight.run.packages import is_installed

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
DEFAULT_SPECIAL_TOKENS = dict(
    zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL_TOKENS, strict=True)
)
# Key of the names of the special tokens, which the JSON format of the tokenizers package lacks.
SPECIAL_TOKENS_KEY = "special_tokens"


def build_word_tokenizer(vocabulary: list[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token per lower-case word of a vocabulary. Any other word is [UNK].

    Raises:
        MissingPackageError: If transformers or tokenizers is not installed.
    """
    validate_text_packages()
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    token_ids = {word: index for index, word in enumerate(dict.fromkeys([*SPECIAL_TOKENS, *vocabulary]))}
    tokenizer = Tokenizer(models.WordLevel(token_ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, token_ids[name]) for name in ("[CLS]", "[SEP]")]
    )
    return _to_fast_tokenizer(tokenizer, DEFAULT_SPECIAL_TOKENS)


def tokenizer_to_json(tokenizer: PreTrainedTokenizerFast) -> str:
    """Return a tokenizer as JSON, with the names of its special tokens."""
    special_tokens = {
        name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)
    }
    return json.dumps({**json.loads(tokenizer.backend_tokenizer.to_str()), SPECIAL_TOKENS_KEY: special_tokens})


def tokenizer_from_json(text: str) -> PreTrainedTokenizerFast:
    """Return the tokenizer that `tokenizer_to_json` wrote. Without names of special tokens, they are the usual ones.

    Raises:
        MissingPackageError: If transformers or tokenizers is not installed.
        CheckpointError: If the tokenizer is damaged.
    """
    validate_text_packages()
    from tokenizers import Tokenizer

    with convert_tokenizer_errors("the tokenizer of the checkpoint", "Use another checkpoint, or train again."):
        # The caller sets the lengths in each call.
        state = {**json.loads(text), "truncation": None, "padding": None}
        special_tokens = state.pop(SPECIAL_TOKENS_KEY, DEFAULT_SPECIAL_TOKENS)
        with silence_panics():
            tokenizer = _to_fast_tokenizer(Tokenizer.from_str(json.dumps(state)), special_tokens)
        probe_tokenizer(tokenizer)
    return tokenizer


def validate_text_packages() -> None:
    """Check that the packages of a tokenizer are installed.

    Raises:
        MissingPackageError: If one of them is not installed.
    """
    for package in ("transformers", "tokenizers"):
        if not is_installed(package):
            raise MissingPackageError(missing_package("A tokenizer", package))


def _to_fast_tokenizer(tokenizer: Tokenizer, special_tokens: dict[str, str]) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special_tokens)


class WordTokenizerMixin:
    """Mixin of a text model whose tokenizer has the words of the dataset. Name it before the base class of the model.

    The constructor of the model takes "vocabulary" from the dataset and "tokenizer" from a checkpoint.
    """

    def set_tokenizer(self, vocabulary: list[str] | None, tokenizer: str | None) -> int:
        """Set the tokenizer, and return the number of its words.

        Args:
            vocabulary: Words of the dataset.
            tokenizer: Tokenizer of a checkpoint, as JSON. If None, it is built from the vocabulary.
        """
        self._tokenizer = tokenizer_from_json(tokenizer) if tokenizer else build_word_tokenizer(vocabulary or [])
        return len(self._tokenizer)

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Tokenizer of this model."""
        return self._tokenizer

    def get_load_overrides(self) -> dict[str, Any]:
        """Return the tokenizer, which a checkpoint stores instead of the vocabulary."""
        return {"vocabulary": None, "tokenizer": tokenizer_to_json(self._tokenizer)}
