"""Datasets of the engine with folds and groups: each sample is tested once, and no group is in two splits."""

import json
from itertools import chain

import numpy as np
import pytest

from firstlight.data.text_file import TextFileDataModule
from firstlight.run.errors import ConfigError, DataError
from support.fold_datasets import Pixels, list_texts, load, make_photos, make_rows, write_photos, write_rows

FOLDS = range(5)


def test_every_text_is_tested_in_one_fold(tmp_path):
    path = write_rows(tmp_path / "x.csv", make_rows())
    splits = [list_texts(load(TextFileDataModule(path, num_folds=5, fold=fold))) for fold in FOLDS]

    assert sorted(chain(*(texts["test"] for texts in splits))) == sorted(text for text, _, _ in make_rows())
    assert all(len(texts["test"]) == 40 and abs(len(texts["val"]) - 20) <= 2 for texts in splits)


def test_every_image_is_tested_in_one_fold(tmp_path):
    root = write_photos(tmp_path, [f"{name}/{index}.png" for name in "ab" for index in range(30)])
    tested = [load(make_photos(root, num_folds=5, fold=fold)).datasets["test"].paths for fold in FOLDS]

    assert [len(paths) for paths in tested] == [12] * 5
    assert len(set(chain(*tested))) == 60


def test_every_image_in_memory_is_tested_in_one_fold():
    tested = [load(Pixels(num_folds=5, fold=fold)).datasets["test"].images[:, 0, 0, 0].tolist() for fold in FOLDS]

    assert sorted(chain(*tested)) == list(range(100))


@pytest.mark.parametrize("is_evaluation", [True, False])
def test_later_command_has_the_fold_of_the_run(tmp_path, is_evaluation):
    path = write_rows(tmp_path / "x.csv", make_rows())
    run = load(TextFileDataModule(path, num_folds=5, fold=3))
    write_rows(tmp_path / "x.csv", [*make_rows()[::-1], ("new", "a", "p1")])
    later = load(TextFileDataModule(path, num_folds=5, fold=3), run, is_evaluation)

    assert {name: texts - {"new"} for name, texts in list_texts(later).items()} == list_texts(run)
    assert "(samples: 1 added)" in later.splitter.notes[0]
    for change in ({"fold": 2, "num_folds": 5}, {"fold": None, "num_folds": None}, {"fold": 3, "num_folds": 4}):
        with pytest.raises(ConfigError, match=r"differs from the training run \(data\.(num_)?fold"):
            load(TextFileDataModule(path, **change), run, is_evaluation)


def test_splits_of_a_run_without_folds_cannot_become_folds(tmp_path):
    path = write_rows(tmp_path / "x.csv", make_rows())
    run = load(TextFileDataModule(path))

    with pytest.raises(ConfigError, match=r"data.num_folds=5 differs from the training run \(data.num_folds=null\)"):
        load(TextFileDataModule(path, num_folds=5, fold=0), run)


def test_other_data_is_evaluated_completely(tmp_path):
    run = load(
        TextFileDataModule(write_rows(tmp_path / "x.csv", make_rows()), num_folds=5, fold=3, group_column="patient")
    )
    other = write_rows(tmp_path / "new.csv", [(f"new {index}", "a") for index in range(7)], ("text", "label"))
    later = load(TextFileDataModule(other, num_folds=5, fold=3), run)

    assert len(later.texts["test"][0]) == 7


@pytest.mark.parametrize("given", ["val_path", "test_path"])
def test_dataset_with_splits_has_no_folds(tmp_path, given):
    path = write_rows(tmp_path / "x.csv", make_rows())

    with pytest.raises(ConfigError, match=f"folds, but the dataset has its own {given[:-5]} split. Use one file"):
        load(TextFileDataModule(path, num_folds=5, fold=0, **{given: path}))


def test_image_datasets_with_splits_have_no_folds(tmp_path, monkeypatch):
    names = [f"{split}/{name}/{index}.png" for split in ("train", "val") for name in "ab" for index in range(4)]
    monkeypatch.setattr(Pixels, "splits", ("train", "val", "test"))
    for data in (make_photos(write_photos(tmp_path, names), num_folds=2, fold=0), Pixels(num_folds=2, fold=0)):
        with pytest.raises(ConfigError, match="data.num_folds=2 divides all samples into folds, but the dataset has"):
            load(data)


