"""Cache the tokens of large text datasets on disk, so that they are tokenized once."""

import hashlib
import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from firstlight.data.text_array import TextArray
from firstlight.data.token_dataset import RaggedTokens
from firstlight.data.token_file import load_tokens, save_tokens
from firstlight.data.tokenization import TokenizerLike, iter_tokens, tokenize
from firstlight.run.lock import wait_for_lock

# From this number of texts on, tokenizing takes longer than reading the cache file.
MIN_TEXTS_TO_CACHE = 1_000


def tokenize_cached(texts: Sequence[str], tokenizer: TokenizerLike, max_length: int, cache_dir: Path) -> RaggedTokens:
    """Tokenize and truncate texts, and cache the tokens of a large dataset in a file.

    The name of the file is a hash of texts, tokenizer and `max_length`, so that a file is never out of date, and every
    file can be deleted. A corrupt file is written again. If no file can be written, texts are tokenized each time. The
    tokens are memory-mapped, so that they may be larger than the memory.

    Args:
        texts: The texts.
        tokenizer: A tokenizer. One that cannot be saved as JSON is not cached.
        max_length: Maximum tokens per text.
        cache_dir: Directory of the cache files.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or len(texts) < MIN_TEXTS_TO_CACHE:
        return tokenize(texts, tokenizer, max_length)
    attributes = ("truncation_side", "split_special_tokens")  # not part of the JSON form
    options = [max_length, *(getattr(tokenizer, name, None) for name in attributes), version("tokenizers")]
    path = cache_dir / f"{make_cache_key(texts, backend.to_str(), options)}.safetensors"
    tokens = load_tokens(path)
    if tokens is None:
        # Another process, such as another rank, may be writing the same file.
        with wait_for_lock(path.with_suffix(".lock")):
            tokens = load_tokens(path) or _write_and_load(path, texts, tokenizer, max_length)
    return tokens or tokenize(texts, tokenizer, max_length)


def _write_and_load(path: Path, texts: Sequence[str], tokenizer: TokenizerLike, max_length: int) -> RaggedTokens | None:
    if path.is_file():
        print(f"data: the token cache {path} is damaged and is written again.", file=sys.stderr, flush=True)
    is_written = save_tokens(path, iter_tokens(texts, tokenizer, max_length))
    return load_tokens(path) if is_written else None


def make_cache_key(texts: Sequence[str], tokenizer_json: str, options: list[object]) -> str:
    """Return a hash of everything that determines the tokens, as 64 hexadecimal digits."""
    # A tokenizer stores the lengths of its last call, which do not affect the next call.
    tokenizer_state = {**json.loads(tokenizer_json), "truncation": None, "padding": None}
    digest = hashlib.sha256(json.dumps([options, tokenizer_state], sort_keys=True).encode())
    if isinstance(texts, TextArray):
        digest.update(texts.digest)
        return digest.hexdigest()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        # The length before each text keeps ["ab", "c"] and ["a", "bc"] apart.
        digest.update(b"%d:" % len(encoded))
        digest.update(encoded)
    return digest.hexdigest()
