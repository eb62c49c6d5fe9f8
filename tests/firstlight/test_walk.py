"""The engine's tiny models go one way through: train, evaluate, predict, resume."""

import pytest

from support.choices import names
from support.walk import *  # noqa: F403
from support.walk import walked


@pytest.fixture(scope="module", params=names("model"))
def trained(request, tmp_path_factory):
    """Return the folder of a finished run, its metrics and the model."""
    return walked(request.param, tmp_path_factory.mktemp(request.param) / "run")
