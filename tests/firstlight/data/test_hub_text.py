"""A labelled set of the Hugging Face hub, from a saved copy."""

import pytest

from firstlight.data.hub_text import HubTextDataModule
from support.datamodules import list_labels, prepare_data

ROWS = [{"review": f"word{index} and more", "stars": index % 2} for index in range(40)]
GOOD = [{"text": f"word{index} and more", "label": index % 2} for index in range(40)]


def test_a_set_of_the_hub_is_read_from_a_saved_copy(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"review": datasets.Value("string"), "stars": datasets.ClassLabel(names=["bad", "good"])}
    )
    table = datasets.Dataset.from_list(ROWS, features=features)
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(str(tmp_path / "saved"))
    data = prepare_data(HubTextDataModule(str(tmp_path / "saved"), text_column="review", label_column="stars"))

    assert data.class_names == ["bad", "good"]
    assert {name: len(each) for name, each in data.datasets.items()} == {"train": 36, "val": 4, "test": 40}


@pytest.mark.parametrize("values", [("pos", "neg"), (1, 2)])
def test_labels_of_the_hub_may_be_any_values(tmp_path, values):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list([{"text": f"word{i}", "label": values[i % 2]} for i in range(40)])
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(str(tmp_path / "saved"))
    data = prepare_data(HubTextDataModule(str(tmp_path / "saved")))

    assert sorted(map(str, values)) == data.class_names
    assert {0, 1} == set(list_labels(data.datasets["test"]))


def test_unlabelled_rows_of_the_hub_are_refused(tmp_path):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list([{"text": "x", "label": -1}])
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(str(tmp_path / "saved"))

    with pytest.raises(ValueError, match="has rows without a label"):
        HubTextDataModule(str(tmp_path / "saved")).setup()


def test_a_set_of_the_hub_without_network_says_what_to_do():
    pytest.importorskip("datasets")

    with pytest.raises(ValueError, match="The data set 'no/such-set' could not be loaded .* or choose data="):
        HubTextDataModule("no/such-set").setup()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"text": "x", "label": 5}, "names 2 classes, which are the labels 0 to 1, but has the label 5"),
        ({"text": None, "label": 1}, "has rows without a text in column 'text' of its split 'train'"),
    ],
)
def test_a_damaged_set_of_the_hub_is_refused(tmp_path, monkeypatch, row, expected):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list([*GOOD, row])
    table.features["label"] = table.info.features["label"] = datasets.ClassLabel(names=["bad", "good"])
    data = HubTextDataModule("set", test_split=None)
    monkeypatch.setattr(data, "_download", lambda: {"train": table})

    with pytest.raises(ValueError, match=expected):
        data.setup()
