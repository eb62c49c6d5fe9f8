"""Trainings that are killed at random moments end as undisturbed ones."""

import pytest

from support.kill_trials import run_trials


@pytest.mark.slow
def test_killed_at_random_moments():
    """Six of the 100 trials; `tests/firstlight/support/kill_trials.py 100` runs them all."""
    assert run_trials(6).count("ended as undisturbed") == 6
