"""State of a split in a checkpoint: a corrupt one is rejected in one line."""

import re

import pytest

from firstlight.data.sample_splitter import HELD_OUT, Samples, SampleSplitter
from firstlight.data.split_state import parse_state
from firstlight.run.errors import CheckpointError


def damage(state, path, value):
    """Replace or remove an entry of a state."""
    *parents, last = path
    for key in parents:
        state = state[key]
    if value is KeyError:
        del state[last]
    else:
        state[last] = value


@pytest.mark.parametrize("value", [KeyError, None, 7, -1, "x", [], {}, (1, 2), {"a": [2**64, 0]}, 2.0**70])
@pytest.mark.parametrize(
    "path",
    [
        ("hash",),
        ("rule",),
        ("rule", "boundaries"),
        ("rule", "boundaries", "a"),
        ("rule", "val_fraction"),
        ("names",),
        ("records",),
        ("records", "train"),
        ("records", "val", "hashes"),
        ("records", "val", "stamps"),
        ("records", "test", "source"),
    ],
)
def test_corrupt_state_is_rejected_in_one_line_or_harmless(path, value):
    samples = {"train": Samples([str(index) for index in range(100)], [*"ab"] * 50, [1] * 100)}
    splitter = SampleSplitter()
    splitter.split(samples, HELD_OUT, ["a", "b"])
    state = splitter.state.to_plain()
    damage(state, path, value)
    message = ""
    try:
        later = SampleSplitter()
        later.restored = parse_state(state)
        later.split(samples, HELD_OUT, ["a", "b"])
    except CheckpointError as error:
        message = str(error)

    assert re.fullmatch(r"(The split in the checkpoint is corrupt \(.+\)\. Use another checkpoint\.)?", message)
