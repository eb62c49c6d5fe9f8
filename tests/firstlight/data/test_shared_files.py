"""Samples that are in two splits are reported: equal texts, equal pixels, and copies of image files."""

import pytest

from firstlight.data import shared_files
from firstlight.data.text_file import TextFileDataModule
from support.fold_datasets import Pixels, list_texts, load, make_photos, make_rows, write_photos, write_rows


def test_texts_in_two_splits_are_reported_once(tmp_path):
    path = write_rows(tmp_path / "x.csv", make_rows())
    test = write_rows(tmp_path / "test.csv", [("text  3", "b"), ("text 4", "a"), ("new", "a")], ("text", "label"))
    run = load(TextFileDataModule(path, test_path=test))
    shared = len(list_texts(run)["train"] & {"text 3", "text 4"})

    assert len(run.splitter.notes) == 1 + (shared < 2)
    assert run.splitter.notes[0].startswith(f"Warning: {shared} of 3 test samples are also in train (same text).")
    assert load(TextFileDataModule(path, test_path=test), run).splitter.notes == []
    assert load(TextFileDataModule(path)).splitter.notes == []


@pytest.mark.parametrize("num_read", [2_000, 10])
def test_copies_of_images_in_two_splits_are_reported(tmp_path, num_read, monkeypatch):
    # With more files, only their sizes are known before the comparison.
    monkeypatch.setattr("firstlight.data.identity.MAX_FILES_TO_READ", num_read)
    root = write_photos(
        tmp_path, [f"{split}/{name}/{i}.png" for split in ("train", "val") for name in "ab" for i in range(9)]
    )
    (tmp_path / "val/a/copy.png").write_bytes((tmp_path / "train/a/3.png").read_bytes())
    notes = load(make_photos(root)).splitter.notes

    assert len(notes) == 1
    assert notes[0].startswith("Warning: 1 of 19 val samples are also in train (same label, size and first 16 KB). Rem")
    monkeypatch.setattr(shared_files, "MAX_FILES_TO_READ", 1)
    assert load(make_photos(root)).splitter.notes == []


def test_images_in_memory_in_two_splits_are_reported(monkeypatch):
    monkeypatch.setattr(Pixels, "splits", ("train", "test"))

    assert [note.partition(" samples")[0] for note in load(Pixels()).splitter.notes] == [
        "Warning: 90 of 100 test",
        "Warning: 10 of 100 test",
    ]
