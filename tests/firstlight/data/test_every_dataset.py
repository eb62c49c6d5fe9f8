"""What holds for the engine's data sets."""

import pytest

from support.every_dataset import *  # noqa: F403
from support.every_dataset import make_dataset_factory
from support.options import list_options


@pytest.fixture(scope="module", params=list_options("data"))
def made(request, tmp_path_factory):
    """Return a function that builds a data set."""
    with make_dataset_factory(request.param, tmp_path_factory.mktemp(request.param)) as make:
        yield make


@pytest.fixture(scope="module")
def data(made):
    """Return a data set."""
    return made()
