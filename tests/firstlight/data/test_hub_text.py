"""Labeled text datasets of the Hugging Face Hub, from a saved copy."""

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstlight.data.hub_text import HubTextDataModule
from firstlight.run.errors import ConfigError, DataError
from support.datamodules import count_samples, list_labels, prepare_data
from support.file_damage import flip_bytes, fuzz, get_error_message

datasets = pytest.importorskip("datasets")

ROWS = [{"text": f"word{index} and more", "label": index % 2} for index in range(40)]


@pytest.fixture
def save_dataset(tmp_path):
    """Return a function that saves rows as the splits "train" and "test", and returns the directory."""

    def save(rows, features=None):
        table = datasets.Dataset.from_list(rows, features=features)
        datasets.DatasetDict({"train": table, "test": table}).save_to_disk(str(tmp_path / "saved"))
        return str(tmp_path / "saved")

    return save


def test_saved_dataset_is_loaded_with_class_names(save_dataset):
    rows = [{"review": row["text"], "stars": row["label"]} for row in ROWS]
    features = datasets.Features(
        {"review": datasets.Value("string"), "stars": datasets.ClassLabel(names=["bad", "good"])}
    )
    directory = save_dataset(rows, features)
    data = prepare_data(HubTextDataModule(directory, text_column="review", label_column="stars"))

    assert data.class_names == ["bad", "good"]
    assert count_samples(data) == {"train": 36, "val": 4, "test": 40}


def test_groups_and_folds_divide_the_train_split(save_dataset):
    directory = save_dataset([{**row, "author": index // 4} for index, row in enumerate(ROWS)])
    tested = []
    for fold in range(5):
        options = {"test_split": None, "group_column": "author", "num_folds": 5, "fold": fold}
        data = prepare_data(HubTextDataModule(directory, **options))
        authors = {name: {int(text[4:].split()[0]) // 4 for text in texts} for name, (texts, _) in data.texts.items()}
        assert sum(map(len, authors.values())) == 10
        tested += authors["test"]

    assert sorted(tested) == list(range(10))
    with pytest.raises(ConfigError, match="the dataset has its own test split. .*data.test_split=null"):
        prepare_data(HubTextDataModule(directory, num_folds=5, fold=0))
    with pytest.raises(
        DataError, match="has no column 'writer'. Available: text, label, author. Set data.text_column, "
    ):
        prepare_data(HubTextDataModule(directory, test_split=None, group_column="writer"))


@pytest.mark.parametrize("values", [("pos", "neg"), (1, 2)])
def test_labels_may_be_any_values(save_dataset, values):
    directory = save_dataset([{"text": f"word{index}", "label": values[index % 2]} for index in range(40)])
    data = prepare_data(HubTextDataModule(directory))

    assert sorted(map(str, values)) == data.class_names
    assert {0, 1} == set(list_labels(data.datasets["test"]))


def test_unlabeled_rows_are_rejected(save_dataset):
    directory = save_dataset([{"text": "x", "label": -1}])

    with pytest.raises(DataError, match="contains unlabeled rows. Set data.test_split and data.val_split to"):
        HubTextDataModule(directory).setup()


def test_unavailable_dataset_is_reported():
    with pytest.raises(DataError, match="Could not load the dataset 'no/such-set': it is not .* Or use data=text_file"):
        HubTextDataModule("no/such-set").setup()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "x", "label": 5}, "has 2 classes with the labels 0 to 1, but contains the label 5. Set data.label_"),
        ({"text": None, "label": 1}, "Column 'text' in the split 'train' of set contains missing texts. Set data.text"),
    ],
)
def test_invalid_rows_are_rejected(monkeypatch, row, message):
    table = datasets.Dataset.from_list([*ROWS, row])
    table.features["label"] = table.info.features["label"] = datasets.ClassLabel(names=["bad", "good"])
    data = HubTextDataModule("set", test_split=None)
    monkeypatch.setattr(data, "_download", lambda: {"train": table})

    with pytest.raises(DataError, match=message):
        data.setup()


def test_saved_dataset_of_one_split_is_split(tmp_path):
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"))
    data = prepare_data(HubTextDataModule(str(tmp_path / "saved"), test_split=None))

    assert count_samples(data) == {"train": 32, "val": 4, "test": 4}
    with pytest.raises(
        DataError, match="has no split 'test'. Available: train. Set data.test_split to one of them, or"
    ):
        HubTextDataModule(str(tmp_path / "saved")).setup()


def test_spellings_of_a_label_are_one_class(save_dataset):
    directory = save_dataset(
        [{"text": f"word{i}", "label": ("ham", "spam ", "ham ", "spam")[i % 4]} for i in range(40)]
    )

    assert prepare_data(HubTextDataModule(directory)).class_names == ["ham", "spam"]


def test_lists_of_labels_are_rejected(save_dataset):
    with pytest.raises(DataError, match="Column 'label' of .* contains lists. Set data.label_column to a column with"):
        HubTextDataModule(save_dataset([{"text": "x", "label": [1, 0]}])).setup()


def change_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def set_custom_format(directory):
    change_json(directory / "train" / "state.json", _format_type="custom", _format_kwargs={"transform": "os.system"})


DAMAGES = {
    "empty list of splits": lambda path: (path / "dataset_dict.json").write_text('{"splits": []}'),
    "no list of splits": lambda path: (path / "dataset_dict.json").write_text("{}"),
    "list of splits cut off": lambda path: (path / "dataset_dict.json").write_text('{"splits": ["tr'),
    "empty list file": lambda path: (path / "dataset_dict.json").write_bytes(b""),
    "no directory of a split": lambda path: shutil.rmtree(path / "train"),
    "no state": lambda path: (path / "train" / "state.json").unlink(),
    "unknown format": lambda path: change_json(path / "train" / "state.json", _format_type="jaxx"),
    "no data files": lambda path: change_json(path / "train" / "state.json", _data_files=[]),
    "missing data file": lambda path: next((path / "train").glob("*.arrow")).unlink(),
    "empty data file": lambda path: next((path / "train").glob("*.arrow")).write_bytes(b""),
    "data file cut off": lambda path: os.truncate(next((path / "train").glob("*.arrow")), 700),
    "no information": lambda path: (path / "train" / "dataset_info.json").write_text("[]"),
    "other features": lambda path: change_json(path / "train" / "dataset_info.json", features={"x": {"_type": "Y"}}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_directory_is_rejected_in_one_line(save_dataset, damage):
    directory = save_dataset(ROWS)
    DAMAGES[damage](Path(directory))
    message = get_error_message(HubTextDataModule(directory, test_split=None).setup) or ""

    assert directory in message
    assert "Save it again with save_to_disk" in message or "has no split 'train'" in message


def test_format_of_a_saved_dataset_is_ignored(save_dataset):
    directory = save_dataset(ROWS)
    set_custom_format(Path(directory))

    assert prepare_data(HubTextDataModule(directory, test_split=None)).class_names == ["0", "1"]


@settings(fuzz, max_examples=60)
@given(data=st.data())
def test_damaged_data_is_read_or_rejected_in_one_line(tmp_path, data):
    if not (tmp_path / "saved").exists():
        datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"))
        next((tmp_path / "saved").glob("*.arrow")).rename(tmp_path / "original")
    (tmp_path / "saved" / "data-00000-of-00001.arrow").write_bytes(
        flip_bytes(data, (tmp_path / "original").read_bytes())
    )

    get_error_message(HubTextDataModule(str(tmp_path / "saved"), test_split=None).setup)
