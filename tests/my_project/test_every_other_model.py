"""Each model in configs/ that is no classifier trains on its own data, is evaluated, and resumes."""

import pytest
import torch

from firstlight import evaluate, train
from firstlight.config.compose import compose_config
from firstlight.run.errors import ConfigError
from firstlight.run.files import list_checkpoints, read_json_or_empty
from support.options import QUICK_OVERRIDES, list_other_models

ONE_BATCH = [f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]


@pytest.fixture(scope="module", params=list_other_models() or [pytest.param(None, marks=pytest.mark.skip("none yet"))])
def trained_run(request, tmp_path_factory):
    """Return the run directory of a training run of one step, and its metrics."""
    run_dir = tmp_path_factory.mktemp(request.param) / "run"
    overrides = [f"model={request.param}", *QUICK_OVERRIDES, *ONE_BATCH, f"output_dir={run_dir}"]
    return run_dir, train.main(compose_config("train", overrides))["metrics"]


def test_checkpoint_loads_with_weights_only(trained_run):
    run_dir, _ = trained_run
    saved = torch.load(list_checkpoints(run_dir)["last"], weights_only=True)

    assert saved["state_dict"]


def test_metrics_are_logged(trained_run):
    run_dir, metrics = trained_run

    assert metrics
    assert (run_dir / "metrics.csv").is_file()


def test_run_is_evaluated(trained_run):
    run_dir, metrics = trained_run
    for split in ("test", "val"):
        try:
            evaluated = evaluate.main(compose_config("evaluate", [f"run={run_dir}", f"split={split}"]))["metrics"]
        except ConfigError as error:
            if "Cannot evaluate" in str(error):
                continue  # the module has no such step
            raise
        assert evaluated
        assert split == "val" or evaluated == {name: metrics[name] for name in evaluated}


def test_run_resumes(trained_run):
    run_dir, _ = trained_run
    train.main(compose_config("train", [f"resume={run_dir}", "trainer.max_epochs=2", "test=false"]))

    assert read_json_or_empty(run_dir / "run.json")["status"] == "finished"
