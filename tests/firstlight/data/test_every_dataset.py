"""What holds for the engine's data sets."""

import pytest

from support.choices import names
from support.every_dataset import *  # noqa: F403
from support.every_dataset import maker


@pytest.fixture(scope="module", params=names("data"))
def made(request, tmp_path_factory):
    """Return a function that builds a data set."""
    with maker(request.param, tmp_path_factory.mktemp(request.param)) as make:
        yield make


@pytest.fixture(scope="module")
def data(made):
    """Return a data set."""
    return made()
