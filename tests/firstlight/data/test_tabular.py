"""Invalid rows and corrupt files: skipped up to a limit, otherwise rejected with a one-line message."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.data.tabular import iter_texts
from firstlight.data.text_file import TextFileDataModule
from firstlight.run.errors import DataError
from support.file_damage import flip_bytes, fuzz, get_error_message

ROWS = [{"text": f"word{index} and more", "label": index % 2} for index in range(40)]

# By row number.
INVALID_LINES = {
    5: '{"text": ',
    17: "[1]",
    23: '{"text": "x"}',
    31: '{"text": " ", "label": 1}',
    40: '{"text": 1, "label": 1}',
}

CSV = "text,label\n" + "".join(f"word{index} and more,{index % 2}\n" for index in range(40))


@pytest.fixture
def invalid_jsonl(tmp_path):
    """Return a JSON Lines file with 5 invalid rows."""
    lines = [INVALID_LINES.get(number, json.dumps(row)) for number, row in enumerate(ROWS, start=1)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    return str(tmp_path / "a.jsonl")


def test_allowed_invalid_rows_are_skipped_and_named(invalid_jsonl, capsys):
    _, splits = TextFileDataModule(invalid_jsonl, max_skipped_samples=5).load_texts()

    assert sum(len(texts) for texts, _ in splits.values()) == 35
    assert capsys.readouterr().err == (
        f"data: skipped 5 of 40 rows of {invalid_jsonl}: row 5 (invalid JSON: Expecting value: line 2 column 1 (char "
        "10)), row 17 (not a JSON object), row 23 (no column 'label', only text) and others\n"
    )


@pytest.mark.parametrize("max_skipped_samples", [0, 4])
def test_more_invalid_rows_than_allowed_are_rejected(invalid_jsonl, max_skipped_samples):
    message = (
        r"row 5: invalid JSON: .*. Fix or remove the row, or skip invalid rows \(5 of 40\) with "
        r"data.max_skipped_samples=5.$"
    )

    with pytest.raises(DataError, match=message):
        TextFileDataModule(invalid_jsonl, max_skipped_samples=max_skipped_samples).setup()


@pytest.mark.parametrize(
    ("row", "error"),
    [
        (b"one,two,1", "expected 2 fields, found 3"),
        (b"one", "expected 2 fields, found 1"),
        (b"one,", "empty column 'label'"),
        (b" ,1", "empty column 'text'"),
        (b"caf\xe9,1", "invalid UTF-8 or NUL character"),
        (b"o\0ne,1", "invalid UTF-8 or NUL character"),
    ],
)
def test_invalid_csv_row_is_named_and_may_be_skipped(tmp_path, row, error, capsys):
    (tmp_path / "a.csv").write_bytes(CSV.encode() + row + b"\n" + CSV.encode().partition(b"\n")[2])
    _, splits = TextFileDataModule(str(tmp_path / "a.csv"), max_skipped_samples=1).load_texts()

    assert sum(len(texts) for texts, _ in splits.values()) == 80
    assert capsys.readouterr().err == f"data: skipped 1 of 81 rows of {tmp_path / 'a.csv'}: row 41 ({error})\n"
    assert f"row 41: {error}. " in (get_error_message(TextFileDataModule(str(tmp_path / "a.csv")).setup) or "")


def test_nan_label_is_missing(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "x", "label": NaN}\n')

    with pytest.raises(DataError, match="row 1: empty column 'label'. Fix or remove the row"):
        TextFileDataModule(str(tmp_path / "a.jsonl")).setup()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "a.csv is empty. Use a file with at least one text"),
        ("a.jsonl", b"", "a.jsonl is empty. Use a file with at least one text"),
        ("a.parquet", b"", "a.parquet is empty. Use a file with at least one text"),
        ("a.csv", b"\n\n", "a.csv has no header row of column names in UTF-8"),
        (
            "a.csv",
            CSV.encode("utf-16-le"),
            "a.csv has no header row of column names in UTF-8. Save the file as UTF-8, or s",
        ),
        ("a.csv", CSV.encode() + b'"open,1\nx,1\n', "a.csv has an unterminated quote at or before line 42. Close"),
        ("a.csv", b"label,text\n0,x\n" + b'1,"open\n', "a.csv has an unterminated quote at or before line 3. Close"),
        ("a.jsonl", b"[" * 100_000, "row 1: invalid JSON: (maximum recursion depth|Stack overflow)"),
        ("a.parquet", b"PAR1 no more", "Cannot read .*a.parquet .Parquet magic bytes not found.*. Repair the file"),
    ],
)
def test_corrupt_file_is_rejected(tmp_path, name, content, message):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow", reason="the extra hub is not installed")
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DataError, match=message):
        TextFileDataModule(str(tmp_path / name)).setup()


@fuzz
@given(tail=st.binary(max_size=60), suffix=st.sampled_from(["csv", "tsv"]), max_skipped_samples=st.integers(0, 3))
def test_any_bytes_in_csv_are_read_or_rejected_in_one_line(tmp_path, tail, suffix, max_skipped_samples):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(CSV.replace(",", "," if suffix == "csv" else "\t").encode() + tail)

    get_error_message(TextFileDataModule(str(path), max_skipped_samples=max_skipped_samples).setup)
    get_error_message(lambda: list(iter_texts(path, "text")))


@fuzz
@given(
    text=st.text(st.sampled_from('",\n\r\t\0 a\u00e9\u20281\ufeff'), max_size=40),
    position=st.integers(0, len(CSV)),
)
def test_any_text_anywhere_in_csv_is_read_or_rejected_in_one_line(tmp_path, text, position):
    path = tmp_path / "a.csv"
    path.write_text(CSV[:position] + text + CSV[position:], newline="")

    get_error_message(TextFileDataModule(str(path), max_skipped_samples=2).setup)
    get_error_message(lambda: list(iter_texts(path, "text")))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["text", "label"]), inner),
    max_leaves=4,
)


@fuzz
@given(text=JSON_VALUES, label=JSON_VALUES, cut=st.integers(0, 20))
def test_any_json_object_is_read_or_rejected_in_one_line(tmp_path, text, label, cut):
    path = tmp_path / "a.jsonl"
    line = json.dumps({"text": text, "label": label})
    path.write_text("\n".join(map(json.dumps, ROWS)) + "\n" + line[: len(line) - (cut if cut < 10 else 0)])

    get_error_message(TextFileDataModule(str(path)).setup)
    for row_text, _ in iter_texts(path, "text"):
        (row_text or "").encode()  # tokenizers reject surrogates


@fuzz
@given(data=st.data())
def test_corrupt_parquet_is_read_or_rejected_in_one_line(tmp_path, data):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    content = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), content)
    (tmp_path / "a.parquet").write_bytes(flip_bytes(data, content.getvalue()))

    get_error_message(TextFileDataModule(str(tmp_path / "a.parquet")).setup)
