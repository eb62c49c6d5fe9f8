"""Train, evaluate, predict and resume each tiny model of the engine's tests."""

import pytest

from support.every_command import *  # noqa: F403
from support.every_command import train_two_epochs
from support.options import list_options


@pytest.fixture(scope="module", params=list_options("model"))
def trained_run(request, tmp_path_factory):
    """Return the run directory of a finished run, its metrics and the name of the model."""
    return train_two_epochs(request.param, tmp_path_factory.mktemp(request.param) / "run")
