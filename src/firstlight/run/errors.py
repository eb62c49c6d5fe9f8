"""Errors that a user can fix, and the wording of their messages: the problem, the value, the fix, in one line."""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Self

from firstlight.run.packages import get_install_hint

# A message may quote a value, such as a label, that is a complete text.
MAX_MESSAGE_CHARACTERS = 2_000
# The error of a library within a message.
MAX_ERROR_CHARACTERS = 200

# Verbs with which the fix of a message begins.
FIX_VERBS = (
    "Add|Call|Change|Check|Choose|Close|Compare|Copy|Create|Decrease|Define|Delete|Disable|Export|Fix|Free|Halve|Increase"
    "|Install|Leave|List|Make|Move|Open|Pass|Put|Raise|Read|Reduce|Remove|Rename|Repair|Replace|Report|Restore|Resume|Return"
    "|Review|Run|Save|Select|Set|Start|Stop|Submit|Train|Try|Unset|Update|Use|Wait|Write"
)
FIX = re.compile(rf"(?:(?<=[.?!)] )|(?<=: ))(?:(?:{FIX_VERBS}|Did you mean|Available:|To \w+)\b|If [^,.]+, ).*")
# The key and the value at the beginning of a message, such as "trainer=mps requires ...".
SETTING = re.compile(r"([a-z_][\w.]*)=(\S*?)(?:[.,:;](?= )| )")


class Message(str):
    """A message in one line, with its parts for programs.

    Attributes:
        key: The config key or argument that caused the error, or None.
        value: Its value, or None.
        fix: The part of the message that says what to do, or None.
    """

    key: str | None
    value: object
    fix: str | None

    def __new__(cls, text: str, key: str | None = None, value: object = None, fix: str | None = None) -> Self:
        """Return a message with these parts."""
        message = super().__new__(cls, text)
        message.key, message.value, message.fix = key, value, fix or None
        return message

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return a message whose parts are read from its text: `key=value` at its beginning, the fix at its end."""
        setting, fix = SETTING.match(text), FIX.search(text)
        key, value = setting.groups() if setting else (None, None)
        return cls(text, key, value, fix.group() if fix else None)


class UserError(ValueError):
    """An error whose message is enough to fix it: commands print that line instead of a traceback.

    Attributes:
        exit_code: Exit code of the command: 2 if its arguments, or the files that they name, are invalid; otherwise 1.
    """

    exit_code = 1

    # Not `message`: torch passes an argument of that name to such an error when a DataLoader worker has raised it.
    def get_message(self) -> Message:
        """Return the message in one line, with its parts."""
        text, parts = " ".join(str(self).split()), self.args[0] if self.args else ""
        return Message(text, parts.key, parts.value, parts.fix) if isinstance(parts, Message) else Message.parse(text)


class ConfigError(UserError):
    """The config or the command line is invalid."""

    exit_code = 2


class DataError(UserError):
    """A dataset or an input file cannot be read or has invalid contents."""

    exit_code = 2


class CheckpointError(UserError):
    """A checkpoint or a run directory is missing, corrupt or does not fit."""

    exit_code = 2


class RunInUseError(CheckpointError):
    """Another process uses a run directory."""

    exit_code = 1


class HardwareError(UserError):
    """The machine lacks what the config asks for."""


class MissingPackageError(UserError):
    """A package that the config needs is not installed."""


class UploadError(UserError):
    """A file cannot be uploaded to a server."""


class TrainingError(UserError):
    """Training cannot continue, for example because the loss is not finite."""


def format_value(value: object) -> str:
    """Return a value as it is written in YAML, with strings in quotes."""
    names: dict[object, str] = {None: "null", True: "true", False: "false"}
    return names[value] if value is None or isinstance(value, bool) else repr(value)


def shorten(text: str, max_characters: int) -> str:
    """Return a text with its middle replaced by " ... " if it is longer than a number of characters, at least 20."""
    if len(text) <= max_characters:
        return text
    end = max_characters // 4
    return f"{text[: max_characters - end - 5]} ... {text[-end:]}"


def get_first_line(error: BaseException) -> str:
    """Return the first line of an error's message, and the next one after a colon; the class if there is no message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1]).rstrip(".:")


def describe_error(error: BaseException) -> str:
    """Return the class and the first line of the message of an error, such as "ValueError: too many values"."""
    name, line = type(error).__name__, get_first_line(error)
    return name if line == name else shorten(f"{name}: {line}", MAX_ERROR_CHARACTERS)


def invalid_value(key: str, value: object, expected: str, fix: str = "") -> Message:
    """Return the message for a value of the wrong type or outside its range.

    Args:
        key: Config key or argument, such as "trainer.max_epochs".
        value: The received value.
        expected: What is valid, such as "an integer" or "a value between 1 and 1,000".
        fix: An imperative sentence with a period.
    """
    problem = f"Invalid value for {key}: expected {expected}, got {format_value(value)}."
    return Message(" ".join(filter(None, [problem, fix])), key, value, fix)


def unknown_name(kind: str, name: str, known: Iterable[str], prefix: str = "") -> Message:
    """Return the message for a name that does not exist, with the nearest existing name.

    Args:
        kind: What is named, such as "setting" or "split".
        name: The received name.
        known: The existing names.
        prefix: Leading part of every name, such as "data.".
    """
    names = list(dict.fromkeys(known))
    nearest = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"Did you mean '{prefix}{nearest[0]}'?" if nearest else f"Available: {', '.join(names)}."
    key, value = (f"{prefix}{name}", None) if kind == "setting" else (kind, name)
    return Message(f"Unknown {kind} '{prefix}{name}'. {hint}", key, value, hint)


def missing_package(feature: str, package: str, extra: str = "") -> Message:
    """Return the message for a package that is not installed.

    Args:
        feature: What requires the package, such as "model=bert".
        package: Name of the package or of its module.
        extra: The extra that includes the package; if omitted, it is looked up in the lock files.
    """
    fix = get_install_hint(package, extra)
    text = f"{feature} requires the '{package}' package, which is not installed. {fix}"
    return Message(text, *split_setting(feature), fix)


def incompatible(first: str, expected: str, second: str, provided: str, fix: str) -> Message:
    """Return the message for two parts that do not fit: `first` expects one thing, `second` provides another."""
    text = f"{first} expects {expected}, but {second} provides {provided}. {fix}"
    return Message(text, *split_setting(first), fix)


def split_setting(text: str) -> tuple[str | None, str | None]:
    """Return the key and the value of a text such as "model=bert", or None twice for any other text."""
    key, separator, value = text.partition("=")
    return (key, value) if separator else (None, None)


def not_found(what: str, fix: str, key: str | None = None, value: object = None) -> Message:
    """Return the message for a file, directory or run that does not exist, and that a key names."""
    return Message(f"{what} does not exist. {fix}", key, value, fix)


def corrupt_file(what: str, detail: str, fix: str) -> Message:
    """Return the message for a file that exists but is not valid."""
    return Message(f"{what} is corrupt ({detail}). {fix}", fix=fix)


def iter_error_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then the error that caused it or during whose handling it was raised, and so on."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        yield link
        seen.append(link)
        link = link.__cause__ or link.__context__
