"""Each model of configs/ on an emulated MPS device.

Functions on_mps_* of this directory are tests of a process whose torch has that device.
"""

from pathlib import Path

import pytest

from support.emulated_mps import (
    PRECISIONS,
    SLOW,
    check_all_commands,
    check_memory_estimate,
    check_training,
    check_weights_match_cpu,
    run_in_emulator,
    slow_param,
)
from support.options import get_modality, list_project_options

MODELS = list_project_options("model")
# Each precision and each model once, beside the first of both; as many other pairs train.
WAYS = [(MODELS[0], PRECISIONS[0]), *zip(MODELS[1:] + MODELS, PRECISIONS[1:], strict=False)] if MODELS else []
MEMORY = {"images": ["data.image_size=64"], "text": ["trainer.precision=bf16-mixed"]}


@pytest.mark.parametrize(("model", "precision"), [*WAYS[:1], *(slow_param(*way) for way in WAYS[1:])])
def on_mps_the_whole_way_runs(model, precision, tmp_path):
    check_all_commands(model, precision, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "precision"),
    [way for way in zip(MODELS, [*PRECISIONS[2:], PRECISIONS[1]], strict=False) if way not in WAYS],
)
def on_mps_it_trains_in_another_precision_too(tmp_path, model, precision):
    check_training(model, precision, tmp_path)


@pytest.mark.parametrize("model", [*map(slow_param, MODELS[:-1]), *MODELS[-1:]])
def on_mps_its_weights_are_those_of_a_training_on_the_cpu(model, tmp_path):
    check_weights_match_cpu(model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def on_mps_its_estimated_memory_is_what_the_device_allocates(tmp_path, model):
    check_memory_estimate(model, MEMORY[get_modality("model", model)], tmp_path)


FILES = [file for file in sorted(Path(__file__).parent.glob("test_*.py")) if "\ndef on_mps_" in file.read_text()]


@pytest.mark.parametrize("marked", ["not slow", pytest.param("slow", marks=SLOW)])
def test_under_the_emulator(marked, tmp_path):
    run_in_emulator(FILES, marked, tmp_path, functions="on_mps_*")
