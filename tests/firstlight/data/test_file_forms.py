"""Tables in the forms that spreadsheets and programs save, for training and prediction."""

import json

import pytest

from firstlight.data.tabular import iter_texts
from firstlight.data.text_file import TextFileDataModule
from firstlight.run.errors import ConfigError, DataError

TEXTS = [f"caf\u00e9 {index}, or more" for index in range(40)]
ROWS = [{"text": text, "label": ("ham", "spam")[index % 2]} for index, text in enumerate(TEXTS)]


def make_csv(delimiter=",", newline="\n", header=("text", "label"), blank=""):
    lines = [header, *([f'"{row["text"]}"', row["label"]] for row in ROWS)]
    return newline.join((delimiter + blank).join(line) for line in lines) + newline


def load(path, **kwargs):
    names, splits = TextFileDataModule(str(path), **kwargs).load_texts()
    return names, sorted(text for texts, _ in splits.values() for text in texts)


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (make_csv().encode(), None),
        (make_csv(";").encode(), None),
        (make_csv("\t").encode(), None),
        (make_csv("|").encode(), None),
        (make_csv(";", header=('"text"', '"label"')).encode("utf-8-sig"), None),
        (make_csv(newline="\r\n").encode(), None),
        (make_csv(newline="\r").encode(), None),
        (make_csv(header=("text", " label")).encode(), None),
        (make_csv(blank=" ").encode(), None),
        (make_csv(header=(" text ", "label ")).encode(), None),
        (b"sep=;\r\n" + make_csv(";", "\r\n").encode(), None),
        (b"sep=,\n" + make_csv().encode(), None),
        (make_csv("\t").encode("utf-16"), None),
        (make_csv("\t").encode("utf-16-le"), "utf-16-le"),
        (make_csv(";").encode("cp1252"), "cp1252"),
        ((make_csv() + ",\n,\n,\n").encode(), None),
        (b"\n\n" + make_csv().encode(), None),
    ],
)
def test_csv_of_spreadsheets_is_read(tmp_path, content, encoding):
    (tmp_path / "a.csv").write_bytes(content)

    assert load(tmp_path / "a.csv", encoding=encoding) == (["ham", "spam"], sorted(TEXTS))
    assert [text for text, _ in iter_texts(tmp_path / "a.csv", "text", encoding)] == TEXTS


def test_delimiters_inside_of_texts_do_not_matter(tmp_path):
    (tmp_path / "a.csv").write_text("text\n" + "".join(f"a;b;c|d {index}\n" for index in range(9)))

    assert [text for text, _ in iter_texts(tmp_path / "a.csv", "text")][:2] == ["a;b;c|d 0", "a;b;c|d 1"]


@pytest.mark.parametrize("kwargs", [{}, {"max_skipped_samples": 0}])
def test_other_encoding_is_named_and_not_guessed(tmp_path, kwargs):
    (tmp_path / "a.csv").write_bytes(make_csv(";").encode("cp1252"))

    with pytest.raises(
        DataError, match=r"row 1: invalid UTF-8 or NUL character. Save the file as UTF-8, or set its enc"
    ):
        load(tmp_path / "a.csv", **kwargs)
    (text, reason), *_ = iter_texts(tmp_path / "a.csv", "text")
    assert text is None
    assert reason.endswith("e.g. data.encoding=cp1252.")


@pytest.mark.parametrize("encoding", ["latin9000", "rot13", "hex", ""])
def test_unknown_encoding_is_rejected(encoding):
    with pytest.raises(
        ConfigError, match="Invalid value for data.encoding: expected the name of a text encoding in Py"
    ):
        TextFileDataModule("a.csv", encoding=encoding)


COLUMNS = {name: [row[name] for row in ROWS] for name in ("text", "label")}
JSON_FORMS = {
    "lines": "\n".join(map(json.dumps, ROWS)),
    "records": json.dumps(ROWS),
    "indented records": json.dumps(ROWS, indent=2),
    "columns": json.dumps(COLUMNS),
    "columns by row, as pandas": json.dumps({name: dict(enumerate(values)) for name, values in COLUMNS.items()}),
    "rows by index": json.dumps(dict(enumerate(ROWS))),
    "split, as pandas": json.dumps(
        {"columns": ["text", "label"], "index": list(range(40)), "data": [list(row.values()) for row in ROWS]}
    ),
    "table, as pandas": json.dumps({"schema": {"fields": []}, "data": ROWS}),
    "wrapper": json.dumps({"version": "1", "data": {"rows": 3}, "items": ROWS}, indent=1),
}


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
@pytest.mark.parametrize("form", JSON_FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_json_of_every_form_is_read(tmp_path, form, suffix, encoding):
    path = tmp_path / f"a.{suffix}"
    path.write_text(JSON_FORMS[form], encoding=encoding)

    assert load(path) == (["ham", "spam"], sorted(TEXTS))
    assert [text for text, _ in iter_texts(path, "text")] == TEXTS


def test_single_record_is_read(tmp_path):
    (tmp_path / "a.json").write_text('{\n "text": "hello"\n}')

    assert [text for text, _ in iter_texts(tmp_path / "a.json", "text")] == ["hello"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            json.dumps(ROWS)[:-9],
            r"a.json is neither a JSON document nor JSON Lines \(.*\). Repair the file, or use anot",
        ),
        (
            json.dumps({"train": ROWS, "test": ROWS}),
            r"contains several lists \(train, test\) instead of the columns text",
        ),
        ('{"a": 1, "b": 2}', "contains an object with the keys a, b instead of the columns text, label. Save one list"),
        ("17", "contains a single value instead of records. Save a list of objects, or JSON Lines"),
        ('{"text": ["a", "b"], "label": [1]}', "The columns text, label of .*a.json have different rows. Save them"),
        ('[{"text": "a", "label": 1, "label": 2}]', "duplicate key 'label'"),
        ('{"text": "a", "label": 1, "label": 2}\n' * 2, r"JSON.*duplicate key 'label'"),
        ('["a", "b"]', "row 1: not a JSON object"),
    ],
)
def test_other_json_is_explained(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)

    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.json")


def test_columns_of_one_name_are_rejected(tmp_path):
    (tmp_path / "a.csv").write_text("text,label, label\nx,1,2\n")
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.Table.from_arrays([["x"], [1], [2]], names=["text", "label", "label"])
    parquet.write_table(table, tmp_path / "a.parquet")

    for name in ("a.csv", "a.parquet"):
        with pytest.raises(DataError, match=f"{name} has several columns named 'label'. Rename or remove all but one"):
            load(tmp_path / name)


def test_directory_is_not_a_file(tmp_path):
    with pytest.raises(DataError, match=r"is a directory. Use a .csv, .* file, or data=hub_text data.dataset_name=/"):
        load(tmp_path)
