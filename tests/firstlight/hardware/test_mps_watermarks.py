"""What a user set stays; what is missing fits to it."""

import pytest

from firstlight.hardware.mps_watermarks import HIGH, LOW, set_watermarks


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
def test_the_ratios_fit_together(high, low, expected):
    environment = {name: value for name, value in ((HIGH, high), (LOW, low)) if value is not None}
    set_watermarks(environment)

    assert expected == (environment[HIGH], environment[LOW])


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({HIGH: "abc"}, f"{HIGH} is a number from 0 .* to 2, but it is 'abc': unset {HIGH}"),
        ({LOW: "3"}, f"{LOW} is a number from 0 .* to 2, but it is '3': unset {LOW}"),
        ({HIGH: "0.5", LOW: "0.9"}, f"{LOW} is at most {HIGH}, but they are 0.9 and 0.5: unset {LOW}"),
    ],
)
def test_ratios_with_which_mps_does_not_start_are_refused(environment, sentence):
    with pytest.raises(ValueError, match=sentence):
        set_watermarks(environment)
