"""A file with the tokens of many texts: written in pieces, and read as memory-mapped tensors."""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from firstlight.data.token_dataset import RaggedTokens

# Bytes of the safetensors header, padded with blanks: it states the sizes, which are known at the end.
HEADER_BYTES = 1_024


def load_tokens(path: Path) -> RaggedTokens | None:
    """Return the tokens of a file as memory-mapped tensors; None if the file is missing or corrupt."""
    try:
        with safe_open(path, framework="pt") as file:
            offsets, values = file.get_tensor("offsets"), file.get_tensor("values")
            is_valid = file.metadata() == {"checksum": compute_checksum(path)}
    except (OSError, SafetensorError):
        return None
    if not is_valid or (offsets.dtype, values.dtype) != (torch.int64, torch.int32):
        return None
    return RaggedTokens(offsets, values[: int(offsets[-1])])


def save_tokens(path: Path, chunks: Iterable[RaggedTokens]) -> bool:
    """Write a file for `load_tokens` atomically, without all tokens in memory.

    Args:
        path: The file; its directory is created.
        chunks: Tokens of successive texts.

    Returns:
        False if the file cannot be written.
    """
    temporary_path = path.with_name(f"{uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_path.open("wb") as file:
            write_tokens(file, chunks)
        temporary_path.replace(path)
        return True
    except OSError:
        return False
    finally:
        with suppress(OSError):
            temporary_path.unlink(missing_ok=True)


def write_tokens(file: BinaryIO, chunks: Iterable[RaggedTokens]) -> None:
    """Write the tokens as a safetensors file, https://huggingface.co/docs/safetensors: header, values, offsets."""
    file.write(b" " * HEADER_BYTES)
    digest, num_tokens, ends = hashlib.sha256(), 0, [np.zeros(1, dtype=np.int64)]
    for chunk in chunks:
        values = np.ascontiguousarray(chunk.values.numpy(), dtype="<i4")
        digest.update(values.data)
        file.write(values.data)
        ends.append(chunk.offsets.numpy()[1:] + num_tokens)
        num_tokens += len(values)
    # One more token, if necessary, aligns the offsets.
    num_stored = num_tokens + num_tokens % 2
    offsets = np.concatenate(ends).astype("<i8")
    rest = b"\0" * 4 * (num_stored - num_tokens) + offsets.tobytes()
    digest.update(rest)
    file.write(rest)
    layout = {
        "__metadata__": {"checksum": digest.hexdigest()},
        "values": {"dtype": "I32", "shape": [num_stored], "data_offsets": [0, 4 * num_stored]},
        "offsets": {
            "dtype": "I64",
            "shape": [len(offsets)],
            "data_offsets": [4 * num_stored, 4 * num_stored + offsets.nbytes],
        },
    }
    header = json.dumps(layout).encode()
    file.seek(0)
    file.write((HEADER_BYTES - 8).to_bytes(8, "little") + header.ljust(HEADER_BYTES - 8))


def compute_checksum(path: Path) -> str:
    """Return the SHA-256 of everything after the header, which is read in pieces."""
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        return hashlib.file_digest(file, "sha256").hexdigest()
