"""Split the samples of a dataset: by a new rule, or by the rule that a run stores."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from firstlight.data.folds import make_fold_rules
from firstlight.data.split import SPLIT_SEED, SplitRule, assign_splits, hash_identities, make_split_rule
from firstlight.data.split_notes import describe_data, describe_new_split, describe_shared_identities
from firstlight.data.split_state import SampleRecord, SplitState, compute_digest, keep_recorded_splits, make_record
from firstlight.run.errors import ConfigError, DataError
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
            together; the stamps then also identify the sample.
        classes: Name of the class of each sample. If None, samples have no classes.
        stamps: Checksum of everything else of each sample, such as its label: a sample with another value was modified.
            32 bits, shape (samples,).
        source: Where the samples come from, such as a directory. Empty if there is only one place.
        group_column: Column with the groups, if the identities are groups; otherwise empty.
        noun: What equal identities have in common, such as "text".
    """

    identities: Iterable[str | bytes]
    classes: Sequence[str] | None
    stamps: Sequence[int] | np.ndarray
    source: str = ""
    group_column: str = ""
    noun: str = "path"


def hash_samples(samples: Samples, seed: int) -> np.ndarray:
    """Return the hash of each sample, shape (samples,) uint64, and show the progress."""
    return hash_identities(track(samples.identities, "Hashing samples", len(samples.stamps)), seed)


def make_records(
    hashes: Mapping[str, np.ndarray], samples: Mapping[str, Samples], chosen: Mapping[str, tuple[str, np.ndarray]]
) -> dict[str, SampleRecord]:
    """Return the record of each split.

    Args:
        hashes: Hash of each sample, by place.
        samples: The samples of each place.
        chosen: Place and indices of the samples of each split.
    """
    is_recorded = sum(map(len, hashes.values())) <= MAX_RECORDED_SAMPLES
    return {
        name: make_record(hashes[key][positions], samples[key].stamps, positions, samples[key].source, is_recorded)
        for name, (key, positions) in chosen.items()
    }


class SampleSplitter:
    """Assigns samples to splits.

    Attributes:
        restored: State of the training run; None in a new run.
        is_evaluation: Whether the samples are only evaluated. Samples that are not those of the run are then not split:
            all of them are in each split.
        state: What later commands need; None before `split`.
        notes: Lines about the samples for the user.
        num_folds: Number of folds of a cross-validation; None for a single split.
        fold: Index of the fold that is the test split.
        groups: By split, a number per group for each sample, shape (samples,); empty without groups.
    """

    def __init__(self) -> None:
        self.restored: SplitState | None = None
        self.is_evaluation = False
        self.state: SplitState | None = None
        self.notes: list[str] = []
        self.num_folds: int | None = None
        self.fold: int | None = None
        self.groups: dict[str, np.ndarray] = {}

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
            ConfigError: If the dataset has splits of its own instead of folds, or the run had other folds or groups.
        """
        self.require_undivided([*samples, *(name for name in HELD_OUT if name not in held_out)])
        seed = self.restored.rule.seed if self.restored and self.restored.rule else SPLIT_SEED
        hashes = {name: hash_samples(part, seed) for name, part in samples.items()}
        pool_digest = compute_digest(np.unique(hashes["train"]))
        missing = {name: fraction for name, fraction in held_out.items() if name not in samples}
        is_other, self.notes = self._is_other_pool(samples["train"].source, pool_digest), []
        if is_other:
            rule, indices = None, {name: np.arange(len(hashes["train"])) for name in ("train", *missing)}
        else:
            self._require_same_settings(samples["train"].group_column)
            rule, indices = self._split_pool(hashes["train"], samples["train"], missing)
        chosen = {name: ("train", positions) for name, positions in indices.items()}
        chosen |= {name: (name, np.arange(len(part))) for name, part in hashes.items() if name != "train"}
        records = make_records(hashes, samples, chosen)
        group_column = samples["train"].group_column
        self.state = SplitState(rule, pool_digest, names, records, group_column)
        identities = {name: hashes[key][positions] for name, (key, positions) in chosen.items()}
        self.groups = identities if group_column else {}
        if self.restored:
            others = {name for name, (key, _) in chosen.items() if is_other and key == "train"}
            others |= {name for name in samples if name != "train" and self._is_other(name, samples[name].source)}
            self.notes += describe_data(self.restored.records, records, others)
        else:
            noun = f"group in column '{group_column}'" if group_column else samples["train"].noun
            self.notes += describe_shared_identities(identities, noun)
        return chosen

    def require_undivided(self, names: Iterable[str]) -> None:
        """Check that a new run with folds can divide all samples itself.

        Args:
            names: Splits that the dataset has.

        Raises:
            ConfigError: If it has a split other than "train".
        """
        own = [name for name in HELD_OUT if name in set(names)]
        if self.num_folds and not self.restored and own:
            raise ConfigError(
                f"data.num_folds={self.num_folds} divides all samples into folds, but the dataset has its own "
                f"{' and '.join(own)} split. Use one file or directory without splits (for data=hub_text, "
                "data.test_split=null), or set data.num_folds=null data.fold=null."
            )

    def _require_same_settings(self, group_column: str) -> None:
        """Check that a later command has the folds and groups of the run: with others, it would test training samples.

        Raises:
            ConfigError: If they differ.
        """
        if self.restored is None:
            return
        rule = self.restored.rule
        before = {
            "data.num_folds": rule.num_folds or None if rule else None,
            "data.fold": rule.fold if rule and rule.num_folds else None,
            "data.group_column": self.restored.group_column or None,
        }
        now = {"data.num_folds": self.num_folds, "data.fold": self.fold, "data.group_column": group_column or None}
        for key, value in now.items():
            if value != before[key]:
                given, trained = ("null" if item is None else item for item in (value, before[key]))
                raise ConfigError(
                    f"{key}={given} differs from the training run ({key}={trained}), whose splits are kept. Set "
                    f"{key}={trained}, or train a new run."
                )

    def _is_other_pool(self, source: str, pool_digest: str) -> bool:
        """Return True if evaluated samples are not those that the run has split, or a copy of them."""
        is_known = self.restored is not None and pool_digest == self.restored.pool_digest
        return self._is_other("train", source) and not is_known

    def _is_other(self, split: str, source: str) -> bool:
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
        if rule is None and self.num_folds and self.fold is not None:
            has_groups = bool(pool.group_column)
            rule = make_fold_rules(hashes, pool.classes, self.num_folds, missing["val"], has_groups)[self.fold]
        elif rule is None:
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
        if missing:
            self.notes += describe_new_split(hashes, splits, pool.classes, rule, pool.group_column)
        return rule, splits
