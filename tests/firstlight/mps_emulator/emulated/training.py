"""Runs with trainer=mps: Lightning's own MPS accelerator on the emulated device."""

import multiprocessing
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.accelerators import MPSAccelerator

from firstlight import build, train
from firstlight.config.compose import compose_config
from support.options import get_tiny_model, list_options

sys.path.insert(0, str(Path(__file__).parents[2]))
from mps_emulator.emulator import EmulatorStats
from support.emulated_mps import (
    PRECISIONS,
    check_all_commands,
    check_training,
    check_weights_match_cpu,
    make_mps_overrides,
    slow_param,
)

MODELS = list_options("model")
stats = EmulatorStats()


# Each precision and each model at least once.
COMBINATIONS = [(MODELS[0], PRECISIONS[0]), *zip(MODELS[1:] + MODELS, PRECISIONS[1:], strict=False)]


@pytest.mark.parametrize(
    ("model", "precision"), [COMBINATIONS[0], *(slow_param(*combination) for combination in COMBINATIONS[1:])]
)
def test_all_commands_run_on_mps(model, precision, tmp_path):
    check_all_commands(model, precision, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "precision"),
    [pair for pair in zip(MODELS, [*PRECISIONS[2:], PRECISIONS[1]], strict=False) if pair not in COMBINATIONS],
)
def test_model_trains_in_second_precision(tmp_path, model, precision):
    check_training(model, precision, tmp_path)


@pytest.mark.parametrize("model", MODELS)
def test_weights_match_cpu(model, tmp_path):
    check_weights_match_cpu(model, tmp_path)


@pytest.mark.slow
def test_resume_on_another_device(tmp_path):
    overrides = [*make_mps_overrides(get_tiny_model("images")), "trainer=cpu", f"output_dir={tmp_path / 'run'}"]
    train.main(compose_config("train", overrides))
    before = stats.count_calls("_fused_adamw_")
    train.main(compose_config("train", [f"resume={tmp_path / 'run'}", "trainer=mps", "trainer.max_epochs=2"]))
    fused = stats.count_calls("_fused_adamw_") - before
    metrics = train.main(
        compose_config("train", [f"resume={tmp_path / 'run'}", "trainer=cpu", "trainer.max_epochs=3"])
    )["metrics"]

    assert fused > 0
    assert torch.tensor(metrics["test/loss"]).isfinite()


def test_auto_selects_lightning_mps_accelerator(compose_cfg):
    _, _, trainer = build.build(
        compose_cfg(*make_mps_overrides(get_tiny_model("images")), "trainer=auto", "callbacks=none")
    )

    assert isinstance(trainer.accelerator, MPSAccelerator)
    assert (torch.device("mps", 0), "32-true", 1) == (
        trainer.strategy.root_device,
        trainer.precision,
        trainer.num_devices,
    )


@pytest.mark.slow
def test_spawned_dataloader_workers_feed_mps(compose_cfg):
    network, data, trainer = build.build(
        compose_cfg(*make_mps_overrides(get_tiny_model("images")), "data.num_workers=1", "callbacks=none")
    )
    loader = data.train_dataloader()
    loader.multiprocessing_context = multiprocessing.get_context("spawn")
    data.train_dataloader = lambda: loader
    trainer.fit(network, data)

    assert trainer.global_step == 4
