"""One's own texts: what is read, and what is skipped or refused."""

import json

import pytest

from firstlight.data.tabular import iter_texts
from firstlight.data.text_file import TextFileDataModule
from support.datamodules import prepare_data

ROWS = [{"review": f"word{index} and more", "stars": index % 2} for index in range(40)]


def written(path):
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
def test_texts_are_read_from_every_kind_of_file(tmp_path, suffix):
    path = written(tmp_path / f"texts.{suffix}")
    data = prepare_data(TextFileDataModule(path=str(path), text_column="review", label_column="stars"))

    assert data.class_names == ["0", "1"]
    assert {name: len(each) for name, each in data.datasets.items()} == {"train": 32, "val": 4, "test": 4}


def test_files_for_each_split_are_used_as_they_are(tmp_path):
    path = str(written(tmp_path / "texts.csv"))
    data = prepare_data(
        TextFileDataModule(path, val_path=path, test_path=path, text_column="review", label_column="stars")
    )

    assert {name: len(each) for name, each in data.datasets.items()} == {"train": 40, "val": 40, "test": 40}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", "words,label\nx,1\n", "has no column 'text' but words, label: name the right one"),
        ("a.csv", "text,kind\nx,1\n", "has no column 'label' but text, kind: name the right one"),
        ("a.csv", "text,label\nx,1\n,2\n", "row 2: text or label is empty: fill it in or remove the row"),
        ("a.csv", "text,label\nx,1\ny,1\n", "needs two classes or more, but column 'label' of .* holds .'1'."),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"text": \n', "row 2: no JSON"),
        ("a.doc", "x", "Cannot read .*a.doc: give a .csv, .tsv, .jsonl or .parquet file"),
        (None, "", "There is no file .*: give a .csv, .tsv, .jsonl or .parquet file"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path, name, content, sentence):
    path = tmp_path / (name or "missing.csv")
    if name:
        path.write_text(content)

    with pytest.raises(ValueError, match=sentence):
        TextFileDataModule(str(path)).setup()


def test_rows_of_any_bytes_and_line_separators_are_read(tmp_path):
    (tmp_path / "a.jsonl").write_bytes('\ufeff{"text": "one\u2028two"}\n'.encode() + b'{"text": "caf\xe9"}\n')
    (tmp_path / "a.csv").write_text("text\n" + "x" * 200_000 + "\n")

    assert [text for text, _ in iter_texts(tmp_path / "a.jsonl", "text")] == ["one\u2028two", "caf\ufffd"]
    assert [len(text) for text, _ in iter_texts(tmp_path / "a.csv", "text")] == [200_000]
