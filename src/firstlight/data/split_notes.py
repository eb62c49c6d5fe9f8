"""Lines about samples for the user: what has changed since the run was trained, shares of classes, shared samples."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from firstlight.data.split import ALL_CLASSES, SplitRule, count_identities_in_several_classes
from firstlight.data.split_state import SampleRecord

# Samples of the second of two splits should not occur in the first.
SPLIT_ORDER = ("train", "val", "test")
Records = Mapping[str, SampleRecord]


def describe_data(before: Records, now: Records, others: Collection[str]) -> list[str]:
    """Return lines about samples that are not those of the run, by split; none if there are only those.

    Args:
        before: Samples of the run.
        now: The present samples.
        others: Splits whose samples come from another source than those of the run.
    """
    changed = {name: record for name, record in now.items() if name not in others}
    lines = describe_changes({name: before[name] for name in changed if name in before}, changed)
    for source in dict.fromkeys(now[name].source for name in others):
        record = next(now[name] for name in others if now[name].source == source)
        trained = before["train"].count_equal(record)
        known = f" {trained:,} of them were trained on." if trained else ""
        lines.append(
            f"data: {source} is not the data of the run. All its {record.num_samples:,} samples are used.{known}"
        )
    return lines


def describe_changes(before: Records, now: Records) -> list[str]:
    """Return a line that counts the samples that were added, removed or modified; none if there are no such samples."""
    if all(name in before and before[name].digest == record.digest for name, record in now.items()):
        return []
    if all(record.hashes is not None for record in (*before.values(), *now.values())):
        counts = count_changes(before, now)
        changes = ", ".join(f"{count:,} {change}" for change, count in counts.items() if count)
    else:
        changes = ", ".join(
            f"{record.num_samples:,} instead of {before[name].num_samples:,} in {name}"
            for name, record in now.items()
            if name in before and before[name].digest != record.digest
        )
    sizes = " / ".join(f"{record.num_samples:,} {name}" for name, record in now.items())
    return [
        f"Warning: The data has changed since the run was trained (samples: {changes}). All others stay in their "
        f"splits, which now are {sizes}."
    ]


def count_changes(before: Records, now: Records) -> dict[str, int]:
    """Return the numbers of samples that were added, removed and modified."""
    old_pairs, new_pairs = (
        Counter(pair for record in records.values() for pair in record.list_samples()) for records in (before, now)
    )
    old, new = (sum_by_hash(pairs) for pairs in (old_pairs, new_pairs))
    added = (new - old).total()
    modified = (new_pairs - old_pairs).total() - added
    return {"added": added, "removed": (old - new).total(), "modified": modified}


def sum_by_hash(pairs: Mapping[tuple[int, int], int]) -> Counter[Any]:
    """Return the number of samples by their hash, whatever their stamps."""
    counts: Counter[Any] = Counter()
    for (identity, _), count in pairs.items():
        counts[identity] += count
    return counts


def describe_new_split(
    hashes: np.ndarray,
    splits: Mapping[str, np.ndarray],
    classes: Sequence[str] | None,
    rule: SplitRule,
    group_column: str = "",
) -> list[str]:
    """Return lines about a split whose class proportions or fractions differ from the expected ones.

    Args:
        hashes: Hash of each sample.
        splits: Indices of the samples of each split.
        classes: Name of the class of each sample. If None, samples have no classes.
        rule: The rule of the split.
        group_column: Column with the groups that are kept together; empty without groups.
    """
    lines = []
    if group_column:
        sizes = ", ".join(f"{100 * len(ids) / len(hashes):.1f} % in {name}" for name, ids in splits.items())
        shares = f"; {describe_class_shares(splits, classes)}" if classes is not None else ""
        groups = f"{len(np.unique(hashes)):,} groups of '{group_column}'"
        lines.append(f"data: {groups} stay together ({sizes} of {len(hashes):,} samples{shares}).")
    elif classes is not None and ALL_CLASSES in rule.boundaries:
        count = count_identities_in_several_classes(hashes, classes)
        shares = describe_class_shares(splits, classes)
        lines.append(f"data: {count:,} samples occur in several classes. The split ignores classes: {shares}.")
    if rule.num_folds and classes is not None and ALL_CLASSES not in rule.boundaries:
        counts = Counter(dict(zip(hashes.tolist(), classes, strict=True)).values())
        if small := sum(count < rule.num_folds for count in counts.values()):
            lines.append(
                f"data: {small:,} of {len(counts):,} classes have fewer distinct samples than folds "
                f"({rule.num_folds}). Some folds test no sample of them."
            )
    return lines


def describe_class_shares(splits: Mapping[str, np.ndarray], classes: Sequence[str]) -> str:
    """Return which shares of the classes are in "val" and "test".

    Args:
        splits: Indices of the samples of each split.
        classes: Name of the class of each sample.
    """
    sizes = Counter(classes)
    shares = []
    for name in ("val", "test"):
        if name in splits:
            counts = Counter(classes[index] for index in splits[name])
            fractions = [100 * counts[label] / size for label, size in sizes.items()]
            shares.append(f"{min(fractions):.1f} to {max(fractions):.1f} % of a class are in {name}")
    return ", ".join(shares)


def describe_shared_identities(hashes: Mapping[str, np.ndarray], noun: str) -> list[str]:
    """Return a line for each two splits that share samples; none if there are none.

    Args:
        hashes: Hash of each sample of each split, or any other integers that are equal for equal samples.
        noun: What is compared, such as "text".
    """
    lines = []
    for first, second in combinations(sorted(hashes, key=SPLIT_ORDER.index), 2):
        count = int(np.isin(hashes[second], hashes[first]).sum())
        if count:
            lines.append(
                f"Warning: {count:,} of {len(hashes[second]):,} {second} samples are also in {first} (same {noun}). "
                "Remove them from one of the two, so that each split measures new samples."
            )
    return lines
