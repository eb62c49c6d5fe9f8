"""data.batch_size=auto: the search, the probes, and the number in the config of the run."""

import math

import pytest
import torch

from firstlight import train
from firstlight.build import resolve_auto_settings
from firstlight.config.compose import compose_config
from firstlight.config.run_config import load_run_config
from firstlight.config.validate import validate_config
from firstlight.run.errors import ConfigError
from firstlight.run.files import to_plain_dict
from firstlight.trial import resolve
from firstlight.trial.batch_size import compiles_planned_run, count_training_samples, make_batches, probe, search
from firstlight.trial.recorders import StopAfterSteps
from firstlight.trial.runner import TrialRunner
from support.tiny_training import OVERRIDES

AUTO_SIZE = [override for override in OVERRIDES if not override.startswith("data.batch_size")]
AUTO_SIZE.append("data.batch_size=auto")


def make_runner(*overrides):
    """Return a runner of a tiny model."""
    return TrialRunner(to_plain_dict(resolve_auto_settings(compose_config("tune", list(overrides)))))


@pytest.mark.parametrize("start", [1, 8, 32, 100])
@pytest.mark.parametrize("limit", [0, 1, 7, 33, 100, 1000, 5000])
def test_search_finds_the_largest_size(limit, start):
    tried = []
    found = search(lambda size: tried.append(size) or size <= limit, start, cap=4096)

    assert found <= limit
    # Up to 1/16 and the multiple of 8 below the limit.
    assert found >= min(limit, 4096) - math.ceil(limit / 16) - 8 if limit >= 16 else found == limit
    assert len(tried) <= 16
    assert found < 16 or found % 8 == 0 or found in (start, 4096)


def test_search_stops_at_the_number_of_samples():
    assert search(lambda size: True, 32, cap=450) == 450


@pytest.mark.slow
def test_probe_trains_and_recognizes_memory_errors(monkeypatch):
    runner = make_runner(*OVERRIDES, "model=tiny_faulty", "data.num_samples=16")
    monkeypatch.setenv("FAULT", "batch>10:MPS backend out of memory (MPS allocated: 1 GiB)")

    assert count_training_samples(runner) == 16
    assert search(lambda size: probe(runner, size, {"compile": False}), 4, cap=16) == 10


def test_probe_raises_any_other_error(monkeypatch):
    runner = make_runner(*OVERRIDES, "model=tiny_faulty")
    monkeypatch.setenv("FAULT", "batch>1:no kernel")

    with pytest.raises(RuntimeError, match="no kernel"):
        probe(runner, 4, {"compile": False})


def test_probe_uses_texts_of_the_maximum_length(requires_text_packages):
    runner = make_runner(
        "model=tiny_text", "data=fake_text", "data.max_length=48", "trainer=cpu", "data.num_samples=16"
    )
    (batch,) = make_batches(runner, 20)

    assert batch["inputs"]["input_ids"].shape == (20, 48)
    assert batch["labels"].shape == (20,)


def test_probe_of_another_datamodule_builds_it_with_the_size():
    runner = make_runner("model=plain_autoencoder", "trainer=cpu")
    (batch,) = make_batches(runner, 12)

    assert len(batch[0]) == 12
    assert probe(runner, 12, {"compile": False})


@pytest.mark.slow
def test_trials_do_not_change_the_model_and_its_random_numbers():
    runner = make_runner(*OVERRIDES, "trainer.accelerator=cpu")
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    batches = runner.load_batches()
    losses = []
    for _ in range(2):
        runner.run(StopAfterSteps(3), batches)
        losses.append(torch.get_rng_state())

    torch.testing.assert_close(runner.model.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(*losses)


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({"compile": "auto", "compile_min_steps": 100, "max_epochs": 10}, True),
        ({"compile": "auto", "compile_min_steps": 101, "max_epochs": 10}, False),
        ({"compile": "auto", "compile_min_steps": 100, "max_epochs": 10, "max_steps": 99}, False),
        ({"compile": "auto", "compile_min_steps": 100, "max_epochs": -1}, True),
        ({"compile": False, "compile_min_steps": 0, "max_epochs": 10}, False),
    ],
)
def test_probe_compiles_if_the_run_does(trainer, expected):
    assert compiles_planned_run(trainer, steps_per_epoch=10) is expected


@pytest.mark.slow
def test_run_stores_the_number(tmp_path, capsys):
    train.main(
        compose_config("train", [*AUTO_SIZE, f"output_dir={tmp_path / 'run'}", "test=false", "data.num_samples=64"])
    )

    # The option of the dataset, which the CPU uses.
    assert load_run_config(tmp_path / "run").data.batch_size == 32
    assert "batch size  32, the default of the dataset, which is used on the CPU" in capsys.readouterr().out


@pytest.mark.parametrize(("rule", "factor"), [("null", 1), ("linear", 4), ("sqrt", 2)])
@pytest.mark.slow
def test_learning_rate_is_scaled_if_asked(rule, factor, monkeypatch):
    from firstlight.trial import batch_size

    monkeypatch.setattr(batch_size, "find_batch_size", lambda settings, default: (4 * default, "planted"))
    cfg = compose_config("train", [*AUTO_SIZE, f"trainer.scale_lr={rule}", "optimizer.lr=0.01", "output_dir=run"])
    resolve.resolve_measured_settings(cfg)

    assert cfg.data.batch_size == 128
    assert cfg.optimizer.lr == pytest.approx(0.01 * factor)


@pytest.mark.parametrize(("command", "resume"), [("preflight", None), ("train", "run")])
def test_only_a_new_training_run_finds_its_batch_size(command, resume):
    cfg = compose_config(command, [*AUTO_SIZE, "output_dir=run"])
    cfg.resume = resume

    with pytest.raises(ConfigError, match="data.batch_size=auto is only possible for a new training run"):
        validate_config(cfg)


def test_several_devices_are_rejected():
    cfg = compose_config("train", [*AUTO_SIZE, "trainer.devices=2", "trainer.strategy=ddp", "output_dir=run"])

    with pytest.raises(ConfigError, match="data.batch_size=auto supports a single device"):
        resolve.resolve_measured_settings(cfg)
