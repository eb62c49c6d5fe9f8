"""The search space of a sweep: the values of each override, checked before the search starts."""

import itertools
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Transformer

from firstlight.run.errors import ConfigError, invalid_value

# Limits how many corners of a search space are validated before the search starts.
MAX_CORNERS = 64


@dataclass(frozen=True)
class NumberRange:
    """The numbers between two bounds, which are both included.

    Attributes:
        low: The lower bound; an int if all numbers are integers.
        high: The upper bound.
        step: Distance between neighboring numbers. If None, every float in between.
        is_log: If True, numbers are sampled uniformly on a log scale.
    """

    low: int | float
    high: int | float
    step: int | float | None = None
    is_log: bool = False

    def get_bounds(self) -> list[int | float]:
        """Return the bounds, once if they are equal."""
        return sorted({self.low, self.high})


# By key: the numbers or the choices of an override; a fixed value is a single choice.
SearchSpace = dict[str, NumberRange | list[str]]


def parse_search_space(overrides: list[Override]) -> SearchSpace:
    """Return the values of each override. The last override of a key applies.

    Raises:
        ConfigError: If the values of an override cannot be sampled.
    """
    return {override.get_key_element(): parse_values(override) for override in overrides}


def validate_list(override: Override) -> None:
    """Check that a list of values does not contain an interval.

    Raises:
        ConfigError: If it does.
    """
    value = override.value()
    if isinstance(value, ChoiceSweep) and any(isinstance(item, IntervalSweep) for item in value.list):
        raise invalid_search_range(override, "either one interval or a list of values", "interval(1e-4,1e-2)")


def get_corners(space: SearchSpace) -> list[list[str]]:
    """Return up to `MAX_CORNERS` combinations of the bounds and choices of a search space, as overrides.

    The first ones contain each bound and choice at least once.
    """
    overrides = [
        [f"{key}={value}" for value in (values.get_bounds() if isinstance(values, NumberRange) else values)]
        for key, values in space.items()
    ]
    num_choices = max(map(len, overrides), default=0)
    diagonals = (tuple(values[index % len(values)] for values in overrides) for index in range(num_choices))
    corners = dict.fromkeys(itertools.islice(diagonals, MAX_CORNERS))
    for corner in itertools.product(*overrides):
        if len(corners) >= MAX_CORNERS:
            break
        corners[corner] = None
    return [list(corner) for corner in corners]


def parse_values(override: Override) -> NumberRange | list[str]:
    """Return the numbers or the choices of an override, of which a search samples one per trial.

    Raises:
        ConfigError: If the values of the override cannot be sampled.
    """
    value = override.value()
    if isinstance(value, IntervalSweep):
        return parse_interval(override, value)
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    assert isinstance(value, ChoiceSweep | RangeSweep)
    for tag in sorted(value.tags):
        fix = "Use tag(log,interval(<low>,<high>)), or remove the tag."
        raise ConfigError(f"Tag '{tag}' of {override.input_line} has no effect. {fix}")
    if isinstance(value, RangeSweep):
        return parse_range(override, value)
    # In the order of the command line, also after shuffle(): all trials of a study must have the same choices.
    return list(dict.fromkeys(Transformer.str(item) for item in value.list))


def parse_interval(override: Override, interval: IntervalSweep) -> NumberRange:
    """Return the numbers of interval(low,high).

    Raises:
        ConfigError: If it is infinite, contains less than two numbers, is not positive on a log scale, or has an
            unknown tag.
    """
    low, high, is_log = interval.start, interval.end, "log" in interval.tags
    assert low is not None
    assert high is not None
    for tag in sorted(interval.tags - {"log"}):
        raise ConfigError(f"Unknown tag '{tag}' of {override.input_line}. Use tag(log,...), or remove the tag.")
    is_int = isinstance(low, int) and isinstance(high, int)
    if not low < high:
        example = "int(interval(1,8))" if is_int else "interval(1e-4,1e-2)"
        raise invalid_search_range(override, f"{'integers with ' if is_int else ''}low < high", example)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise invalid_search_range(override, "finite bounds", "interval(1e-4,1e-2)")
    if is_log and low <= 0:
        raise invalid_search_range(override, "low > 0 on a log scale", "tag(log,interval(1e-4,1e-2))")
    return NumberRange(low, high, 1 if is_int else None, is_log)


def parse_range(override: Override, sweep: RangeSweep) -> NumberRange:
    """Return the numbers of range(start,stop,step), without `stop`, as in a grid.

    Raises:
        ConfigError: If it is empty or infinite, or int(...) contains numbers that are not integers.
    """
    bounds: list[Any] = [sweep.start, sweep.stop, sweep.step]
    # Hydra 1.3 casts the bounds of float(range(...)) itself. Hydra 1.4 casts each number that it lists.
    for cast in getattr(sweep, "transformers", ()):
        numbers = [float(bound) if isinstance(bound, Decimal) else bound for bound in bounds]
        bounds = [cast(number) for number in numbers]
        if bounds != numbers:
            raise invalid_search_range(override, "a range of integers", "range(8,33,8)")
    # Decimal numbers, so that range(0,0.3,0.1) has the three values 0, 0.1 and 0.2.
    start, stop, step = (Decimal(str(bound)) for bound in bounds)
    is_finite = all(bound.is_finite() for bound in (start, stop, step))
    num_values = math.ceil((stop - start) / step) if is_finite and step else 0
    if num_values < 1:
        raise invalid_search_range(override, "a range with at least one value", "range(8,33,8)")
    number = int if all(isinstance(bound, int) for bound in bounds) else float
    low, high = sorted(number(bound) for bound in (start, start + (num_values - 1) * step))
    return NumberRange(low, high, number(abs(step)))


def invalid_search_range(override: Override, expected: str, example: str) -> ConfigError:
    """Return the error for a range that cannot be sampled."""
    key, _, value = str(override.input_line).partition("=")
    return ConfigError(invalid_value(key, value, expected, f"Use e.g. {key}={example}."))
