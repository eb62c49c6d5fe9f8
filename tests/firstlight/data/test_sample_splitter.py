"""Splits that a run stores: kept when samples change or move, and every change is counted."""

import io

import numpy as np
import pytest
import torch

from firstlight.data import sample_splitter
from firstlight.data.sample_splitter import HELD_OUT, Samples, SampleSplitter
from firstlight.data.split_state import parse_state
from firstlight.run.errors import DataError

NAMES = ["a", "b"]
IDENTITIES = [f"{index}.jpg" for index in range(200)]


def make_samples(identities=IDENTITIES, classes=None, stamps=None, source="photos"):
    classes = classes or [NAMES[len(identity) % 2] for identity in identities]
    return Samples(identities, classes, stamps or [1] * len(identities), source)


def split(splitter, **samples):
    """Return the identities of each split."""
    chosen = splitter.split(samples, HELD_OUT, NAMES)
    return {name: {samples[key].identities[i] for i in indices} for name, (key, indices) in chosen.items()}


def restore(splitter, is_evaluation=True):
    """Return the splitter of a later command, which reads the state from a checkpoint."""
    file = io.BytesIO()
    torch.save(splitter.state.to_plain(), file)
    file.seek(0)
    later = SampleSplitter()
    later.restored, later.is_evaluation = parse_state(torch.load(file, weights_only=True)), is_evaluation
    return later


@pytest.fixture
def trained():
    """Return the splitter of a run, and its splits."""
    splitter = SampleSplitter()
    return splitter, split(splitter, train=make_samples())


@pytest.mark.parametrize("is_evaluation", [True, False])
def test_restored_splits_are_the_same_without_a_note(trained, is_evaluation):
    splitter, before = trained
    later = restore(splitter, is_evaluation)

    assert split(later, train=make_samples(IDENTITIES[::-1])) == before
    assert later.notes == []
    assert later.digests == splitter.digests
    assert {name: len(ids) for name, ids in before.items()} == {"train": 160, "val": 20, "test": 20}


@pytest.mark.parametrize("is_evaluation", [True, False])
def test_changed_samples_are_counted_and_all_others_keep_their_split(trained, is_evaluation):
    splitter, before = trained
    later = restore(splitter, is_evaluation)
    identities = [*IDENTITIES[3:], *(f"new {index}.jpg" for index in range(1500))]
    stamps = [2, 2, *[1] * (len(identities) - 2)]
    after = split(later, train=make_samples(identities, stamps=stamps))

    assert {name: ids & set(IDENTITIES) for name, ids in after.items()} == {
        name: ids - set(IDENTITIES[:3]) for name, ids in before.items()
    }
    assert abs(len(after["test"]) - 170) < 50
    sizes = " / ".join(f"{len(ids):,} {name}" for name, ids in after.items())
    assert later.notes == [
        "Warning: The data has changed since the run was trained (samples: 1,500 added, 3 removed, 2 modified). All "
        f"others stay in their splits, which now are {sizes}."
    ]


def test_relabeled_samples_keep_their_split(trained):
    splitter, before = trained
    later = restore(splitter, is_evaluation=False)
    swapped = [NAMES[1 - len(identity) % 2] for identity in IDENTITIES]

    assert split(later, train=make_samples(classes=swapped, stamps=[2] * 200)) == before
    assert "(samples: 200 modified)" in later.notes[0]


@pytest.mark.parametrize("is_evaluation", [True, False])
def test_same_identities_at_another_place_keep_their_splits(trained, is_evaluation):
    splitter, before = trained
    later = restore(splitter, is_evaluation)

    assert split(later, train=make_samples(source="/mnt/moved")) == before
    assert later.notes == []


def test_all_other_data_is_evaluated(trained):
    splitter, before = trained
    later = restore(splitter)
    identities = [*sorted(before["train"])[:5], *sorted(before["test"])[:5], *(f"new {index}" for index in range(50))]
    stamps = [2, *[1] * 59]
    after = split(later, train=make_samples(identities, stamps=stamps, source="other"))

    assert after == {name: set(identities) for name in ("train", "val", "test")}
    assert later.notes == [
        "data: other is not the data of the run. All its 60 samples are used. 4 of them were trained on."
    ]


def test_resumed_run_never_takes_all_samples_of_another_place(trained):
    splitter, before = trained
    later = restore(splitter, is_evaluation=False)
    after = split(later, train=make_samples(IDENTITIES[1:], source="other"))

    assert after == {name: ids - {IDENTITIES[0]} for name, ids in before.items()}
    assert "1 removed" in later.notes[0]


