"""Split rule: fractions, boundaries that are kept, identities that share a split."""

import hashlib
import math
import runpy
import sys
from itertools import chain

import numpy as np
import pytest

from firstlight.data import split as split_module
from firstlight.data.split import (
    ALL_CLASSES,
    NUM_HASHES,
    assign_splits,
    count_identities_in_several_classes,
    hash_identities,
    make_split_rule,
)

SEEDS = range(10)


def make_samples(seed: int) -> tuple[list[str], list[str]]:
    """Return random identities, and the class of each, for classes of random sizes from 1."""
    rng = np.random.default_rng(seed)
    sizes = np.maximum(1, rng.exponential(rng.choice([2, 30, 200]), rng.integers(1, 40))).astype(int)
    classes = [f"class {index}" for index, size in enumerate(sizes) for _ in range(size)]
    return [f"{seed}/{index}" for index in range(len(classes))], classes


def split(identities, classes, val=0.1, test=0.1, rule=None):
    """Return the identities in each split, and the rule."""
    hashes = hash_identities(identities)
    rule = rule or make_split_rule(hashes, classes, val, test)
    return {name: [identities[i] for i in ids] for name, ids in assign_splits(hashes, classes, rule).items()}, rule


def test_hash_is_the_same_on_every_machine():
    # First 8 bytes of `printf '0:a/1.jpg' | sha256sum`.
    assert hash_identities(["a/1.jpg"]).tolist() == [0x6396DFBDDC392F7A]
    assert hash_identities([b"a/1.jpg"]).tolist() == hash_identities(["a/1.jpg"]).tolist()
    assert hash_identities(["a/1.jpg"], seed=1).tolist() != hash_identities(["a/1.jpg"]).tolist()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("val", "test"), [(0.1, 0.1), (0.25, 0.1), (0.1, 0), (0, 0.3), (0.4, 0.5)])
def test_first_samples_of_each_class_are_test_then_val(seed, val, test):
    identities, classes = make_samples(seed)
    splits, _ = split(identities, classes, val, test)

    assert list(splits) == [name for name, is_used in {"train": True, "val": val, "test": test}.items() if is_used]
    assert sorted(chain(*splits.values())) == sorted(identities)
    for name in set(classes):
        members = [identity for identity, label in zip(identities, classes, strict=True) if label == name]
        members.sort(key=lambda identity: int(hash_identities([identity])[0]))
        offset = int(hash_identities([name])[0]) / 2**64
        # A class keeps one training sample.
        first, second = (
            min(math.floor(share * len(members) + offset), len(members) - 1) for share in (test, test + val)
        )
        expected = {"test": members[:first], "val": members[first:second], "train": members[second:]}
        assert {key: set(values) & set(members) for key, values in splits.items()} == {
            key: set(values) for key, values in expected.items() if key in splits
        }


def test_rounding_of_classes_adds_up_to_the_fractions():
    # 0.7 samples per class and split: without random rounding, each split would have 0 or 2,000 samples.
    classes = [f"class {index // 7}" for index in range(14_000)]
    splits, _ = split([str(index) for index in range(14_000)], classes)

    # Standard deviation of the sum: sqrt(2,000 * 0.7 * 0.3) = 20 for test and sqrt(2,000 * 0.4 * 0.6 ...) below 30.
    assert abs(len(splits["test"]) - 1400) < 80
    assert abs(len(splits["val"]) - 1400) < 120


@pytest.mark.parametrize("num_samples", [3, 10, 99, 1_000])
def test_one_class_has_its_fractions_within_one_sample(num_samples):
    splits, _ = split([str(index) for index in range(num_samples)], None, val=0.15, test=0.2)

    assert abs(len(splits["test"]) - 0.2 * num_samples) < 1
    assert abs(len(splits["test"]) + len(splits["val"]) - 0.35 * num_samples) < 1


@pytest.mark.parametrize("seed", SEEDS)
def test_stored_rule_keeps_every_sample_when_others_come_and_go(seed):
    identities, classes = make_samples(seed)
    splits, rule = split(identities, classes)
    before = {identity: name for name, members in splits.items() for identity in members}
    rng = np.random.default_rng(seed)
    samples = [pair for pair in zip(identities, classes, strict=True) if rng.random() < 0.7]
    samples += [(f"new {index}", str(rng.choice([*classes, "new class"]))) for index in range(200)]
    samples = [samples[index] for index in rng.permutation(len(samples))]

    changed, _ = split(*map(list, zip(*samples, strict=True)), rule=rule)

    after = {identity: name for name, members in changed.items() for identity in members}
    assert {identity: name for identity, name in after.items() if identity in before}.items() <= before.items()
    assert set(after) == {identity for identity, _ in samples}


