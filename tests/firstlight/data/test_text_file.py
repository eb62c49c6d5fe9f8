"""Text files of the user: formats, splits and rejected files."""

import json

import pytest

from firstlight.data.tabular import iter_texts
from firstlight.data.text_file import TextFileDataModule
from firstlight.run.errors import DataError
from support.datamodules import count_samples, prepare_data

ROWS = [{"review": f"word{index} and more", "stars": index % 2} for index in range(40)]
COLUMNS = {"text_column": "review", "label_column": "stars"}


def write_rows(path):
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS))
    elif path.suffix == ".parquet":
        datasets = pytest.importorskip("datasets")
        datasets.Dataset.from_list(ROWS).to_parquet(str(path))
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        path.write_text("\n".join(separator.join(map(str, row)) for row in [ROWS[0].keys(), *map(dict.values, ROWS)]))
    return path


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_every_file_format_is_read(tmp_path, suffix):
    path = write_rows(tmp_path / f"texts.{suffix}")
    data = prepare_data(TextFileDataModule(path=str(path), **COLUMNS))

    assert data.class_names == ["0", "1"]
    assert count_samples(data) == {"train": 32, "val": 4, "test": 4}


def test_split_files_are_used_unchanged(tmp_path):
    path = str(write_rows(tmp_path / "texts.csv"))
    data = prepare_data(TextFileDataModule(path, val_path=path, test_path=path, **COLUMNS))

    assert count_samples(data) == {"train": 40, "val": 40, "test": 40}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "words,label\nx,1\n", "has no column 'text'. Available: words, label. Set text_column, label_col"),
        ("a.csv", "text,kind\nx,1\n", "has no column 'label'. Available: text, kind. Set text_column, label_col"),
        ("a.csv", "text,label\nx,1\n,2\n", "row 2: empty column 'text'. Fix or remove the row, or skip"),
        ("a.csv", "text,label\nx,1\ny,1\n", "requires at least two classes, but column 'label' of .* contains .'1'."),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"text": \n', "row 2: invalid JSON"),
        ("a.doc", "x", "Cannot read .*a.doc: unknown suffix '.doc'. Use a .csv, .tsv, .json, .jsonl or .parquet file"),
        (None, "", "missing.csv does not exist. Use a .csv, .tsv, .json, .jsonl or .parquet file"),
    ],
)
def test_unusable_file_is_rejected(tmp_path, name, content, message):
    path = tmp_path / (name or "missing.csv")
    if name:
        path.write_text(content)

    with pytest.raises(DataError, match=message):
        TextFileDataModule(str(path)).setup()


def test_special_characters_and_long_texts_are_read(tmp_path):
    (tmp_path / "a.jsonl").write_bytes('\ufeff{"text": "one\u2028two"}\n'.encode() + b'{"text": "caf\xe9"}\n')
    (tmp_path / "a.csv").write_text("text\n" + "x" * 200_000 + "\n")

    assert [text for text, _ in iter_texts(tmp_path / "a.jsonl", "text")] == ["one\u2028two", None]
    assert [len(text) for text, _ in iter_texts(tmp_path / "a.csv", "text")] == [200_000]
