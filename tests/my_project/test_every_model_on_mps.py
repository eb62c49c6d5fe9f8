"""Each model in configs/model on an emulated MPS device.

Functions named on_mps_* in this directory are tests that run in a process whose torch has this device.
"""

from pathlib import Path

import pytest

from support.emulated_mps import (
    PRECISIONS,
    check_all_commands,
    check_memory_estimate,
    check_training,
    check_weights_match_cpu,
    run_in_emulator,
    slow_param,
)
from support.options import get_modality, list_project_options

MODELS = list_project_options("model")
# Every model and every precision at least once with all commands. The other pairs are tested in training.
PAIRS = [(MODELS[0], PRECISIONS[0]), *zip(MODELS[1:] + MODELS, PRECISIONS[1:], strict=False)] if MODELS else []
MEMORY_OVERRIDES = {"images": ["data.image_size=64"], "text": ["trainer.precision=bf16-mixed"]}


@pytest.mark.parametrize(("model", "precision"), [*PAIRS[:1], *(slow_param(*pair) for pair in PAIRS[1:])])
def on_mps_all_commands_run(model, precision, tmp_path):
    check_all_commands(model, precision, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "precision"),
    [pair for pair in zip(MODELS, [*PRECISIONS[2:], PRECISIONS[1]], strict=False) if pair not in PAIRS],
)
def on_mps_trains_in_other_precisions(tmp_path, model, precision):
    check_training(model, precision, tmp_path)


@pytest.mark.parametrize("model", [*map(slow_param, MODELS[:-1]), *MODELS[-1:]])
def on_mps_weights_match_cpu(model, tmp_path):
    check_weights_match_cpu(model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def on_mps_memory_estimate_matches_allocations(tmp_path, model):
    check_memory_estimate(model, MEMORY_OVERRIDES[get_modality("model", model)], tmp_path)


FILES = [file for file in sorted(Path(__file__).parent.glob("test_*.py")) if "\ndef on_mps_" in file.read_text()]


@pytest.mark.slow
@pytest.mark.parametrize("marker", ["not slow", "slow"])
def test_models_on_emulated_mps(marker, tmp_path):
    run_in_emulator(FILES, marker, tmp_path, functions="on_mps_*")
