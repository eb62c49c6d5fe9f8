"""Cache the tokens of large text datasets on disk, so that they are tokenized once."""

import hashlib
import json
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from firstlight.data.token_dataset import RaggedTokens
from firstlight.data.tokenization import TokenizerLike, tokenize

# From this number of texts on, tokenizing takes longer than reading the cache file.
MIN_TEXTS_TO_CACHE = 1_000


def tokenize_cached(texts: list[str], tokenizer: TokenizerLike, max_length: int, cache_dir: Path) -> RaggedTokens:
    """Tokenize and truncate texts, and cache the tokens of a large dataset in a file.

    The name of the file is a hash of texts, tokenizer and `max_length`, so that a file is never out of date, and every
    file can be deleted. A corrupt file is written again. If no file can be written, texts are tokenized each time.

    Args:
        texts: The texts.
        tokenizer: A tokenizer. One that cannot be saved as JSON is not cached.
        max_length: Maximum tokens per text.
        cache_dir: Directory of the cache files.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or len(texts) < MIN_TEXTS_TO_CACHE:
        return tokenize(texts, tokenizer, max_length)
    options = [max_length, getattr(tokenizer, "truncation_side", None), version("tokenizers")]
    path = cache_dir / f"{make_cache_key(texts, backend.to_str(), options)}.safetensors"
    tokens = load_tokens(path)
    if tokens is None:
        tokens = tokenize(texts, tokenizer, max_length)
        save_tokens(path, tokens)
    return tokens


def make_cache_key(texts: list[str], tokenizer_json: str, options: list[object]) -> str:
    """Return a hash of everything that determines the tokens, as 64 hexadecimal digits."""
    # A tokenizer stores the lengths of its last call, which do not affect the next call.
    tokenizer_state = {**json.loads(tokenizer_json), "truncation": None, "padding": None}
    digest = hashlib.sha256(json.dumps([options, tokenizer_state], sort_keys=True).encode())
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        # The length before each text keeps ["ab", "c"] and ["a", "bc"] apart.
        digest.update(b"%d:" % len(encoded))
        digest.update(encoded)
    return digest.hexdigest()


def load_tokens(path: Path) -> RaggedTokens | None:
    """Return the tokens of a file as memory-mapped tensors; None if the file is missing or corrupt."""
    try:
        with safe_open(path, framework="pt") as file:
            tokens = RaggedTokens(file.get_tensor("offsets"), file.get_tensor("values"))
            is_valid = file.metadata() == {"checksum": compute_checksum(tokens)}
    except (OSError, SafetensorError):
        return None
    return tokens if is_valid else None


def save_tokens(path: Path, tokens: RaggedTokens) -> None:
    """Write a file for `load_tokens` atomically. If the file cannot be written, do nothing."""
    temporary_path = path.with_name(f"{uuid4().hex}.part")
    try:
        with suppress(OSError, SafetensorError):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tokens._asdict(), temporary_path, {"checksum": compute_checksum(tokens)})
            temporary_path.replace(path)
    finally:
        with suppress(OSError):
            temporary_path.unlink(missing_ok=True)


def compute_checksum(tokens: RaggedTokens) -> str:
    """Return a hash of the dtypes, shapes and values."""
    digest = hashlib.sha256()
    for tensor in tokens:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()
