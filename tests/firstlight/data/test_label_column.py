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
