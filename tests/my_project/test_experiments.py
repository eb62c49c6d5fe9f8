"""Stored experiments do what they are for, with each model of configs/."""

import pytest

from firstlight import train
from support.choices import project_names, tiny

STORED = project_names("experiment")


def needs(experiment):
    return pytest.mark.skipif(experiment not in STORED, reason=f"configs/experiment/{experiment}.yaml was deleted")


@needs("smoke")
@pytest.mark.parametrize("model", project_names("model"))
def test_smoke_runs_everything_once(composed, model):
    words = [word for word in tiny(model) if not word.startswith(("trainer.", "data.batch"))]
    metrics = train.main(composed(*words, "experiment=smoke"))

    assert {"train/loss", "val/loss", "test/loss"} <= set(metrics)


@needs("profile")
def test_profile_writes_where_the_time_went(composed, tmp_path):
    train.main(composed(*tiny("tiny_images"), "experiment=profile"))

    assert "run_training_batch" in (tmp_path / "run" / "fit-profile.txt").read_text()


@needs("overfit")
@pytest.mark.slow
@pytest.mark.parametrize("model", project_names("model"))
def test_overfit_learns_its_batches_by_heart(composed, model):
    metrics = train.main(composed(*tiny(model), "experiment=overfit", "trainer.max_epochs=10"))

    assert metrics["train/accuracy"] == 1.0
