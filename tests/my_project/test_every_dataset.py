"""Tests that every dataset in configs/data must pass, including datasets of the user."""

import pytest

from support.every_dataset import *  # noqa: F403
from support.every_dataset import make_data_factory
from support.options import list_project_options


@pytest.fixture(scope="module", params=list_project_options("data"))
def data_factory(request, tmp_path_factory):
    """Return a function that builds the datamodule of an option."""
    with make_data_factory(request.param, tmp_path_factory.mktemp(request.param)) as make_data:
        yield make_data


@pytest.fixture(scope="module")
def data(data_factory):
    return data_factory()
