"""Stored experiments do what they are for."""

import pytest

from firstlight import train
from support.choices import a_model, names, tiny


@pytest.mark.parametrize("model", names("model"))
def test_smoke_runs_everything_once(composed, model):
    words = [word for word in tiny(model) if not word.startswith(("trainer.", "data.batch"))]
    metrics = train.main(composed(*words, "experiment=smoke"))

    assert {"train/loss", "val/loss", "test/loss"} <= set(metrics)


def test_profile_writes_where_the_time_went(composed, tmp_path):
    train.main(composed(*tiny(a_model()), "experiment=profile"))

    assert "run_training_batch" in (tmp_path / "run" / "fit-profile.txt").read_text()


@pytest.mark.slow
def test_overfit_learns_its_batches_by_heart(composed):
    metrics = train.main(composed(*tiny(a_model()), "experiment=overfit", "trainer.max_epochs=10"))

    assert metrics["train/accuracy"] == 1.0
