"""The metrics that a search optimizes, and their directions."""

from firstlight.run.errors import ConfigError, invalid_value
from firstlight.run.metrics import find_direction

DIRECTIONS = "maximize or minimize"


def as_list(value: str | list[str]) -> list[str]:
    """Return one name or several names as a list."""
    return [value] if isinstance(value, str) else [str(item) for item in value]


def resolve_directions(metrics: list[str], direction: str | list[str] | None) -> list[str]:
    """Return "maximize" or "minimize" for each metric. If `direction` is None, it follows from the name of the metric.

    Raises:
        ConfigError: If there is not one direction per metric, or a direction is unknown.
    """
    if direction is None:
        found = [find_direction(name) for name in metrics]
        if None in found:
            name = metrics[found.index(None)]
            raise ConfigError(
                f"The direction of sweeper.metric={name} is unknown. Set sweeper.direction to {DIRECTIONS}."
            )
        return [f"{mode}imize" for mode in found]
    directions = as_list(direction)
    if len(directions) != len(metrics) or set(directions) - {"maximize", "minimize"}:
        expected = f"{DIRECTIONS} for each metric ({', '.join(metrics)})"
        examples = ",".join(f"{find_direction(name) or 'max'}imize" for name in metrics)
        fix = f"Use e.g. sweeper.direction=[{examples}]."
        raise ConfigError(invalid_value("sweeper.direction", direction, expected, fix))
    return directions
