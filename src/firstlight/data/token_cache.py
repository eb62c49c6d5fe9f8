"""Keep the tokens of large text sets on disk, so that they are cut once."""

import hashlib
import json
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from firstlight.data.token_dataset import Ragged
from firstlight.data.tokenization import Tokenizer, cut

# So many texts take longer to cut than to read.
KEPT = 1_000


def kept_or_cut(texts: list[str], tokenizer: Tokenizer, max_length: int, folder: Path) -> Ragged:
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
    if backend is None or len(texts) < KEPT:
        return cut(texts, tokenizer, max_length)
    settings = [max_length, getattr(tokenizer, "truncation_side", None), version("tokenizers")]
    path = folder / f"{digest_of(texts, backend.to_str(), settings)}.safetensors"
    kept = read(path)
    if kept is None:
        kept = cut(texts, tokenizer, max_length)
        write(path, kept)
    return kept


def digest_of(texts: list[str], tokenizer: str, settings: list[object]) -> str:
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


def read(path: Path) -> Ragged | None:
    """Return the tokens in a file, mapped into memory; None if there is none or it is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            found = Ragged(file.get_tensor("starts"), file.get_tensor("values"))
            sound = file.metadata() == {"checksum": checksum(found)}
    except (OSError, SafetensorError):
        return None
    return found if sound else None


def write(path: Path, tokens: Ragged) -> None:
    """Write a file that `read` understands, whole or not at all; where that cannot be, do nothing."""
    part = path.with_name(f"{uuid4().hex}.part")
    try:
        with suppress(OSError, SafetensorError):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tokens._asdict(), part, {"checksum": checksum(tokens)})
            part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def checksum(tokens: Ragged) -> str:
    """Return what tells whether types, shapes and numbers are those that were written."""
    digest = hashlib.sha256()
    for each in tokens:
        digest.update(f"{each.dtype} {tuple(each.shape)}".encode())
        digest.update(each.numpy().data)
    return digest.hexdigest()
