"""Stored experiments do what they are for, with each model of configs/."""

import pytest

from firstlight import train
from support.options import list_project_options, make_tiny_overrides

STORED = list_project_options("experiment")


def needs(experiment):
    return pytest.mark.skipif(experiment not in STORED, reason=f"configs/experiment/{experiment}.yaml was deleted")


@needs("smoke")
@pytest.mark.parametrize("model", list_project_options("model"))
def test_smoke_runs_everything_once(compose_cfg, model):
    words = [word for word in make_tiny_overrides(model) if not word.startswith(("trainer.", "data.batch"))]
    metrics = train.main(compose_cfg(*words, "experiment=smoke"))

    assert {"train/loss", "val/loss", "test/loss"} <= set(metrics)


@needs("profile")
def test_profile_writes_where_the_time_went(compose_cfg, tmp_path):
    train.main(compose_cfg(*make_tiny_overrides("tiny_images"), "experiment=profile"))

    assert "run_training_batch" in (tmp_path / "run" / "fit-profile.txt").read_text()


@needs("overfit")
@pytest.mark.slow
@pytest.mark.parametrize("model", list_project_options("model"))
def test_overfit_learns_its_batches_by_heart(compose_cfg, model):
    metrics = train.main(compose_cfg(*make_tiny_overrides(model), "experiment=overfit", "trainer.max_epochs=10"))

    assert metrics["train/accuracy"] == 1.0