def test_link_to_the_data_is_the_data_of_the_run(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to("photos")
    splitter = SampleSplitter()
    before = split(splitter, train=make_samples(source=str(tmp_path / "photos")))
    later = restore(splitter)

    assert split(later, train=make_samples(IDENTITIES[:-1], source=str(tmp_path / "link"))) == {
        name: ids - {IDENTITIES[-1]} for name, ids in before.items()
    }


def test_given_splits_are_used_unchanged_and_compared():
    splitter = SampleSplitter()
    test = make_samples([f"test {index}" for index in range(5)], source="test.csv")
    before = split(splitter, train=make_samples(), test=test)
    changed, other = restore(splitter), restore(splitter)

    assert before["test"] == set(test.identities)
    assert len(before["val"]) == 20
    assert split(changed, train=make_samples(), test=make_samples(["test 0", "x"], source="test.csv")) == {
        **before,
        "test": {"test 0", "x"},
    }
    assert "(samples: 1 added, 4 removed)" in changed.notes[0]
    known = sorted(before["train"])[:2]
    assert split(other, train=make_samples(), test=make_samples(known, source="new.csv"))["test"] == set(known)
    assert other.notes == [
        "data: new.csv is not the data of the run. All its 2 samples are used. 2 of them were trained on."
    ]


def test_given_split_in_place_of_a_stored_one_leaves_the_others(trained):
    splitter, before = trained
    later = restore(splitter)
    test = make_samples(["new"], source="new.csv")

    assert split(later, train=make_samples(), test=test) == {**before, "test": {"new"}}
    assert later.notes == ["data: new.csv is not the data of the run. All its 1 samples are used."]


def test_split_of_which_all_samples_were_trained_on_is_rejected():
    splitter = SampleSplitter()
    split(splitter, train=make_samples(), test=make_samples(["x"], source="test.csv"))

    with pytest.raises(DataError, match=r"trained on all samples that could be its test split. Set the path of other"):
        split(restore(splitter), train=make_samples())


def test_shares_are_reported_if_samples_occur_in_several_classes():
    splitter = SampleSplitter()
    samples = make_samples([*IDENTITIES, "0.jpg"], classes=[*["a"] * 150, *["b"] * 51])
    chosen = split(splitter, train=samples)
    shares = {
        name: [
            100 * len(ids & group) / size
            for group, size in zip((set(IDENTITIES[:150]), {*IDENTITIES[150:], "0.jpg"}), (150, 51), strict=True)
        ]
        for name, ids in chosen.items()
    }

    assert splitter.notes == [
        "data: 1 samples occur in several classes. The split ignores classes: "
        + ", ".join(f"{min(shares[n]):.1f} to {max(shares[n]):.1f} % of a class are in {n}" for n in ("val", "test"))
        + "."
    ]


@pytest.mark.parametrize(
    ("identities", "classes", "message"),
    [
        (["x"] * 50, None, r"50 samples \(1 distinct\) leave val empty"),
        (["1", "2", "3"], ["a", "b", "a"], r"3 samples in 2 classes \(3 distinct\) leave"),
    ],
)
def test_too_few_samples_are_rejected(identities, classes, message):
    with pytest.raises(DataError, match=f"Too few samples for a split into train, val, test: {message}.*Add samples"):
        SampleSplitter().split({"train": Samples(identities, classes, [0] * len(identities))}, HELD_OUT, [])


def test_large_dataset_is_compared_by_split(trained, monkeypatch):
    monkeypatch.setattr(sample_splitter, "MAX_RECORDED_SAMPLES", 199)
    splitter = SampleSplitter()
    before = split(splitter, train=make_samples())
    later = restore(splitter)
    after = split(later, train=make_samples([*IDENTITIES, "new"]))
    name = next(name for name, ids in after.items() if "new" in ids)

    assert all("hashes" not in record for record in splitter.state.to_plain()["records"].values())
    assert {key: ids - {"new"} for key, ids in after.items()} == before
    assert f"(samples: {len(after[name])} instead of {len(before[name])} in {name})" in later.notes[0]


def test_recorded_arrays_are_bounded():
    splitter = SampleSplitter()
    chosen = splitter.split(
        {"train": Samples([str(index) for index in range(100_001)], None, np.zeros(100_001))}, HELD_OUT, []
    )

    assert sum(len(indices) for _, indices in chosen.values()) == 100_001
    assert len(repr(splitter.state.to_plain())) < 2_000
