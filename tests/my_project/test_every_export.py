"""Each model of configs/ is exported, and says the same in other programs."""

import pytest

from support.options import list_project_options

pytest.importorskip("firstlight.export.__main__")
from support import exports as exported_models
from support.every_export import *  # noqa: F403

MODELS = list_project_options("model")
# The first one in every run of the tests.
OTHERS = [pytest.param(model, marks=pytest.mark.slow) for model in MODELS[1:]]


@pytest.fixture(scope="module", params=[*MODELS[:1], *OTHERS])
def trained_run(request, tmp_path_factory):
    """Return the folder of a run, and inputs by name with the logits that its model gives for them."""
    return exported_models.train_for_export(request.param, tmp_path_factory.mktemp(request.param) / "run")