@pytest.mark.parametrize("folds", [{}, *({"num_folds": 5, "fold": fold} for fold in FOLDS)])
def test_no_patient_is_in_two_splits(tmp_path, folds):
    path = write_rows(tmp_path / "x.csv", make_rows())
    data = load(TextFileDataModule(path, group_column="patient", **folds))
    patients = {text: patient.strip() for text, _, patient in make_rows()}
    by_split = {name: {patients[text] for text in texts} for name, texts in list_texts(data).items()}

    assert sum(map(len, by_split.values())) == len(set(patients.values()))
    note = data.splitter.notes[0]
    sizes = [f"{len(texts) / 2:.1f} % in {name}" for name, texts in list_texts(data).items()]
    assert note.startswith(
        f"data: {len(set(patients.values()))} groups of 'patient' stay together ({', '.join(sizes)} of 200"
    )
    assert " % of a class are in test" in note
    for name, (texts, _) in data.texts.items():
        groups = [patients[text] for text in texts]
        codes = data.splitter.groups[name]
        assert len(set(zip(groups, codes.tolist(), strict=True))) == len(set(groups)) == len(np.unique(codes))


def test_modified_text_of_a_patient_is_noticed(tmp_path):
    path = write_rows(tmp_path / "x.csv", make_rows())
    run = load(TextFileDataModule(path, group_column="patient"))
    write_rows(tmp_path / "x.csv", [("other words", *make_rows()[0][1:]), *make_rows()[1:], ("new", "b", "p7")])
    later = load(TextFileDataModule(path, group_column="patient"), run)

    assert "(samples: 1 added, 1 modified)" in later.splitter.notes[-1]
    assert list_texts(later)["train"] - {"other words", "new"} == list_texts(run)["train"] - {"text 0"}
    with pytest.raises(ConfigError, match=r"data.group_column=null differs from the training run \(data.group"):
        load(TextFileDataModule(path), run)


def test_no_patient_of_a_table_of_images_is_in_two_splits(tmp_path):
    table = [(f"{index}.png", "ab"[index % 2], f"p{index // 5}") for index in range(100)]
    root = write_photos(tmp_path, [name for name, _, _ in table], table)
    tested = []
    for fold in FOLDS:
        data = load(make_photos(root, label_column="label", group_column="patient", num_folds=5, fold=fold))
        patients = {
            name: {int(path.stem) // 5 for path in data.datasets[name].paths} for name in ("train", "val", "test")
        }
        assert sum(map(len, patients.values())) == 20
        tested += patients["test"]

    assert sorted(tested) == list(range(20))


def test_splits_of_a_table_are_checked_for_shared_patients(tmp_path):
    table = [(f"{split}/{i}.png", "ab"[i % 2], f"{split}{i}") for split in ("train", "test") for i in range(20)]
    table += [("test/20.png", "a", "train3")]
    root = write_photos(tmp_path, [name for name, _, _ in table], table)
    notes = load(make_photos(root, label_column="label", group_column="patient")).splitter.notes

    assert notes[-1].startswith("Warning: 1 of 21 test samples are also in train (same group in column 'patient').")


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (
            [("x", "a"), ("y", "b")],
            ("text", "label"),
            "has no column 'patient'. Available: text, label. Set text_column",
        ),
        (
            [("x", "a", "1"), ("y", "b", " ")],
            ("text", "label", "patient"),
            "row 2: empty column 'patient'. Fix",
        ),
    ],
)
def test_missing_groups_are_rejected_in_one_line(tmp_path, rows, columns, message):
    with pytest.raises(DataError, match=message):
        load(TextFileDataModule(write_rows(tmp_path / "x.csv", rows, columns), group_column="patient"))


def test_missing_group_in_json_is_rejected_in_one_line(tmp_path):
    rows = [{"text": "x", "label": "a", "patient": 1}, {"text": "y", "label": "b"}]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))

    with pytest.raises(DataError, match="row 2: no column 'patient', only text, label. Fix or remove the row"):
        load(TextFileDataModule(str(tmp_path / "x.jsonl"), group_column="patient"))


def test_group_column_needs_a_column_of_its_own():
    with pytest.raises(ConfigError, match="metadata.csv with the columns file_name, label and patient, and set"):
        make_photos("photos", group_column="patient")
    with pytest.raises(ConfigError, match="data.group_column: expected a column other than text, label, got 'label'"):
        TextFileDataModule("x.csv", group_column="label")
