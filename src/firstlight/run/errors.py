"""Errors that a user can fix, and the wording of their messages: the problem, the value, the fix, in one line."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from firstlight.run.packages import get_install_hint

# A message may quote a value, such as a label, that is a complete text.
MAX_MESSAGE_CHARACTERS = 2_000


class UserError(ValueError):
    """An error whose message is enough to fix it: commands print that line instead of a traceback."""


class ConfigError(UserError):
    """The config or the command line is invalid."""


class DataError(UserError):
    """A dataset or an input file cannot be read or has invalid contents."""


class CheckpointError(UserError):
    """A checkpoint or a run directory is missing, corrupt or does not fit."""


class HardwareError(UserError):
    """The machine lacks what the config asks for."""


class MissingPackageError(UserError):
    """A package that the config needs is not installed."""


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


def invalid_value(key: str, value: object, expected: str, fix: str = "") -> str:
    """Return the message for a value of the wrong type or outside its range.

    Args:
        key: Config key or argument, such as "trainer.max_epochs".
        value: The received value.
        expected: What is valid, such as "an integer" or "a value between 1 and 1,000".
        fix: An imperative sentence with a period.
    """
    return " ".join(filter(None, [f"Invalid value for {key}: expected {expected}, got {format_value(value)}.", fix]))


def unknown_name(kind: str, name: str, known: Iterable[str], prefix: str = "") -> str:
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
    return f"Unknown {kind} '{prefix}{name}'. {hint}"


def missing_package(feature: str, package: str, extra: str = "") -> str:
    """Return the message for a package that is not installed.

    Args:
        feature: What requires the package, such as "model=bert".
        package: Name of the package or of its module.
        extra: The extra that includes the package; if omitted, it is looked up in the lock files.
    """
    return f"{feature} requires the '{package}' package, which is not installed. {get_install_hint(package, extra)}"


def incompatible(first: str, expected: str, second: str, provided: str, fix: str) -> str:
    """Return the message for two parts that do not fit: `first` expects one thing, `second` provides another."""
    return f"{first} expects {expected}, but {second} provides {provided}. {fix}"


def not_found(what: str, fix: str) -> str:
    """Return the message for a file, directory or run that does not exist."""
    return f"{what} does not exist. {fix}"


def corrupt_file(what: str, detail: str, fix: str) -> str:
    """Return the message for a file that exists but is not valid."""
    return f"{what} is corrupt ({detail}). {fix}"


def iter_error_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then the error that caused it or during whose handling it was raised, and so on."""
    seen: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in seen:
        yield link
        seen.append(link)
        link = link.__cause__ or link.__context__
