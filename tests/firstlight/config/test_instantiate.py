"""Arguments that a library rejects result in a one-line error; other errors keep their traceback."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from firstlight.cli.errors import format_user_error
from firstlight.config.instantiate import call_target
from firstlight.model.lr_scheduler import WarmupCosineLR
from firstlight.trainer.trainer import Trainer


@pytest.mark.parametrize(
    ("cls", "args", "settings", "message"),
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
        (Trainer, [], {"max_epochs": 0}, "Invalid value for trainer.max_epochs: expected a nonzero value, got 0."),
    ],
)
def test_rejected_arguments_are_a_one_line_error(cls, args, settings, message):
    with pytest.raises(ValueError, match=r"\.$") as caught:
        call_target(cls, *args, **settings)

    assert format_user_error(caught.value, "train", []).startswith(message)
    assert len(str(caught.value).splitlines()) == 1


def test_internal_error_keeps_its_traceback():
    with pytest.raises(TypeError) as caught:
        call_target(WarmupCosineLR, None, total_steps=10, warmup_fraction="x")

    assert format_user_error(caught.value, "train", []) is None


def test_out_of_memory_is_not_an_argument_error():
    class Large(torch.optim.SGD):
        def __init__(self):
            torch.nn.Linear(2**40, 2**20)

    with pytest.raises(RuntimeError, match="can't allocate memory|not enough memory"):
        call_target(Large)


def test_batch_norm_with_batch_size_one_is_a_one_line_error():
    with pytest.raises(ValueError, match="Expected more than 1 value per channel") as caught:
        torch.nn.BatchNorm1d(4)(torch.zeros(1, 4))

    assert "Set data.batch_size to 2 or more." in format_user_error(caught.value, "train", [])


def test_arguments_may_be_called_target_and_node():
    assert call_target(dict, target="sales", node=1) == {"target": "sales", "node": 1}
