"""Labeled text datasets of the Hugging Face Hub, from a saved copy."""

import pytest

from firstlight.data.hub_text import HubTextDataModule
from firstlight.run.errors import DataError
from support.datamodules import count_samples, list_labels, prepare_data

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
    with pytest.raises(DataError, match="Could not load the dataset 'no/such-set' .* or use data=text_file"):
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
