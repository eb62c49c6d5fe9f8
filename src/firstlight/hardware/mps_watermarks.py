"""The MPS memory limits: two ratios of macOS's recommended maximum, which torch reads when it is imported."""

from collections.abc import MutableMapping

from firstlight.run.errors import ConfigError, invalid_value

HIGH, LOW = "PYTORCH_MPS_HIGH_WATERMARK_RATIO", "PYTORCH_MPS_LOW_WATERMARK_RATIO"


def set_watermarks(environment: MutableMapping[str, str]) -> None:
    """Limit MPS to the memory that macOS recommends, unless the user has set other ratios.

    torch's default high ratio of 1.7 exceeds the memory of the Mac, so an oversized batch swaps for hours instead of
    raising an error.

    Args:
        environment: Environment variables, modified in place.

    Raises:
        ConfigError: If MPS would not start with the user's ratios.
    """
    given = {name: _parse_ratio(name, environment[name]) for name in (HIGH, LOW) if name in environment}
    high = given.get(HIGH, max(1.0, given.get(LOW, 1.0)))
    low = given.get(LOW, 0.9 * high)
    if high and low > high:
        raise ConfigError(f"{LOW} ({low:g}) must not exceed {HIGH} ({high:g}). Unset {LOW}.")
    environment.update({HIGH: f"{high:g}", LOW: f"{low:g}"})


def _parse_ratio(name: str, text: str) -> float:
    """Return a ratio between 0 and 2.

    Raises:
        ConfigError: If the text is not such a number.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 2:
        raise ConfigError(invalid_value(name, text, "a number from 0 (no limit) to 2", f"Unset {name}."))
    return value
