"""How several devices share their work, and which settings of theirs are refused."""

import pytest
import torch

from firstlight import build
from firstlight.config import compose
from firstlight.config.validate import validate_config
from firstlight.data.datamodule import IGNORE_INDEX, EvalShard
from firstlight.data.sampler import LengthGroupedSampler, ResumableSampler, ShuffleSampler
from firstlight.distributed.strategies import scale_lr
from firstlight.model.metrics import ClassificationMetrics
from support.tiny_training import OVERRIDES


def settings(*words):
    return compose.compose_config("train", ["model=tiny_images", *words, "output_dir=run"])


def shares_of(order_of, devices):
    """Return what each device reads in an epoch."""
    return [list(order_of(rank)) for rank in range(devices)]


@pytest.mark.parametrize("devices", [2, 3, 4])
@pytest.mark.parametrize("first_batch", [0, 2])
def test_devices_divide_each_step_of_one_device(devices, first_batch):
    lengths = torch.arange(50) % 7
    for kind, what in ((ShuffleSampler, 50), (LengthGroupedSampler, lengths)):

        def order(rank, kind=kind, what=what) -> ResumableSampler:
            made = kind(what, 12 // devices, seed=3, rank=rank, devices=devices)
            made.set_position(1, first_batch)
            return made

        whole = kind(what, 12, seed=3)
        whole.set_position(1, first_batch)
        expected = list(whole)
        shares = shares_of(order, devices)
        steps = len(expected) // 12

        assert all(len(share) == len(shares[0]) for share in shares)
        size = 12 // devices
        for step in range(steps):
            together = [each for share in shares for each in share[step * size : (step + 1) * size]]
            assert together == expected[step * 12 : (step + 1) * 12]
        read = [each for share in shares for each in share]
        assert len(set(read)) == len(read) > len(expected) - devices
        if not first_batch:
            assert len(order(0)) == len(shares[0])


@pytest.mark.parametrize(("samples", "devices"), [(7, 2), (8, 4), (9, 4), (3, 4)])
def test_an_evaluation_counts_each_sample_once(samples, devices):
    labels = torch.arange(samples) % 2
    logits = torch.randn(samples, 2, generator=torch.Generator().manual_seed(0))

    class Few(torch.utils.data.Dataset):
        def __len__(self):
            return samples

        def __getitem__(self, index):
            return {"inputs": logits[index], "labels": labels[index], "ids": torch.tensor(index)}

    alone, together = ClassificationMetrics(2), ClassificationMetrics(2)
    alone.update(logits, labels)
    shares = [EvalShard(Few(), rank, devices) for rank in range(devices)]
    assert len({len(share) for share in shares}) == 1
    ids = []
    for share in shares:
        batch = share.__getitems__(range(len(share)))
        assert ((batch["labels"] == IGNORE_INDEX) == (batch["ids"] == -1)).all()
        together.update(batch["inputs"], batch["labels"])
        ids += batch["ids"].tolist()

    assert sorted(each for each in ids if each >= 0) == list(range(samples))
    assert (together.confusion_matrix == alone.confusion_matrix).all()
    assert torch.allclose(together.compute()["loss"], alone.compute()["loss"])


@pytest.mark.parametrize(
    "typed_words", [["trainer=mps", "trainer.devices=2"], ["trainer=ddp", "trainer.accelerator=mps"],
                    ["trainer=fsdp", "trainer.accelerator=mps"], ["trainer=mps", "trainer.num_nodes=2"]]
)  # fmt: skip
def test_a_mac_has_one_gpu(typed_words):
    with pytest.raises(ValueError, match="A Mac has one GPU, but .*: type trainer=mps alone"):
        validate_config(settings(*typed_words))


@pytest.mark.parametrize(
    ("typed_words", "told"),
    [
        (["trainer=cpu", "trainer.devices=2"], "Several devices need a strategy, but trainer.devices=2"),
        (["trainer=cpu", "trainer.devices=0"], "A training needs a device, but trainer.devices=0"),
        (["trainer=cpu", "trainer.devices=many"], "trainer.devices is a number, a list of numbers or auto"),
    ],
)
def test_devices_that_cannot_train_are_refused(typed_words, told):
    with pytest.raises(ValueError, match=told):
        build.resolve_auto_settings(settings(*typed_words))


@pytest.mark.parametrize(("rule", "factor"), [("null", 1), ("linear", 4), ("sqrt", 2)])
def test_the_learning_rate_is_scaled_on_request(rule, factor):
    cfg = settings("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=4", f"trainer.scale_lr={rule}")

    assert scale_lr(cfg.optimizer.lr, build.resolve_auto_settings(cfg).trainer) == pytest.approx(
        cfg.optimizer.lr * factor
    )


def test_what_was_trained_on_several_devices_is_evaluated_on_one():
    cfg = settings("trainer=ddp", "trainer.devices=4", "trainer.accelerator=cpu", "command=evaluate")

    assert build.resolve_auto_settings(cfg).trainer.devices == 1


def test_processes_that_were_started_must_be_as_many_as_the_devices(monkeypatch, compose_cfg):
    for name, value in {
        "SLURM_NTASKS": "4",
        "SLURM_NTASKS_PER_NODE": "4",
        "SLURM_JOB_NAME": "train",
        "SLURM_JOB_ID": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="4 were started by Slurm or torchrun for 1 of"):
        build.build(compose_cfg(*OVERRIDES))
