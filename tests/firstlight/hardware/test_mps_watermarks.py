"""MPS memory limits: ratios of the user are kept, and missing ratios are filled in consistently."""

import pytest

from firstlight.hardware.mps_watermarks import HIGH, LOW, set_watermarks
from firstlight.run.errors import ConfigError


@pytest.mark.parametrize(
    ("high", "low", "expected"),
    [
        (None, None, ("1", "0.9")),
        ("0.5", None, ("0.5", "0.45")),
        ("1.7", "1.4", ("1.7", "1.4")),
        ("0.0", None, ("0", "0")),
        (None, "0.5", ("1", "0.5")),
        (None, "1.2", ("1.2", "1.2")),
    ],
)
def test_missing_ratios_are_filled_in(high, low, expected):
    environment = {name: value for name, value in ((HIGH, high), (LOW, low)) if value is not None}
    set_watermarks(environment)

    assert expected == (environment[HIGH], environment[LOW])


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({HIGH: "abc"}, f"Invalid value for {HIGH}: expected a number from 0 .* to 2, got 'abc'. Unset {HIGH}."),
        ({LOW: "3"}, f"Invalid value for {LOW}: expected a number from 0 .* to 2, got '3'. Unset {LOW}."),
        ({HIGH: "0.5", LOW: "0.9"}, rf"{LOW} \(0.9\) must not exceed {HIGH} \(0.5\). Unset {LOW}."),
    ],
)
def test_invalid_ratios_raise(environment, message):
    with pytest.raises(ConfigError, match=message):
        set_watermarks(environment)
