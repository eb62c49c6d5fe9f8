"""Damaged rows: skipped as far as that is allowed, else refused in one sentence."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.data.tabular import iter_texts
from firstlight.data.text_file import TextFileDataModule
from support.file_damage import flip_bytes, fuzz, get_error_message

GOOD = [{"text": f"word{index} and more", "label": index % 2} for index in range(40)]

BAD_JSON = {
    5: '{"text": ',
    17: "[1]",
    23: '{"text": "x"}',
    31: '{"text": " ", "label": 1}',
    40: '{"text": 1, "label": 1}',
}

CSV = "text,label\n" + "".join(f"word{index} and more,{index % 2}\n" for index in range(40))


@pytest.fixture
def damaged(tmp_path):
    lines = [BAD_JSON.get(number, json.dumps(row)) for number, row in enumerate(GOOD, start=1)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    return str(tmp_path / "a.jsonl")


def test_as_many_rows_as_allowed_are_skipped_and_named(damaged, capsys):
    _, splits = TextFileDataModule(damaged, max_skipped_samples=5).load_texts()

    assert sum(len(texts) for texts, _ in splits.values()) == 35
    assert capsys.readouterr().err == (
        f"data: skipped 5 of 40 rows of {damaged}: row 5 (no JSON (Expecting value: line 2 column 1 (char 10))), "
        "row 17 (no JSON object), row 23 (no column 'label' but text) and others\n"
    )


@pytest.mark.parametrize("max_skipped_samples", [0, 4])
def test_more_rows_than_allowed_are_refused(damaged, max_skipped_samples):
    expected = (
        r"row 5: no JSON .*: correct or remove the row, or skip such rows, 5 of 40, by data.max_skipped_samples=5$"
    )

    with pytest.raises(ValueError, match=expected):
        TextFileDataModule(damaged, max_skipped_samples=max_skipped_samples).setup()


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (b"one,two,1", "a row of 3 fields in a file of 2 columns"),
        (b"one", "a row of 1 fields in a file of 2 columns"),
        (b"one,", "text or label is empty"),
        (b" ,1", "text or label is empty"),
        (b"caf\xe9,1", "characters that are not UTF-8, or NUL"),
        (b"o\0ne,1", "characters that are not UTF-8, or NUL"),
    ],
)
def test_a_bad_row_of_a_csv_is_named_or_skipped(tmp_path, row, fault, capsys):
    (tmp_path / "a.csv").write_bytes(CSV.encode() + row + b"\n" + CSV.encode().partition(b"\n")[2])
    _, splits = TextFileDataModule(str(tmp_path / "a.csv"), max_skipped_samples=1).load_texts()

    assert sum(len(texts) for texts, _ in splits.values()) == 80
    assert capsys.readouterr().err == f"data: skipped 1 of 81 rows of {tmp_path / 'a.csv'}: row 41 ({fault})\n"
    assert f"row 41: {fault}: " in (get_error_message(TextFileDataModule(str(tmp_path / "a.csv")).setup) or "")


def test_the_nan_of_a_missing_label_is_no_class(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "x", "label": NaN}\n')

    with pytest.raises(ValueError, match="row 1: text or label is empty: fill it in or remove the row"):
        TextFileDataModule(str(tmp_path / "a.jsonl")).setup()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"", "a.csv is empty: give a file with at least one text"),
        ("a.jsonl", b"", "a.jsonl is empty: give a file with at least one text"),
        ("a.parquet", b"", "a.parquet is empty: give a file with at least one text"),
        ("a.csv", b"\n\n", "a.csv does not start with the names of its columns in UTF-8"),
        ("a.csv", CSV.encode("utf-16"), "a.csv does not start with the names of its columns in UTF-8: save it so"),
        ("a.csv", CSV.encode() + b'"open,1\nx,1\n', "a.csv has a quote that nothing closes, in or before line 42"),
        ("a.csv", b"label,text\n0,x\n" + b'1,"open\n', "a.csv has a quote that nothing closes, in or before line 3"),
        ("a.jsonl", b"[" * 100_000, "row 1: no JSON .maximum recursion depth"),
        ("a.parquet", b"PAR1 no more", "Cannot read .*a.parquet .Parquet magic bytes not found.*: mend it, or give"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, name, content, expected):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow", reason="the extra hub is not installed")
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ValueError, match=expected):
        TextFileDataModule(str(tmp_path / name)).setup()


@fuzz
@given(tail=st.binary(max_size=60), suffix=st.sampled_from(["csv", "tsv"]), max_skipped_samples=st.integers(0, 3))
def test_any_bytes_in_a_csv_work_or_are_refused_in_one_line(tmp_path, tail, suffix, max_skipped_samples):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(CSV.replace(",", "," if suffix == "csv" else "\t").encode() + tail)

    get_error_message(TextFileDataModule(str(path), max_skipped_samples=max_skipped_samples).setup)
    get_error_message(lambda: list(iter_texts(path, "text")))


@fuzz
@given(
    text=st.text(st.sampled_from('",\n\r\t\0 a\u00e9\u20281\ufeff'), max_size=40),
    place=st.integers(0, len(CSV)),
)
def test_any_text_anywhere_in_a_csv_works_or_is_refused_in_one_line(tmp_path, text, place):
    path = tmp_path / "a.csv"
    path.write_text(CSV[:place] + text + CSV[place:], newline="")

    get_error_message(TextFileDataModule(str(path), max_skipped_samples=2).setup)
    get_error_message(lambda: list(iter_texts(path, "text")))


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["text", "label"]), inner),
    max_leaves=4,
)


@fuzz
@given(text=VALUES, label=VALUES, cut=st.integers(0, 20))
def test_any_record_of_json_works_or_is_refused_in_one_line(tmp_path, text, label, cut):
    path = tmp_path / "a.jsonl"
    line = json.dumps({"text": text, "label": label})
    path.write_text("\n".join(map(json.dumps, GOOD)) + "\n" + line[: len(line) - (cut if cut < 10 else 0)])

    get_error_message(TextFileDataModule(str(path)).setup)
    for read, _ in iter_texts(path, "text"):
        (read or "").encode()  # a tokenizer takes no half of a surrogate pair


@fuzz
@given(data=st.data())
def test_a_damaged_parquet_works_or_is_refused_in_one_line(tmp_path, data):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    whole = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(GOOD), whole)
    (tmp_path / "a.parquet").write_bytes(flip_bytes(data, whole.getvalue()))

    get_error_message(TextFileDataModule(str(tmp_path / "a.parquet")).setup)
