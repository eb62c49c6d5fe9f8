"""Errors of damaged tokenizers, as one line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from firstlight.run.errors import CheckpointError, UserError

# Texts that pass through every step of a tokenizer: normalization, an unknown word, truncation, an empty text.
PROBE_TEXTS = ["A word \u00e9", "", "many words " * 8]


@contextmanager
def convert_tokenizer_errors(what: str, fix: str) -> Iterator[None]:
    """Raise a CheckpointError for any error of a tokenizer inside this context, also for a panic of its Rust library.

    Args:
        what: What fails, such as "the tokenizer of the checkpoint".
        fix: An imperative sentence with a period.

    Raises:
        CheckpointError: If the tokenizer fails.
    """
    try:
        yield
    except UserError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        detail = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise CheckpointError(f"Cannot use {what} ({detail[:200].rstrip('.')}). {fix}") from error


def is_panic(error: BaseException) -> bool:
    """Return True for a panic of a Rust library. Its class derives from BaseException and cannot be imported."""
    return type(error).__name__ == "PanicException"


def probe_tokenizer(tokenizer: Any) -> None:
    """Tokenize a few texts, so that a damaged tokenizer fails before the training. Call it in the context above."""
    with silence_panics():
        tokenizer(PROBE_TEXTS, truncation=True, max_length=8)


@contextmanager
def silence_panics() -> Iterator[None]:
    """Discard what is written to the file descriptor of stderr inside this context, where Rust prints each panic."""
    try:
        saved = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    try:
        with open(os.devnull, "w") as null:
            os.dup2(null.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
