"""The paths of many files in one array, which DataLoader workers share with the main process."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from firstlight.data.text_array import ENCODING_ERRORS, TextArray


class PathArray(Sequence[Path]):
    """Paths, each of which becomes a `Path` when it is needed: 60 instead of 900 bytes per path.

    Args:
        names: The paths as strings.
    """

    def __init__(self, names: TextArray) -> None:
        self.names = names

    @classmethod
    def from_names(cls, names: Iterable[str]) -> "PathArray":
        """Return the paths with these names."""
        blob, lengths = bytearray(), []
        for name in names:
            encoded = name.encode(errors=ENCODING_ERRORS)
            blob += encoded
            lengths.append(len(encoded))
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(TextArray(np.frombuffer(blob, dtype=np.uint8), offsets, b""))

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> list[Path]: ...
    def __getitem__(self, index: int | slice) -> Path | list[Path]:
        names = self.names[index]
        return Path(names) if isinstance(names, str) else list(map(Path, names))

    def __iter__(self) -> Iterator[Path]:
        return map(Path, self.names)

    def take(self, indices: np.ndarray) -> "PathArray":
        """Return the paths with these indices."""
        return PathArray(self.names.take(indices))


def take_paths(paths: Sequence[Path], indices: np.ndarray) -> Sequence[Path]:
    """Return the paths with these indices."""
    return paths.take(indices) if isinstance(paths, PathArray) else [paths[index] for index in indices]


def get_names(paths: Sequence[Path]) -> Sequence[str | Path]:
    """Return paths without a conversion of those that are stored as strings."""
    return paths.names if isinstance(paths, PathArray) else paths
