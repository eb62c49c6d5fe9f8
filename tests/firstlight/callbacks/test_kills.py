"""Runs that are killed at random moments and resumed match uninterrupted runs."""

import pytest

from support.kill_trials import run_trials


@pytest.mark.slow
def test_killed_runs_match_uninterrupted_runs():
    """Run six of the 100 trials; `tests/firstlight/support/kill_trials.py 100` runs all of them."""
    assert run_trials(6) == 6
