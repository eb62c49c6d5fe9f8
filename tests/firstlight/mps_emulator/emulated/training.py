"""What trainer=mps does, by the real Lightning accelerator on the emulated device."""

import multiprocessing
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.accelerators import MPSAccelerator

from firstlight import build, train
from firstlight.config.compose import compose_config as composed_from
from support.options import get_tiny_model, list_options

sys.path.insert(0, str(Path(__file__).parents[2]))
from mps_emulator.emulator import Seen
from support.emulated_mps import (
    PRECISIONS,
    check_all_commands,
    check_training,
    check_weights_match_cpu,
    make_mps_overrides,
    slow_param,
)

MODELS = list_options("model")
seen = Seen()


# Each precision and each model once, beside the first of both; as many other pairs train.
WAYS = [(MODELS[0], PRECISIONS[0]), *zip(MODELS[1:] + MODELS, PRECISIONS[1:], strict=False)]


@pytest.mark.parametrize(("model", "precision"), [WAYS[0], *(slow_param(*way) for way in WAYS[1:])])
def test_the_whole_way_runs_on_mps(model, precision, tmp_path):
    check_all_commands(model, precision, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "precision"),
    [way for way in zip(MODELS, [*PRECISIONS[2:], PRECISIONS[1]], strict=False) if way not in WAYS],
)
def test_each_model_trains_in_another_precision_too(tmp_path, model, precision):
    check_training(model, precision, tmp_path)


@pytest.mark.parametrize("model", MODELS)
def test_the_weights_are_those_of_a_training_on_the_cpu(model, tmp_path):
    check_weights_match_cpu(model, tmp_path)


@pytest.mark.slow
def test_a_training_moves_between_devices(tmp_path):
    words = [*make_mps_overrides(get_tiny_model("images")), "trainer=cpu", f"output_dir={tmp_path / 'run'}"]
    train.main(composed_from("train", words))
    before = seen.count("_fused_adamw_")
    train.main(composed_from("train", [f"resume={tmp_path / 'run'}", "trainer=mps", "trainer.max_epochs=2"]))
    fused = seen.count("_fused_adamw_") - before
    metrics = train.main(composed_from("train", [f"resume={tmp_path / 'run'}", "trainer=cpu", "trainer.max_epochs=3"]))

    assert fused > 0
    assert torch.tensor(metrics["test/loss"]).isfinite()


def test_lightnings_own_accelerator_is_the_automatic_choice(compose_cfg):
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
def test_data_sets_read_by_spawned_workers_feed_mps(compose_cfg):
    network, data, trainer = build.build(
        compose_cfg(*make_mps_overrides(get_tiny_model("images")), "data.num_workers=1", "callbacks=none")
    )
    loader = data.train_dataloader()
    loader.multiprocessing_context = multiprocessing.get_context("spawn")
    data.train_dataloader = lambda: loader
    trainer.fit(network, data)

    assert trainer.global_step == 4
