"""Labels in the columns of a table: what is read, and what is rejected."""

import numpy as np
import pytest

from firstlight.data.label_column import LabelColumns
from firstlight.run.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("a;b", ["a", "b"]),
        (" b ; a;b;", ["b", "a"]),
        ('["a", "b;c"]', ["a", "b;c"]),
        (["a", 3], ["a", "3"]),
        (7, ["7"]),
        ("", []),
        (None, []),
        ("[]", []),
    ],
)
def test_several_labels_in_a_cell_are_read(cell, labels):
    columns = LabelColumns("multilabel", "tags")

    assert columns.find_error({"tags": cell}) is None
    assert columns.parse({"tags": cell}) == labels


def test_separator_is_an_option():
    assert LabelColumns("multilabel", "tags", " ").parse({"tags": "a b;c"}) == ["a", "b;c"]


def test_columns_of_zeros_and_ones_are_labels():
    columns = LabelColumns("multilabel", ["a", "b", "c"])
    rows = [{"a": "1", "b": 0, "c": True}, {"a": "0", "b": "false", "c": "1.0"}]
    names, encoded = columns.encode({"train": [columns.parse(row) for row in rows]}, "x.csv")

    assert names == ["a", "b", "c"]
    assert encoded["train"].tolist() == [[1, 0, 1], [0, 0, 1]]
    assert encoded["train"].dtype == np.float32


def test_names_are_those_of_all_splits():
    columns = LabelColumns("multilabel", "tags")
    names, encoded = columns.encode({"train": [["10"], ["2", "x"]], "val": [["y"]]}, "x.csv")

    assert names == ["2", "10", "x", "y"]
    assert encoded["val"].tolist() == [[0, 0, 0, 1]]


def test_numbers_are_read():
    columns = LabelColumns("regression", "price")
    names, encoded = columns.encode({"train": [columns.parse({"price": value}) for value in ("1.5", 2, " -3e2 ")]}, "x")

    assert names == ["price"]
    assert encoded["train"].tolist() == [1.5, 2.0, -300.0]


@pytest.mark.parametrize(
    ("task", "column", "row", "message"),
    [
        ("regression", "y", {"y": "many"}, "the label must be a finite number, not 'many'"),
        ("regression", "y", {"y": "inf"}, "the label must be a finite number, not 'inf'"),
        ("regression", "y", {"y": [1]}, "the label must be a string or a number"),
        ("regression", "y", {"y": ""}, "empty column 'y'"),
        ("regression", "y", {"x": 1}, "no column 'y', only x"),
        ("multilabel", "y", {"y": '["a"'}, "invalid JSON list of labels: "),
        ("multilabel", "y", {"y": [["a"]]}, "the labels must be a list of strings or numbers"),
        ("multilabel", ["a", "b"], {"a": 1, "b": 2}, "column 'b' must be 0 or 1, not '2'"),
        ("multilabel", ["a", "b"], {"a": 1, "b": None}, "empty column 'b'"),
        ("classification", "y", {"y": None}, "empty column 'y'"),
        ("classification", "y", {"y": "a\0"}, "invalid UTF-8 or NUL character"),
    ],
)
def test_invalid_label_is_explained(task, column, row, message):
    assert (LabelColumns(task, column).find_error(row) or "").startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("regression", ["a", "b"]), "expected one column, got .*'a', 'b'.*or data.task=multilabel instead of data.ta"),
        (("ranking", "a"), "Invalid value for data.task: expected classification, multilabel or regression, got 'rank"),
        (("multilabel", "a", ""), "Invalid value for data.label_separator: expected a string that is not empty"),
        (("multilabel", []), "Invalid value for data.label_column: expected a string that is not empty"),
    ],
)
def test_invalid_settings_are_rejected(arguments, message):
    with pytest.raises(ConfigError, match=message):
        LabelColumns(*arguments)


def test_column_without_labels_is_rejected():
    with pytest.raises(DataError, match="Column 'tags' of x.csv contains no labels. Set data.label_column to their"):
        LabelColumns("multilabel", "tags").encode({"train": [[], []]}, "x.csv")


@pytest.mark.parametrize(
    ("spellings", "label"),
    [
        (("1", "1.0", 1, 1.0, " 1 ", "1.00"), "1"),
        (("-2", -2.0, "-2.0"), "-2"),
        (("0.5", 0.5), "0.5"),
        (("ham", "ham ", " ham", "\tham\u00a0"), "ham"),
        (("New York", "New  York", "New\nYork"), "New York"),
        (("true", "True", "TRUE", True), "true"),
        (("caf\u00e9", "cafe\u0301"), "caf\u00e9"),
    ],
)
def test_spellings_of_a_label_are_one_class(spellings, label):
    single, several = LabelColumns("classification", "y"), LabelColumns("multilabel", "y")

    assert {single.parse({"y": value}) for value in spellings} == {label}
    assert {name for value in spellings for name in several.parse({"y": [value]})} == {label}


def test_other_labels_stay_different():
    columns = LabelColumns("classification", "y")
    values = ["a", "A", "1.1", "1.10", "01", "1", "10", "v1.0"]

    assert [columns.parse({"y": value}) for value in values] == values


def test_classes_that_differ_in_case_are_reported(capsys):
    names, _ = LabelColumns("classification", "y").encode({"train": ["Ham", "ham", "spam"]}, "x.csv")

    assert names == ["Ham", "ham", "spam"]
    assert capsys.readouterr().err == "data: classes of x.csv that differ in case only: 'Ham' and 'ham'.\n"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            [f"{i * 1.7:.1f}" for i in range(60)],
            "has 60 different numbers in 60 rows. For a numeric target, use a regr",
        ),
        ([str(i) for i in range(60)], "has 60 different numbers in 60 rows. For a numeric target, use a regression"),
        (
            [f"{i % 60 / 7:.2f}" for i in range(600)],
            "has 60 different numbers with fractions. For a numeric target, use",
        ),
        (
            [f"id{i}" for i in range(60)],
            "has 60 different values in 60 rows. Set data.label_column to the column of the c",
        ),
    ],
)
def test_column_that_holds_no_classes_is_explained(labels, message):
    with pytest.raises(DataError, match=message):
        LabelColumns("classification", "y").encode({"train": labels}, "x.csv")


def test_many_classes_are_accepted():
    labels = [str(i % 100) for i in range(200)]
    assert len(LabelColumns("classification", "y").encode({"train": labels}, "x.csv")[0]) == 100
    ratings = [str(i % 11 / 2) for i in range(60)]
    assert len(LabelColumns("classification", "y").encode({"train": ratings}, "x.csv")[0]) == 11
    people = [f"{i:04}" for i in range(60)]
    assert len(LabelColumns("classification", "class").encode({"train": people}, "x", is_table=False)[0]) == 60


def test_decimal_comma_is_explained():
    message = LabelColumns("regression", "y").find_error({"y": "3,5"})

    assert message == "the label must be a finite number, not '3,5' (use a decimal point)"
