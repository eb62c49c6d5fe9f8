"""Select and sort runs: the arguments `filter=` and `sort=`."""

import operator
import re
from collections.abc import Callable
from typing import Any

from firstlight.run.errors import ConfigError, invalid_value
from firstlight.run.metrics import find_direction
from firstlight.runs.columns import NUMBER_KINDS, find_column, format_cell, get_value, list_default_columns, to_number

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
CONDITION = re.compile(r"([^<>=!]+)(<=|>=|!=|=|<|>)(.*)")


def filter_runs(runs: list[dict[str, Any]], text: Any) -> list[dict[str, Any]]:
    """Return the runs that have all words in their rows, and meet all conditions such as "test/accuracy>0.9".

    Args:
        runs: The runs.
        text: Words and conditions, separated by spaces.

    Raises:
        ConfigError: If the filter is not a text, or a condition names an unknown column.
    """
    if text is None or isinstance(text, bool | list | dict):
        raise ConfigError(invalid_value("filter", text, "words or conditions", 'Use e.g. filter="failed seed=0".'))
    columns = list_default_columns(runs)
    found = runs
    for term in str(text).split():
        if match := CONDITION.fullmatch(term):
            column = find_column(match[1], runs)
            found = [run for run in found if meets_condition(run, column, match[2], match[3])]
        else:
            word = term.lower()
            found = [run for run in found if any(word in format_cell(run, column).lower() for column in columns)]
    return found


def meets_condition(run: dict[str, Any], column: dict[str, str], sign: str, text: str) -> bool:
    """Return True if the value of a run compares so with a text: as numbers if both are, else as text."""
    value = get_value(run, column)
    if value is None:
        return (sign == "=") == (text == "") if sign in ("=", "!=") else False
    numbers = to_number(value), to_number(text)
    if None not in numbers:
        return OPERATORS[sign](*numbers)
    shown = format_cell(run, column) if isinstance(value, bool) else str(value)
    return OPERATORS[sign](shown.lower(), text.lower())


def find_sort_column(sort: Any, runs: list[dict[str, Any]]) -> dict[str, str]:
    """Return the column that `sort=` names.

    Raises:
        ConfigError: If there is no such column.
    """
    if not isinstance(sort, str) or not sort.lstrip("+-"):
        raise ConfigError(invalid_value("sort", sort, "a column", "Use e.g. sort=test/accuracy."))
    return find_column(sort[1:] if sort[0] in "+-" else sort, runs)


def sort_runs(runs: list[dict[str, Any]], column: dict[str, str], sort: str) -> list[dict[str, Any]]:
    """Return runs sorted by a column; missing values come last.

    Args:
        runs: The runs.
        column: The column.
        sort: "+name" sorts in ascending, "-name" in descending order; a name without a sign puts the best metric, the
            newest run and the first text first.
    """
    is_descending = sort[0] == "-" or (sort[0] != "+" and is_descending_by_default(column))
    keys = {id(run): make_sort_key(get_value(run, column), column) for run in runs}
    present = [run for run in runs if keys[id(run)] is not None]
    missing = [run for run in runs if keys[id(run)] is None]
    return sorted(present, key=lambda run: keys[id(run)], reverse=is_descending) + missing


def is_descending_by_default(column: dict[str, str]) -> bool:
    """Return True if the largest value of a column is the one to look for first."""
    return column["kind"] in (*NUMBER_KINDS, "time") and find_direction(column["label"]) != "min"


def make_sort_key(value: Any, column: dict[str, str]) -> Any:
    """Return the sort key of a value: numbers by size, text in natural order ("a9" before "a10"); None if missing."""
    number = to_number(value)
    if number is not None:
        return (0, number, [])
    if value is None or column["kind"] in NUMBER_KINDS:  # a metric that is not finite
        return None
    # Python converts no text with more than 4,300 digits to an integer.
    parts = re.split(r"(\d{1,300})", str(value).lower())
    return (1, 0.0, [(part.isdigit(), int(part) if part.isdecimal() else 0, part) for part in parts])
