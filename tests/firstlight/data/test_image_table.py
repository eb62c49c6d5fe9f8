"""Images with labels in metadata.csv or metadata.jsonl, as in Hugging Face's imagefolder."""

import json

import pytest
import torch
from PIL import Image

from firstlight.data.image_folder import ImageFolderDataModule
from firstlight.run.errors import ConfigError, DataError
from support.datamodules import count_samples, prepare_data


def write_images(directory, rows, name="metadata.csv"):
    """Write an image for each row, and the table."""
    directory.mkdir(parents=True)
    for index, row in enumerate(rows):
        (directory / row["file_name"]).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), (index, 0, 0)).save(directory / row["file_name"])
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    text = "\n".join(lines if name.endswith(".csv") else map(json.dumps, rows))
    (directory / name).write_text(text)


def make_rows(**columns):
    """Return 20 rows; each column is a function of the index."""
    return [{"file_name": f"sub/{i}.png", **{name: fn(i) for name, fn in columns.items()}} for i in range(20)]


def load(root, **kwargs):
    return prepare_data(ImageFolderDataModule(str(root), image_size=8, batch_size=4, num_workers=0, **kwargs))


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_several_labels_are_read_from_a_column(tmp_path, name):
    write_images(tmp_path / "x", make_rows(tags=lambda i: ";".join("ab"[: i % 3])), name)
    data = load(tmp_path / "x", label_column="tags", task="multilabel")
    batch = next(iter(data.train_dataloader()))

    assert data.metadata["label_names"] == ["a", "b"]
    assert "class_names" not in data.metadata
    assert count_samples(data) == {"train": 16, "val": 2, "test": 2}
    assert (batch["labels"].dtype, tuple(batch["labels"].shape)) == (torch.float32, (4, 2))


def test_labels_belong_to_their_images(tmp_path):
    write_images(tmp_path / "x", make_rows(y=lambda i: i))
    dataset = load(tmp_path / "x", label_column="y", task="regression", augment=False).datasets["train"]
    batch = dataset.__getitems__(range(len(dataset)))

    torch.testing.assert_close(batch["inputs"][:, 0, 0, 0].float(), batch["labels"])


def test_classes_and_columns_of_flags_are_read(tmp_path):
    write_images(tmp_path / "x", make_rows(kind=lambda i: "ab"[i % 2], a=lambda i: i % 2, b=lambda i: 1))

    assert load(tmp_path / "x", label_column="kind").metadata["class_names"] == ["a", "b"]
    data = load(tmp_path / "x", label_column=["a", "b"], task="multilabel")
    assert data.metadata["label_names"] == ["a", "b"]


def test_number_has_mean_and_standard_deviation_of_training_split(tmp_path):
    write_images(tmp_path / "x" / "train", make_rows(price=lambda i: 10 * (i % 2)))
    write_images(tmp_path / "x" / "val", make_rows(price=lambda i: i))
    data = load(tmp_path / "x", label_column="price", task="regression")

    metadata = {name: value for name, value in data.metadata.items() if name.startswith("target")}
    assert metadata == {"target_name": "price", "target_mean": 5.0, "target_std": 5.0}
    assert count_samples(data) == {"train": 20, "val": 20, "test": 20}


def test_unreadable_rows_are_named_and_may_be_skipped(tmp_path, capsys):
    rows = make_rows(price=lambda i: i)
    write_images(tmp_path / "x", rows)
    (tmp_path / "x" / "sub" / "3.png").unlink()

    with pytest.raises(DataError, match=r"metadata.csv, row 4: sub/3.png does not exist in .*x. Fix or remove the row"):
        load(tmp_path / "x", label_column="price", task="regression")
    data = load(tmp_path / "x", label_column="price", task="regression", max_skipped_samples=1)
    assert sum(count_samples(data).values()) == 19
    assert "skipped 1 of 20 rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"task": "regression"}, ConfigError, "expected a column for data.task=regression, got null. Set data.label"),
        ({"label_column": "cost"}, DataError, "has no column 'cost'. Available: file_name, price. Set text_column"),
        (
            {"label_column": "price", "root": "empty"},
            DataError,
            "contains neither metadata.csv, metadata.jsonl nor metadata.parquet. Add one",
        ),
    ],
)
def test_unusable_table_is_rejected(tmp_path, kwargs, error, message):
    write_images(tmp_path / "x", make_rows(price=lambda i: i))
    (tmp_path / "empty").mkdir()
    root = tmp_path / kwargs.pop("root", "x")

    with pytest.raises(error, match=message):
        load(root, **kwargs)


def write_table(directory, names):
    rows = [{"file_name": name, "kind": "ab"[index % 2]} for index, name in enumerate(names)]
    write_images(directory, rows)


def test_table_above_directories_of_splits_keeps_the_splits(tmp_path):
    names = [
        f"{split}/{i}.png" for split, number in {"train": 10, "Valid": 4, "test": 2}.items() for i in range(number)
    ]
    write_table(tmp_path / "x", names)

    assert count_samples(load(tmp_path / "x", label_column="kind")) == {"train": 10, "val": 4, "test": 2}


def test_table_from_windows_is_read(tmp_path):
    write_table(tmp_path / "x", [f"sub/{i}.png" for i in range(20)])
    table = tmp_path / "x" / "metadata.csv"
    table.write_text(table.read_text().replace("/", "\\"))

    assert sum(count_samples(load(tmp_path / "x", label_column="kind")).values()) == 20


def test_images_without_a_row_are_reported(tmp_path, capsys):
    write_table(tmp_path / "x", [f"sub/{i}.png" for i in range(24)])
    table = tmp_path / "x" / "metadata.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:21]))

    assert sum(count_samples(load(tmp_path / "x", label_column="kind")).values()) == 20
    assert capsys.readouterr().err == f"data: ignored 4 images that {table} does not list.\n"


def test_ambiguous_tables_are_rejected(tmp_path):
    write_table(tmp_path / "x", ["train/1.png", "val/1.png", "more/1.png"])
    with pytest.raises(DataError, match="some images are in directories of splits, but .*more/1.png is not. Move it"):
        load(tmp_path / "x", label_column="kind")
    (tmp_path / "x" / "val" / "metadata.csv").write_text("file_name,kind\n1.png,a\n")
    with pytest.raises(DataError, match="is ambiguous: it contains metadata.csv, and so do val. Remove one of them"):
        load(tmp_path / "x", label_column="kind")
    (tmp_path / "x" / "metadata.csv").unlink()
    with pytest.raises(DataError, match="expected metadata.csv in one directory per split, got val. Use the names"):
        load(tmp_path / "x", label_column="kind")


def test_encoding_of_a_table_is_an_option(tmp_path):
    write_table(tmp_path / "x", [f"sub/{i}.png" for i in range(20)])
    table = tmp_path / "x" / "metadata.csv"
    table.write_bytes(table.read_text().replace(",a", ",caf\u00e9").encode("cp1252"))

    assert load(tmp_path / "x", label_column="kind", encoding="cp1252").class_names == ["b", "caf\u00e9"]
    with pytest.raises(
        DataError, match="row 1: invalid UTF-8 or NUL character. Save the file as UTF-8, or set its enc"
    ):
        load(tmp_path / "x", label_column="kind")
