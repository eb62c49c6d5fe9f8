"""Keep the tokens of large text sets on disk, so that they are cut once."""

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

# So many texts take longer to cut than to read.
MIN_TEXTS_TO_CACHE = 1_000


def tokenize_cached(texts: list[str], tokenizer: TokenizerLike, max_length: int, folder: Path) -> RaggedTokens:
    """Return the tokens of texts as `cut` does, those of a large set from a file where there is one.

    The file's name tells texts, tokenizer and max_length, so that no file is ever out of date; any can be deleted.
    One that is damaged is made anew. Where none can be written, texts are cut each time.

    Args:
        texts: the texts.
        tokenizer: what cuts them.
        max_length: tokens to return of each text at most.
        folder: where the files are.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or len(texts) < MIN_TEXTS_TO_CACHE:
        return tokenize(texts, tokenizer, max_length)
    settings = [max_length, getattr(tokenizer, "truncation_side", None), version("tokenizers")]
    path = folder / f"{make_cache_key(texts, backend.to_str(), settings)}.safetensors"
    kept = load_tokens(path)
    if kept is None:
        kept = tokenize(texts, tokenizer, max_length)
        save_tokens(path, kept)
    return kept


def make_cache_key(texts: list[str], tokenizer: str, settings: list[object]) -> str:
    """Return what the tokens depend on as 64 hexadecimal digits."""
    # A tokenizer remembers the lengths of its last call, which have no effect on the next one.
    state = {**json.loads(tokenizer), "truncation": None, "padding": None}
    digest = hashlib.sha256(json.dumps([settings, state], sort_keys=True).encode())
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        # With its length before it, no text runs into the next.
        digest.update(b"%d:" % len(encoded))
        digest.update(encoded)
    return digest.hexdigest()


def load_tokens(path: Path) -> RaggedTokens | None:
    """Return the tokens in a file, mapped into memory; None if there is none or it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            found = RaggedTokens(file.get_tensor("starts"), file.get_tensor("values"))
            sound = file.metadata() == {"checksum": compute_checksum(found)}
    except (OSError, SafetensorError):
        return None
    return found if sound else None


def save_tokens(path: Path, tokens: RaggedTokens) -> None:
    """Write a file that `read` understands, whole or not at all; where that cannot be, do nothing."""
    part = path.with_name(f"{uuid4().hex}.part")
    try:
        with suppress(OSError, SafetensorError):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tokens._asdict(), part, {"checksum": compute_checksum(tokens)})
            part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def compute_checksum(tokens: RaggedTokens) -> str:
    """Return what tells whether types, shapes and numbers are those that were written."""
    digest = hashlib.sha256()
    for each in tokens:
        digest.update(f"{each.dtype} {tuple(each.shape)}".encode())
        digest.update(each.numpy().data)
    return digest.hexdigest()
