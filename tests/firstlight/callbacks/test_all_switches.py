"""All training switches in one run, which is stopped five times, with an image model and with a text model."""

import pytest

from support.resume_matrix import BASE, TEXT_BASE, find_differences, train_undisturbed, train_with_stops
from support.resume_rows import ACCUMULATION, EMA, LORA

# One stop in each attempt: in an accumulated step, in a validation, after a single batch, at the end of an epoch, and
# in the final test.
STOPS = [
    ("train_batch_end", 2),
    ("validation_batch_start", 0),
    ("train_batch_end", 0),
    ("train_epoch_end", 0),
    ("test_batch_start", 0),
]
STOPPING = ["callbacks.early_stopping.patience=9", "callbacks.early_stopping.min_delta=0.05"]
RATES = ["optimizer=adamw", "optimizer.lr=0.01", "optimizer.layer_decay=0.5", "scheduler=cosine"]
MIXING = ["data.mixup_alpha=0.4", "data.cutmix_alpha=1.0", "data.random_erasing=0.5", "data.rand_augment=9"]
IMAGES = [
    *BASE,
    "model=tiny_images",
    "data.image_size=8",
    "model.label_smoothing=0.1",
    *EMA,
    *STOPPING,
    *ACCUMULATION,
    *RATES,
    *MIXING,
    "optimizer.no_weight_decay=[*block1*]",
    "callbacks.unfreezing.schedule={0:[network.head.*],1:[network.block2.*],2:[network.*]}",
]
TEXTS = [
    *TEXT_BASE,
    *LORA,
    *EMA,
    *STOPPING,
    *ACCUMULATION,
    *RATES,
    "optimizer.no_weight_decay=['*.lora_A.*']",
    "callbacks.unfreezing.schedule={0:[network.*classifier*],1:['*.lora_A.*'],2:['*.lora_B.*']}",
]


def check_five_stops(parent, overrides):
    expected = train_undisturbed(parent, overrides)
    assert find_differences(expected, train_with_stops(parent, overrides, STOPS)) == []


@pytest.mark.slow
def test_image_run_with_all_switches_stopped_five_times(tmp_path):
    pytest.importorskip("timm", reason="the extra timm is not installed")
    check_five_stops(tmp_path, IMAGES)


@pytest.mark.slow
def test_text_run_with_all_switches_stopped_five_times(tmp_path):
    for package, extra in {"transformers": "text", "timm": "timm", "peft": "lora"}.items():
        pytest.importorskip(package, reason=f"the extra {extra} is not installed")
    check_five_stops(tmp_path, TEXTS)
