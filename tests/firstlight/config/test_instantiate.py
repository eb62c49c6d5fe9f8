"""What a library refuses is told in one sentence; a mistake of ours keeps its traceback."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from firstlight.cli.errors import format_user_error
from firstlight.config.instantiate import call_class
from firstlight.model.lr_scheduler import WarmupCosineLR
from firstlight.trainer.trainer import Trainer


@pytest.mark.parametrize(
    ("kind", "parts", "settings", "told"),
    [
        (
            torch.optim.AdamW,
            [[torch.zeros(1)]],
            {"lr": -5.0},
            "AdamW rejected its arguments: Invalid learning rate: -5.0",
        ),
        (torch.optim.AdamW, [], {}, "Invalid arguments for AdamW: missing a required argument: 'params'"),
        (ModelCheckpoint, [], {"mode": "x"}, "ModelCheckpoint rejected its arguments: `mode` can be"),
        (
            Trainer,
            [],
            {"limit_val_batches": 1.5},
            "Trainer rejected its arguments: You have passed invalid value 1.5 for",
        ),
        (Trainer, [], {"max_epochs": 0}, "Invalid value for trainer.max_epochs: expected at least 1, got 0."),
    ],
)
def test_settings_that_a_class_refuses_are_one_sentence(kind, parts, settings, told):
    with pytest.raises(ValueError, match=r"(Check|Set) .+\.$") as refused:
        call_class(kind, *parts, **settings)

    assert format_user_error(refused.value, "train", []).startswith(told)
    assert len(str(refused.value).splitlines()) == 1


def test_a_mistake_of_ours_keeps_its_traceback():
    with pytest.raises(TypeError) as raised:
        call_class(WarmupCosineLR, None, total_steps=10, warmup_fraction="x")

    assert format_user_error(raised.value, "train", []) is None


def test_memory_that_runs_out_is_no_refusal():
    class Large(torch.optim.SGD):
        def __init__(self):
            torch.nn.Linear(2**40, 2**20)

    with pytest.raises(RuntimeError, match="can't allocate memory|not enough memory"):
        call_class(Large)


def test_a_batch_of_one_before_batch_normalisation_is_one_sentence():
    with pytest.raises(ValueError, match="Expected more than 1 value per channel") as raised:
        torch.nn.BatchNorm1d(4)(torch.zeros(1, 4))

    assert "Set data.batch_size to 2 or more." in format_user_error(raised.value, "train", [])
