"""The column of a table with the groups of samples, such as patients: a group is never in two splits."""

from collections.abc import Mapping, Sequence
from typing import Any

from firstlight.data.label_column import is_missing, normalize_label
from firstlight.data.tabular import INVALID_TEXT, format_columns, is_clean_utf8
from firstlight.run.errors import ConfigError, invalid_value


class GroupColumn:
    """The column with the group of each row, which may be missing.

    Args:
        name: Name of the column. If None, there are no groups.
        others: Columns with the label and the text, which cannot be the group.

    Raises:
        ConfigError: If the column is one of the others, or its name is empty.
    """

    def __init__(self, name: str | None, others: Sequence[str]) -> None:
        if name is not None and (name in others or not name):
            fix = "Use e.g. data.group_column=patient, or data.group_column=null."
            raise ConfigError(invalid_value("data.group_column", name, f"a column other than {', '.join(others)}", fix))
        self.name = name
        # To be read in addition to other columns.
        self.names = [name] if name else []

    def find_error(self, row: Mapping[str, Any]) -> str | None:
        """Return why a row has no valid group, or None if it has one, or if there are no groups."""
        if self.name is None:
            return None
        if self.name not in row:
            return f"no column {self.name!r}, only {format_columns(row)}"
        value = row[self.name]
        if is_missing(value):
            return f"empty column {self.name!r}"
        if isinstance(value, list | dict | bytes):
            return "the group must be a string or a number"
        return None if is_clean_utf8(str(value)) else INVALID_TEXT

    def parse(self, row: Mapping[str, Any]) -> str:
        """Return the group of a row, in one spelling; empty without groups."""
        return normalize_label(row[self.name]) if self.name is not None else ""
