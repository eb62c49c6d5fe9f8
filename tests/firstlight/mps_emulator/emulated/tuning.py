"""`make tune` and data.batch_size=auto on the emulated device: what they choose, not how fast it is."""

import pytest

from firstlight.build import resolve_auto_settings
from firstlight.config.compose import compose_config
from firstlight.hardware.device import get_local_mps_limit
from firstlight.mps.dry_run import dry_run
from firstlight.mps.memory import HEADROOM
from firstlight.run.files import to_plain_dict
from firstlight.trial.batch_size import find_batch_size
from firstlight.trial.runner import TrialRunner
from firstlight.tune.candidates import SAFE_VALUES, list_axes
from firstlight.tune.search import CoordinateSearch
from support.planted_kernels import plant

OVERRIDES = ["model=tiny_images", "data=fake_images", "data.num_classes=2", "data.batch_size=4", "data.image_size=8"]


def make_runner(*overrides):
    """Return a runner of the tiny model on the emulated device, and the settings of its trainer before `auto`."""
    cfg = compose_config("tune", [*OVERRIDES, "trainer.accelerator=mps", *overrides])
    return TrialRunner(to_plain_dict(resolve_auto_settings(cfg))), to_plain_dict(cfg)["trainer"]


@pytest.mark.slow
def test_search_covers_the_settings_of_mps():
    runner, trainer = make_runner()
    axes = list_axes(runner, trainer, minutes=2)

    assert axes["precision"] == [{"precision": "32-true"}, {"precision": "bf16-mixed"}]
    assert axes["compile"] == [{"compile": True, "compile_mode": "default"}]
    assert axes.keys() == {"precision", "channels_last", "fused_optimizer", "compile"}


@pytest.mark.slow
@pytest.mark.parametrize(("slow", "wrong", "expected"), [(False, None, True), (False, True, False)])
def test_fastest_correct_memory_format_is_chosen(slow, wrong, expected, monkeypatch):
    plant(monkeypatch, slow=slow, wrong=wrong)
    runner, _ = make_runner("trainer.deterministic=null")
    search = CoordinateSearch(runner, 10, {}, lambda: None)
    search.trial_s = 0.01
    chosen = search.run(SAFE_VALUES, {"channels_last": [{"channels_last": True}, {"channels_last": False}]})
    problems = [trial.problem for trial in search.trials.values()]

    assert chosen["channels_last"] is expected
    assert problems[0] == ""
    assert ("differs by" in problems[1]) is (wrong is not None)


@pytest.mark.slow
def test_batch_size_is_that_of_the_dry_run():
    runner, _ = make_runner("data.num_samples=200000", "data.image_size=2", "trainer.precision=32-true")
    found, reason = find_batch_size(runner.settings, 4)
    estimate = dry_run(runner.model, runner.data, runner.trainer, "32-true", deterministic=False).memory_estimate
    limit = get_local_mps_limit() * (1 - HEADROOM)

    assert found == min(estimate.find_max_batch_size(limit), 200_000) // 8 * 8
    assert reason.startswith("estimated for ")
