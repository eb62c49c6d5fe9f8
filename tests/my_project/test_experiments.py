"""The experiments in configs/experiment work with each model in configs/model."""

import pytest

from firstlight import train
from support.options import list_project_options, make_tiny_overrides

EXPERIMENTS = list_project_options("experiment")
MODELS = list_project_options("model")


def requires_experiment(name):
    return pytest.mark.skipif(name not in EXPERIMENTS, reason=f"configs/experiment/{name}.yaml was deleted")


@requires_experiment("smoke")
@pytest.mark.parametrize("model", MODELS)
def test_smoke_runs_every_stage(compose_cfg, model):
    overrides = [
        override for override in make_tiny_overrides(model) if not override.startswith(("trainer.", "data.batch"))
    ]
    metrics = train.main(compose_cfg(*overrides, "experiment=smoke"))["metrics"]

    assert {"train/loss", "val/loss", "test/loss"} <= set(metrics)


@requires_experiment("profile")
def test_profile_writes_report(compose_cfg, tmp_path):
    train.main(compose_cfg(*make_tiny_overrides("tiny_images"), "experiment=profile"))

    assert "run_training_batch" in (tmp_path / "run" / "fit-profile.txt").read_text()


@requires_experiment("overfit")
@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_overfit_reaches_perfect_accuracy(compose_cfg, model):
    overrides = [*make_tiny_overrides(model), "experiment=overfit", "trainer.max_epochs=10"]
    metrics = train.main(compose_cfg(*overrides))["metrics"]

    assert metrics["train/accuracy"] == 1.0