@pytest.mark.parametrize("size", [3, 40])
def test_new_samples_fall_into_splits_by_the_fractions(size):
    counts = {"train": 0, "val": 0, "test": 0}
    for index in range(300):
        classes = [f"class {index}"] * size
        _, rule = split([f"{index}/{sample}" for sample in range(size)], classes)
        new, _ = split([f"{index}/new {sample}" for sample in range(10)], classes[:1] * 10, rule=rule)
        counts = {name: count + len(new[name]) for name, count in counts.items()}

    # 300 rules: the standard deviation of a mean share is below 0.25 / sqrt(300) = 0.014.
    assert counts["test"] / 3_000 == pytest.approx(0.1, abs=0.045)
    assert counts["val"] / 3_000 == pytest.approx(0.1, abs=0.045)


def test_order_of_samples_and_other_classes_do_not_matter():
    identities, classes = make_samples(3)
    splits, _ = split(identities, classes)
    reversed_splits, _ = split(identities[::-1], classes[::-1])
    only_first = [identity for identity, name in zip(identities, classes, strict=True) if name == "class 0"]

    assert {name: sorted(ids) for name, ids in reversed_splits.items()} == {k: sorted(v) for k, v in splits.items()}
    assert split(only_first, ["class 0"] * len(only_first))[0]["train"] == [
        identity for identity in splits["train"] if identity in only_first
    ]


@pytest.mark.parametrize("sizes", [[1], [1] * 50, [2] * 50, [1, 2, 3, 300]])
def test_every_class_keeps_a_training_sample(sizes):
    classes = [f"class {index}" for index, size in enumerate(sizes) for _ in range(size)]
    identities = [str(index) for index in range(len(classes))]
    splits, _ = split(identities, classes, val=0.3, test=0.3)

    assert {classes[int(identity)] for identity in splits["train"]} == set(classes)


@pytest.mark.parametrize("seed", SEEDS)
def test_equal_identities_share_a_split(seed):
    rng = np.random.default_rng(seed)
    identities = [f"group {index}" for index in rng.integers(0, 60, 400)]
    classes = [f"class {int(identity[6:]) % 3}" for identity in identities]
    splits, rule = split(identities, classes)

    assert ALL_CLASSES not in rule.boundaries
    assert sum(len(set(members)) for members in splits.values()) == len(set(identities))
    assert abs(len(splits["test"]) - 40) < 25


def test_identities_in_several_classes_have_one_order():
    identities = [str(index) for index in range(100)]
    classes = ["a"] * 50 + ["b"] * 50
    splits, rule = split([*identities, "7", "99"], [*classes, "b", "a"])

    assert list(rule.boundaries) == [ALL_CLASSES]
    assert sum(len(set(members)) for members in splits.values()) == 100
    assert abs(len(splits["test"]) - 10) <= 1
    assert count_identities_in_several_classes(hash_identities([*identities, "7", "99"]), [*classes, "b", "a"]) == 2
    assert count_identities_in_several_classes(hash_identities([*identities, "7"]), [*classes, "a"]) == 0


def test_boundaries_are_hashes_between_samples():
    hashes = np.sort(hash_identities([str(index) for index in range(10)]))
    rule = make_split_rule(hashes, None, 0.2, 0.3)
    first, second = rule.boundaries[ALL_CLASSES]

    assert hashes[2] < first <= hashes[3]
    assert hashes[4] < second <= hashes[5]
    assert 0 <= first <= second < NUM_HASHES


def test_names_that_are_not_utf8_are_hashed():
    assert len(set(hash_identities(["caf\udce9.jpg", "café.jpg"]).tolist())) == 2


def test_hashes_are_those_of_earlier_runs():
    identities = ["a/b.jpg", b"\x00\xff", "\u00e4 \udcff", ""]
    expected = [
        int.from_bytes(hashlib.sha256(b"7:" + name).digest()[:8], "big")
        for name in (b"a/b.jpg", b"\x00\xff", "\u00e4 \udcff".encode("utf-8", "surrogatepass"), b"")
    ]

    assert hash_identities(iter(identities), 7).tolist() == expected
    assert hash_identities(["a/b.jpg"]).tolist() == [17869362822475816685]
    assert hash_identities([]).shape == (0,)


def test_scikit_learn_is_not_imported(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    # Run the file again, because this process has imported it already.
    runpy.run_path(split_module.__file__)

    assert "sklearn" not in sys.modules
