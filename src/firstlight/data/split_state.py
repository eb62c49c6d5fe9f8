"""State of a split in a checkpoint: the rule, and the samples that it assigned."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from firstlight.data.split import NUM_HASHES, SplitRule
from firstlight.run.errors import CheckpointError, corrupt_file, describe_error

# The hash function, so that a later version can tell which one a run has used.
HASH_NAME = "sha256"


class SampleRecord(NamedTuple):
    """The samples of a split.

    Attributes:
        num_samples: Number of samples.
        digest: SHA-256 of hashes and stamps.
        source: Where the samples came from.
        hashes: Sorted hashes of the samples, shape (samples,) uint64. None for a large dataset.
        stamps: Stamp of each of them, shape (samples,) uint32.
    """

    num_samples: int
    digest: str
    source: str = ""
    hashes: np.ndarray | None = None
    stamps: np.ndarray | None = None

    def list_samples(self) -> list[tuple[int, int]]:
        """Return hash and stamp of each sample; nothing for a large dataset."""
        if self.hashes is None or self.stamps is None:
            return []
        return list(zip(self.hashes.tolist(), self.stamps.tolist(), strict=True))

    def count_equal(self, other: "SampleRecord") -> int:
        """Return how many samples of another record have the hash and the stamp of a sample of this one."""
        known = set(self.list_samples())
        return sum(sample in known for sample in other.list_samples())

    def to_plain(self) -> dict[str, Any]:
        """Return plain values and tensors. Torch has few operations for unsigned integers."""
        fields = {"num_samples": self.num_samples, "digest": self.digest, "source": self.source}
        if self.hashes is None or self.stamps is None:
            return fields
        arrays = {"hashes": self.hashes.view(np.int64), "stamps": self.stamps.view(np.int32)}
        return fields | {name: torch.from_numpy(array) for name, array in arrays.items()}


class SplitState(NamedTuple):
    """What a run stores about the split of its samples.

    Attributes:
        rule: How samples are assigned; None if they are not.
        pool_digest: SHA-256 of the distinct identities of the samples that were split.
        names: Names of the classes or labels.
        records: The samples of each split.
        group_column: Column with the groups that are kept together; empty if each sample is assigned on its own.
    """

    rule: SplitRule | None
    pool_digest: str
    names: list[str]
    records: Mapping[str, SampleRecord]
    group_column: str = ""

    def to_plain(self) -> dict[str, Any]:
        """Return plain values and tensors, which a checkpoint may contain."""
        assert self.rule is not None
        boundaries = {name: list(pair) for name, pair in self.rule.boundaries.items()}
        return {
            "hash": HASH_NAME,
            **self._asdict(),
            "rule": {**self.rule._asdict(), "boundaries": boundaries},
            "records": {name: record.to_plain() for name, record in self.records.items()},
        }


def compute_digest(*arrays: np.ndarray) -> str:
    """Return the SHA-256 of arrays of integers, the same on every machine."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def make_record(
    hashes: np.ndarray, stamps: Sequence[int] | np.ndarray, positions: np.ndarray, source: str, has_samples: bool
) -> SampleRecord:
    """Return the record of a split.

    Args:
        hashes: Hash of each sample of the split.
        stamps: Stamp of each sample of the source.
        positions: Index in the source of each sample of the split.
        source: Where the samples come from.
        has_samples: Whether to record each sample.
    """
    chosen = np.asarray(stamps, dtype=np.uint32)[positions]
    order = np.lexsort((chosen, hashes))
    hashes, chosen = hashes[order], chosen[order]
    arrays = (hashes, chosen) if has_samples else (None, None)
    return SampleRecord(len(hashes), compute_digest(hashes, chosen), source, *arrays)


def keep_recorded_splits(
    hashes: np.ndarray, splits: Mapping[str, np.ndarray], records: Mapping[str, SampleRecord]
) -> dict[str, np.ndarray]:
    """Return splits in which each recorded sample is in its recorded split, also if its class has changed.

    Args:
        hashes: Hash of each sample.
        splits: Indices of the samples of each split.
        records: Samples of the training run.
    """
    position = np.empty(len(hashes), dtype=np.int64)  # of the split of each sample
    for index, chosen in enumerate(splits.values()):
        position[chosen] = index
    for index, name in enumerate(splits):
        recorded = records[name].hashes if name in records else None
        if recorded is not None:
            position[np.isin(hashes, recorded)] = index
    return {name: np.flatnonzero(position == index) for index, name in enumerate(splits)}


def parse_state(state: Mapping[str, Any]) -> SplitState:
    """Return the state in a checkpoint.

    Raises:
        CheckpointError: If it is corrupt or has another hash function.
    """
    try:
        if "train" not in state["records"]:
            raise ValueError("no train split")
        if state["hash"] != HASH_NAME:
            raise ValueError(f"unknown hash {state['hash']!r}")
        return SplitState(
            parse_rule(state["rule"]),
            str(state["pool_digest"]),
            [str(name) for name in state["names"]],
            {str(name): parse_record(record) for name, record in state["records"].items()},
            str(state["group_column"]),
        )
    except Exception as error:  # contents of any type raise many kinds
        detail = describe_error(error)
        raise CheckpointError(corrupt_file("The split in the checkpoint", detail, "Use another checkpoint.")) from error


def parse_rule(rule: Mapping[str, Any]) -> SplitRule:
    """Return the rule in a checkpoint.

    Raises:
        ValueError: If a boundary is not a hash, or the fractions or the folds are not valid.
    """
    num_folds, fold = int(rule["num_folds"]), int(rule["fold"])
    boundaries = {str(name): tuple(map(int, values)) for name, values in rule["boundaries"].items()}
    fractions = float(rule["val_fraction"]), float(rule["test_fraction"])
    largest = NUM_HASHES if num_folds else NUM_HASHES - 1
    for values in boundaries.values():
        if len(values) != (4 if num_folds else 2) or not all(0 <= value <= largest for value in values):
            raise ValueError("a boundary is not a hash")
        if any(not 0 <= end - start < NUM_HASHES for start, end in zip(values[::2], values[1::2], strict=True)):
            raise ValueError("a range of hashes is not valid")
    if not (min(fractions) >= 0 and sum(fractions) < 1):
        raise ValueError("the fractions are not between 0 and 1")
    if num_folds and not 0 <= fold < num_folds:
        raise ValueError("there is no such fold")
    return SplitRule(int(rule["seed"]), *fractions, boundaries, num_folds, fold)


def parse_record(record: Mapping[str, Any]) -> SampleRecord:
    """Return the record of a split in a checkpoint.

    Raises:
        ValueError: If its arrays have other sizes than the split.
    """
    fields = int(record["num_samples"]), str(record["digest"]), str(record["source"])
    if "\0" in fields[2]:
        raise ValueError("NUL in a path")
    if "hashes" not in record:
        return SampleRecord(*fields)
    hashes = record["hashes"].to(torch.int64).numpy().view(np.uint64)
    stamps = record["stamps"].to(torch.int32).numpy().view(np.uint32)
    if hashes.shape != fields[:1] or stamps.shape != fields[:1]:
        raise ValueError("sizes differ")
    return SampleRecord(*fields, hashes, stamps)
