"""Labels in the columns of a table: a class, several labels or a number per row."""

import functools
import json
import math
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from firstlight.data.labels import MAX_LISTED_CLASSES, validate_task
from firstlight.data.tabular import INVALID_TEXT, format_columns, is_clean_utf8
from firstlight.run.errors import ConfigError, DataError, invalid_value

# The label of a row before all rows are known: the name of a class, the names of its labels, or a number.
RawLabel = str | list[str] | float
# Labels of which upper and lower case mean the same.
BOOLEANS = ("true", "false")
# "1.0" is 1, but "1.10" may be the name of a version.
WHOLE_NUMBER = re.compile(r"(-?\d+)\.0+")
NUMBER = re.compile(r"[+-]?\d*\.?\d+(e[+-]?\d+)?", re.IGNORECASE)
# More different values than this in half of the rows are not classes.
MIN_TARGET_VALUES = 10
# Ratings have fractions, but not more values than this.
MAX_FRACTIONS = 50
FLAGS = {"0": False, "1": True, "false": False, "true": True, "0.0": False, "1.0": True}


class LabelColumns:
    """The columns of a table with the label, and how a label is read.

    Args:
        task: "classification", "multilabel" or "regression".
        label_column: Column with the label; for "multilabel" also a list of columns with 0 or 1, one per label.
        separator: Separates several labels in a cell that is not a JSON list.

    Raises:
        ConfigError: If the task is unknown, or several columns are given for another task than "multilabel".
    """

    def __init__(self, task: str, label_column: str | list[str], separator: str = ";") -> None:
        validate_task(task)
        if isinstance(label_column, list) and task != "multilabel":
            fix = f"Use one column, or data.task=multilabel instead of data.task={task}."
            raise ConfigError(invalid_value("data.label_column", label_column, "one column", fix))
        if not label_column or not separator:
            key, value = ("data.label_column", label_column) if not label_column else ("data.label_separator", "")
            raise ConfigError(invalid_value(key, value, "a string that is not empty"))
        self.task = task
        self.separator = separator
        self.has_flags = isinstance(label_column, list)
        self.names: list[str] = label_column if isinstance(label_column, list) else [label_column]

    def find_error(self, row: Mapping[str, Any]) -> str | None:
        """Return why a row has no valid label, or None if it has one."""
        for column in self.names:
            if column not in row:
                return f"no column {column!r}, only {format_columns(row)}"
            if is_missing(row[column]) and (self.task != "multilabel" or self.has_flags):
                return f"empty column {column!r}"
            if not is_clean_utf8(str(row[column])):
                return INVALID_TEXT
        try:
            self.parse(row)
        except ValueError as error:
            return str(error)
        return None

    def parse(self, row: Mapping[str, Any]) -> RawLabel:
        """Return the label of a row.

        Raises:
            ValueError: If the row has no valid label; the message says why.
        """
        value = row[self.names[0]]
        if self.has_flags:
            return [name for name in self.names if parse_flag(name, row[name])]
        if self.task == "multilabel":
            return split_cell(value, self.separator)
        if isinstance(value, list | dict | bytes):
            raise ValueError("the label must be a string or a number")
        return parse_number(value) if self.task == "regression" else normalize_label(value)

    def encode(
        self,
        labels: Mapping[str, Sequence[Any]],
        source: str,
        known_names: Sequence[str] = (),
        is_table: bool = True,
    ) -> tuple[list[str], dict[str, Any]]:
        """Return the names of classes, labels or the target, and the labels of each split as numbers.

        Args:
            labels: Result of `parse` for each row, by split.
            source: Where the labels come from, for messages.
            known_names: Classes or labels of a trained model. If the data has no others, these are returned.
            is_table: Whether they come from a column of a table, whose values may be no classes.

        Raises:
            DataError: If there are fewer than two classes, no label at all, or the values cannot be classes.
        """
        if self.task == "regression":
            return self.names, {split: np.array(values, dtype=np.float64) for split, values in labels.items()}
        is_class = self.task == "classification"
        rows = chain.from_iterable(labels.values())
        found = sorted(set(rows if is_class else chain.from_iterable(rows)), key=natural_sort_key)
        names = self.names if self.has_flags else found
        if set(names) <= set(known_names):
            names = list(known_names)
        if is_class and len(names) < 2:
            raise DataError(
                f"A classifier requires at least two classes, but column {self.names[0]!r} of {source} contains "
                f"{names}. Set data.label_column to the column of the labels."
            )
        if is_class and is_table:
            validate_class_labels([label for values in labels.values() for label in values], self.names[0], source)
        if not names:
            raise DataError(
                f"Column {self.names[0]!r} of {source} contains no labels. Set data.label_column to their column."
            )
        index = {name: position for position, name in enumerate(names)}
        encode: Any = encode_classes if is_class else encode_label_sets
        return names, {split: encode(values, index) for split, values in labels.items()}


