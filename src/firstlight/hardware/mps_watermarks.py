"""How much memory MPS lends: two ratios of what macOS recommends, which torch reads when it starts."""

from collections.abc import MutableMapping

HIGH, LOW = "PYTORCH_MPS_HIGH_WATERMARK_RATIO", "PYTORCH_MPS_LOW_WATERMARK_RATIO"


def set_watermarks(environment: MutableMapping[str, str]) -> None:
    """Let MPS lend what macOS recommends, unless the user chose otherwise.

    Torch's own high ratio of 1.7 is more than the Mac has: a batch that is too big swaps for hours instead of raising.

    Raises:
        ValueError: the user's ratios are ones with which MPS does not start.
    """
    given = {name: _parse_ratio(name, environment[name]) for name in (HIGH, LOW) if name in environment}
    high = given.get(HIGH, max(1.0, given.get(LOW, 1.0)))
    low = given.get(LOW, 0.9 * high)
    if high and low > high:
        raise ValueError(f"{LOW} is at most {HIGH}, but they are {low:g} and {high:g}: unset {LOW}")
    environment.update({HIGH: f"{high:g}", LOW: f"{low:g}"})


def _parse_ratio(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 2:
        raise ValueError(f"{name} is a number from 0 (no limit) to 2, but it is {text!r}: unset {name}")
    return value
