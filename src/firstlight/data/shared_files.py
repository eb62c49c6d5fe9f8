"""Find files that are in two splits under different paths, without reading all of them."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from firstlight.data.identity import MAX_FILES_TO_READ, NUM_BYTES_TO_READ
from firstlight.run.rank import is_nonzero_rank


def number_contents(paths: Mapping[str, Sequence[Path]], stamps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a number for each file of each split, shape (files,) uint64: equal files have equal numbers.

    Files are equal if their labels, their sizes and their first `NUM_BYTES_TO_READ` bytes are. Only files with the
    stamp of a file in another split are read. If these are more than `MAX_FILES_TO_READ`, no files count as equal.

    Args:
        paths: The files of each split.
        stamps: Result of `stamp_files` for each of them.
    """
    numbers, start = {}, 0
    for name, files in paths.items():
        numbers[name] = np.arange(start, start + len(files), dtype=np.uint64)
        start += len(files)
    candidates = {}
    for name, own in stamps.items():
        others = [values for other, values in stamps.items() if other != name]
        candidates[name] = np.flatnonzero(np.isin(own, np.concatenate(others))) if others else np.array([], np.int64)
    # Only rank 0 prints what is found.
    if sum(map(len, candidates.values())) > MAX_FILES_TO_READ or is_nonzero_rank():
        return numbers
    for name, indices in candidates.items():
        for index in indices.tolist():
            if (digest := hash_start(paths[name][index])) is not None:
                numbers[name][index] = digest
    return numbers


def hash_start(path: Path) -> int | None:
    """Return 64 bits of the SHA-256 of the size and the first bytes of a file, or None if it cannot be read."""
    try:
        with path.open("rb") as file:
            content = b"%d:" % os.fstat(file.fileno()).st_size + file.read(NUM_BYTES_TO_READ)
    except OSError:
        return None
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
