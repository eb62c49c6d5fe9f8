"""All training switches in one run, which is stopped or killed several times, with an image and a text model."""

import pytest

from support.all_switches import IMAGES, TEXTS
from support.kill_trials import run_trials
from support.resume_matrix import find_differences, train_undisturbed, train_with_stops

# One stop in each attempt: in an accumulated step, in a validation, after a single batch, at the end of an epoch, and
# in the final test.
STOPS = [
    ("train_batch_end", 2),
    ("validation_batch_start", 0),
    ("train_batch_end", 0),
    ("train_epoch_end", 0),
    ("test_batch_start", 0),
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


@pytest.mark.slow
def test_killed_runs_with_all_switches_match_uninterrupted_runs():
    for package, extra in {"transformers": "text", "timm": "timm", "peft": "lora"}.items():
        pytest.importorskip(package, reason=f"the extra {extra} is not installed")
    assert run_trials(4, "images_with_all_switches", "text_with_all_switches") == 4