def encode_classes(names: Sequence[str], index: Mapping[str, int]) -> np.ndarray:
    """Return the index of each name, shape (names,) int64."""
    return np.fromiter(map(index.__getitem__, names), dtype=np.int64, count=len(names))


def encode_label_sets(rows: Sequence[list[str]], index: Mapping[str, int]) -> np.ndarray:
    """Return 1 for each label of a row and 0 otherwise, shape (rows, labels) float32."""
    encoded = np.zeros((len(rows), len(index)), dtype=np.float32)
    for position, row in enumerate(rows):
        encoded[position, [index[name] for name in row]] = 1
    return encoded


def split_cell(value: Any, separator: str) -> list[str]:
    """Return the labels in a cell: a list, a JSON list, or a text with a separator. An empty cell has none.

    Raises:
        ValueError: If the cell starts like a JSON list and is not one.
    """
    if is_missing(value):
        return []
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"invalid JSON list of labels: {error}") from error
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, list | dict) for item in value)):
        raise ValueError("the labels must be a list of strings or numbers")
    items = value if isinstance(value, list) else str(value).split(separator)
    return list(dict.fromkeys(text for item in items if (text := normalize_label(item))))


def parse_flag(column: str, value: Any) -> bool:
    """Return True for 1 and False for 0.

    Raises:
        ValueError: If the value is neither.
    """
    flag = FLAGS.get(str(value).strip().lower())
    if flag is None:
        raise ValueError(f"column {column!r} must be 0 or 1, not {str(value)[:40]!r}")
    return flag


def parse_number(value: Any) -> float:
    """Return a finite number.

    Raises:
        ValueError: If the value is not one.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        hint = " (use a decimal point)" if re.fullmatch(r"\s*-?\d+,\d+\s*", str(value)) else ""
        raise ValueError(f"the label must be a finite number, not {str(value)[:40]!r}{hint}")
    return number


@functools.lru_cache(maxsize=10_000, typed=True)
def normalize_label(value: Any) -> str:
    """Return the one spelling of a label, so that "ham " or 1.0 is not another class than "ham" or 1.

    Blanks at the ends and repeated ones are removed, accents are composed, a fraction of zeros is dropped, and booleans
    are lower-case. Upper and lower case of other labels differ.
    """
    text = " ".join(unicodedata.normalize("NFC", str(value)).split())
    if text.lower() in BOOLEANS:
        return text.lower()
    return match.group(1) if (match := WHOLE_NUMBER.fullmatch(text)) else text


def validate_class_labels(labels: Sequence[str], column: str, source: str) -> None:
    """Check that the values of a column are classes, and print the ones that differ in case only.

    Args:
        labels: Label of each row.
        column: The column.
        source: The file.

    Raises:
        DataError: If most rows have a value of their own, or the values are numbers with fractions.
    """
    names = set(labels)
    if len(names) > max(MIN_TARGET_VALUES, len(labels) / 2):
        is_number = all(NUMBER.fullmatch(name) for name in names)
        fix = "For a numeric target, use a regression model, or s" if is_number else "S"
        raise DataError(
            f"Column {column!r} of {source} has {len(names):,} different {'numbers' if is_number else 'values'} in "
            f"{len(labels):,} rows. {fix}et data.label_column to the column of the classes."
        )
    if len(names) > MAX_FRACTIONS and all(NUMBER.fullmatch(name) for name in names) and any("." in x for x in names):
        raise DataError(
            f"Column {column!r} of {source} has {len(names):,} different numbers with fractions. For a numeric target, "
            "use a regression model, or set data.label_column to the column of the classes."
        )
    spellings: dict[str, list[str]] = {}
    for name in sorted(names):
        spellings.setdefault(name.casefold(), []).append(name)
    if alike := [" and ".join(map(repr, group)) for group in spellings.values() if len(group) > 1]:
        listed = ", ".join(alike[:MAX_LISTED_CLASSES])
        print(f"data: classes of {source} that differ in case only: {listed}.", file=sys.stderr, flush=True)


def is_missing(value: Any) -> bool:
    """Return True if a value is None, blank, or NaN, which some libraries write for a missing value."""
    return value is None or value != value or not str(value).strip()


def natural_sort_key(name: str) -> tuple[bool, float, str]:
    """Sort "2" before "10", and numbers before names."""
    return (False, float(name), name) if name.isdecimal() else (True, 0.0, name)
