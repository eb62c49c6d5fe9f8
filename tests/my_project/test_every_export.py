"""Export each model in configs/model, and compare its outputs in other runtimes."""

import pytest

from support.options import list_project_options

pytest.importorskip("firstlight.export.__main__")
from support.every_export import *  # noqa: F403
from support.exports import train_for_export

MODELS = list_project_options("model")
# Every run of the tests includes the first model.
PARAMS = [*MODELS[:1], *(pytest.param(model, marks=pytest.mark.slow) for model in MODELS[1:])]


@pytest.fixture(scope="module", params=PARAMS)
def trained_run(request, tmp_path_factory):
    """Return the run directory of a model, and inputs by name with the logits that the model returns for them."""
    return train_for_export(request.param, tmp_path_factory.mktemp(request.param) / "run")
