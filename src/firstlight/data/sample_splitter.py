"""Split the samples of a dataset: by a new rule, or by the rule that a run stores."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from firstlight.data.split import ALL_CLASSES, SPLIT_SEED, SplitRule, assign_splits, hash_identities, make_split_rule
from firstlight.data.split_notes import describe_class_shares, describe_data
from firstlight.data.split_state import SampleRecord, SplitState, compute_digest, make_record
from firstlight.run.errors import DataError
from firstlight.run.progress import track

# Up to this number of samples, a run stores the hash of each (12 bytes), so that it can count which of them changed.
MAX_RECORDED_SAMPLES = 100_000
# Fractions of splits that a dataset lacks.
HELD_OUT = {"val": 0.1, "test": 0.1}


class Samples(NamedTuple):
    """Samples from one place.

    Attributes:
        identities: What identifies each sample, read once: its relative path, or its contents. Samples with the same
            identity are always in the same split. The name of a group, such as a patient, in its place keeps the group
            together.
        classes: Name of the class of each sample. If None, samples have no classes.
        stamps: Checksum of everything else of each sample, such as its label: a sample with another value was modified.
            32 bits, shape (samples,).
        source: Where the samples come from, such as a directory. Empty if there is only one place.
    """

    identities: Iterable[str | bytes]
    classes: Sequence[str] | None
    stamps: Sequence[int] | np.ndarray
    source: str = ""


def hash_samples(samples: Samples, seed: int) -> np.ndarray:
    """Return the hash of each sample, shape (samples,) uint64, and show the progress."""
    return hash_identities(track(samples.identities, "Hashing samples", len(samples.stamps)), seed)


class SampleSplitter:
    """Assigns samples to splits.

    Attributes:
        restored: State of the training run; None in a new run.
        is_evaluation: Whether the samples are only evaluated. Samples that are not those of the run are then not split:
            all of them are in each split.
        state: What later commands need; None before `split`.
        notes: Lines about the samples for the user.
    """

    def __init__(self) -> None:
        self.restored: SplitState | None = None
        self.is_evaluation = False
        self.state: SplitState | None = None
        self.notes: list[str] = []

    @property
    def known_names(self) -> list[str]:
        """Names of the classes or labels of the training run; none in a new run."""
        return self.restored.names if self.restored else []

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of the samples of each split: two runs with the same digest have used the same samples."""
        return {name: record.digest for name, record in self.state.records.items()} if self.state else {}

    def get_dataset_size(self, num_samples: int) -> int:
        """Return the number of samples of the training run, or `num_samples` in a new run."""
        return sum(record.num_samples for record in self.restored.records.values()) if self.restored else num_samples

    def split(
        self, samples: Mapping[str, Samples], held_out: Mapping[str, float], names: list[str]
    ) -> dict[str, tuple[str, np.ndarray]]:
        """Return where each split comes from: a key of `samples`, and sorted indices of its samples.

        Args:
            samples: The samples by split; "train" is required.
            held_out: Fraction of "train" that is taken from it for "val" and "test", if `samples` lacks them.
            names: Names of the classes or labels.

        Raises:
            DataError: If there are too few samples, or the run has trained on all samples that a split could contain.
        """
        seed = self.restored.rule.seed if self.restored and self.restored.rule else SPLIT_SEED
        hashes = {name: hash_samples(part, seed) for name, part in samples.items()}
        pool_digest = compute_digest(np.unique(hashes["train"]))
        missing = {name: fraction for name, fraction in held_out.items() if name not in samples}
        is_other = self._is_other_source("train", samples["train"].source) and (
            self.restored is not None and pool_digest != self.restored.pool_digest
        )
        self.notes = []
        if is_other:
            rule, indices = None, {name: np.arange(len(hashes["train"])) for name in ("train", *missing)}
        else:
            rule, indices = self._split_pool(hashes["train"], samples["train"], missing)
        chosen = {name: ("train", positions) for name, positions in indices.items()}
        chosen |= {name: (name, np.arange(len(part))) for name, part in hashes.items() if name != "train"}
        is_recorded = sum(map(len, hashes.values())) <= MAX_RECORDED_SAMPLES
        records = {
            name: make_record(hashes[key][positions], samples[key].stamps, positions, samples[key].source, is_recorded)
            for name, (key, positions) in chosen.items()
        }
        self.state = SplitState(rule, pool_digest, names, records)
        if self.restored:
            others = {name for name, (key, _) in chosen.items() if is_other and key == "train"}
            others |= {
                name for name in samples if name != "train" and self._is_other_source(name, samples[name].source)
            }
            self.notes += describe_data(self.restored.records, records, others)
        return chosen

    def _is_other_source(self, split: str, source: str) -> bool:
        """Return True if evaluated samples do not come from the source that the run had for a split."""
        if not self.is_evaluation or self.restored is None or split not in self.restored.records:
            return False
        return os.path.realpath(source) != os.path.realpath(self.restored.records[split].source)

    def _split_pool(
        self, hashes: np.ndarray, pool: Samples, missing: Mapping[str, float]
    ) -> tuple[SplitRule, dict[str, np.ndarray]]:
        """Return the rule, and the indices of "train" and of each split that is taken from it.

        Args:
            hashes: Hash of each sample.
            pool: The samples.
            missing: Fraction of each split that is needed.

        Raises:
            DataError: If a split would be empty.
        """
        rule = self.restored.rule if self.restored else None
        if rule is None:
            rule = make_split_rule(hashes, pool.classes, missing.get("val", 0), missing.get("test", 0))
        splits = assign_splits(hashes, pool.classes, rule)
        if self.restored:
            splits = keep_recorded_splits(hashes, splits, self.restored.records)
        if absent := [name for name in missing if name not in splits]:
            raise DataError(
                f"The run has trained on all samples that could be its {absent[0]} split. Set the path of other "
                f"{absent[0]} samples."
            )
        if self.restored is None and (empty := [name for name, indices in splits.items() if not len(indices)]):
            in_classes = f" in {len(set(pool.classes))} classes" if pool.classes is not None else ""
            distinct = f"{len(hashes)} samples{in_classes} ({len(np.unique(hashes))} distinct)"
            raise DataError(
                f"Too few samples for a split into {', '.join(splits)}: {distinct} leave {empty[0]} empty. Add samples."
            )
        if missing and pool.classes is not None and ALL_CLASSES in rule.boundaries:
            self.notes.append(describe_class_shares(hashes, splits, pool.classes))
        return rule, splits


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
