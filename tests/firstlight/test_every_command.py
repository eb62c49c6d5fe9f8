"""The engine's tiny models go one way through: train, evaluate, predict, resume."""

import pytest

from support.every_command import *  # noqa: F403
from support.every_command import run_all_commands
from support.options import list_options


@pytest.fixture(scope="module", params=list_options("model"))
def trained(request, tmp_path_factory):
    """Return the folder of a finished run, its metrics and the model."""
    return run_all_commands(request.param, tmp_path_factory.mktemp(request.param) / "run")
