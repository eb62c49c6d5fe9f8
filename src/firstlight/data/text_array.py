"""Many texts in a file instead of in memory."""

import hashlib
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, overload

import numpy as np

# More texts than these are written to a file.
MAX_TEXTS_IN_MEMORY = 200_000
# Number of texts that are read or written at a time.
BLOCK_SIZE = 10_000
# Paths may contain bytes that are not UTF-8.
ENCODING_ERRORS = "surrogateescape"


class TextArray(Sequence[str]):
    """Texts that are read from a memory-mapped file when they are needed.

    Args:
        blob: UTF-8 of all texts of the file, shape (bytes,) uint8.
        offsets: Text i is blob[offsets[i] : offsets[i + 1]], shape (texts + 1,) int64.
        indices: Indices of the texts that this array has, shape (len(self),) int64. If None, all.
        digest: SHA-256 of all texts of the file.
    """

    def __init__(self, blob: np.ndarray, offsets: np.ndarray, digest: bytes, indices: np.ndarray | None = None) -> None:
        self.blob = blob
        self.offsets = offsets
        self.file_digest = digest
        self.indices = indices

    @property
    def digest(self) -> bytes:
        """A hash that determines the texts."""
        return hashlib.sha256(self.file_digest + (b"" if self.indices is None else self.indices.tobytes())).digest()

    def __len__(self) -> int:
        return len(self.offsets) - 1 if self.indices is None else len(self.indices)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        positions = range(len(self)) if self.indices is None else self.indices
        if not isinstance(index, slice):
            return self._read(int(positions[index]))
        return [self._read(int(position)) for position in positions[index]]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), BLOCK_SIZE):
            yield from self[start : start + BLOCK_SIZE]

    def take(self, indices: np.ndarray) -> "TextArray":
        """Return the texts with these indices, without reading them."""
        chosen = indices if self.indices is None else self.indices[indices]
        return TextArray(self.blob, self.offsets, self.file_digest, chosen)

    def _read(self, position: int) -> str:
        return self.blob[self.offsets[position] : self.offsets[position + 1]].tobytes().decode(errors=ENCODING_ERRORS)


class TextArrayBuilder:
    """Collects texts, in memory or, if there are many, in a file that the OS deletes when the process ends.

    Args:
        directory: Directory of the file. If it is not writable, the directory for temporary files.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.texts: list[str] = []
        self.file: BinaryIO | None = None
        self.lengths = array("q")
        self.digest = hashlib.sha256()

    def __len__(self) -> int:
        return len(self.lengths) + len(self.texts)

    def append(self, text: str) -> None:
        """Add a text."""
        self.texts.append(text)
        if len(self.texts) >= (BLOCK_SIZE if self.file else MAX_TEXTS_IN_MEMORY):
            self._write_block()

    def build(self) -> Sequence[str]:
        """Return the texts: a list, or a `TextArray` if there are many."""
        if self.file is None:
            return self.texts
        self._write_block()
        self.file.flush()
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(np.frombuffer(self.lengths, dtype=np.int64))])
        blob = np.memmap(self.file, dtype=np.uint8, mode="r") if offsets[-1] else np.zeros(0, dtype=np.uint8)
        self.digest.update(offsets.tobytes())
        return TextArray(blob, offsets, self.digest.digest())

    def _write_block(self) -> None:
        self.file = self.file or open_unnamed_file(self.directory)
        encoded = [text.encode() for text in self.texts]
        self.lengths.extend(map(len, encoded))
        block = b"".join(encoded)
        self.digest.update(block)
        self.file.write(block)
        self.texts = []


def open_unnamed_file(directory: Path) -> BinaryIO:
    """Open a temporary file in a directory, or if that is not writable, in the directory for temporary files."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=directory)
    except OSError:
        return tempfile.TemporaryFile()


def take_texts(texts: Sequence[str], indices: np.ndarray) -> Sequence[str]:
    """Return the texts with these indices."""
    return texts.take(indices) if isinstance(texts, TextArray) else [texts[index] for index in indices]
