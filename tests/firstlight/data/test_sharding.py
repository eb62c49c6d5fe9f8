"""How several devices divide training steps and evaluations, and which device configs are rejected."""

import pytest
import torch

from firstlight import build
from firstlight.config.compose import compose_config
from firstlight.config.validate import validate_config
from firstlight.data.batch import IGNORE_INDEX
from firstlight.data.eval_shard import EvalShard
from firstlight.data.sampler import LengthGroupedSampler, ShuffleSampler
from firstlight.distributed.strategies import scale_lr
from firstlight.model.metrics import ClassificationMetrics
from firstlight.run.errors import ConfigError
from support.tiny_training import OVERRIDES


def compose_train(*overrides):
    return compose_config("train", ["model=tiny_images", *overrides, "output_dir=run"])


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("first_batch", [0, 2])
def test_ranks_divide_each_step_of_a_single_device(world_size, first_batch):
    batch_size = 12 // world_size
    for sampler_class, source in ((ShuffleSampler, 50), (LengthGroupedSampler, torch.arange(50) % 7)):
        single = sampler_class(source, 12, seed=3)
        ranks = [sampler_class(source, batch_size, 3, rank, world_size) for rank in range(world_size)]
        for sampler in (single, *ranks):
            sampler.set_position(1, first_batch)
        expected, shards = list(single), [list(sampler) for sampler in ranks]

        assert all(len(shard) == len(shards[0]) for shard in shards)
        for step in range(len(expected) // 12):
            together = [index for shard in shards for index in shard[step * batch_size : (step + 1) * batch_size]]
            assert together == expected[step * 12 : (step + 1) * 12]
        indices = [index for shard in shards for index in shard]
        assert len(set(indices)) == len(indices) > len(expected) - world_size
        if not first_batch:
            assert len(ranks[0]) == len(shards[0])


class LogitsDataset(torch.utils.data.Dataset):
    """Samples with random logits as inputs and two alternating labels."""

    def __init__(self, num_samples):
        self.labels = torch.arange(num_samples) % 2
        self.logits = torch.randn(num_samples, 2, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"inputs": self.logits[index], "labels": self.labels[index], "ids": torch.tensor(index)}


@pytest.mark.parametrize(("num_samples", "world_size"), [(7, 2), (8, 4), (9, 4), (3, 4)])
def test_sharded_evaluation_counts_each_sample_once(num_samples, world_size):
    dataset = LogitsDataset(num_samples)
    single, sharded = ClassificationMetrics(2), ClassificationMetrics(2)
    single.update(dataset.logits, dataset.labels)
    shards = [EvalShard(dataset, rank, world_size) for rank in range(world_size)]
    assert len({len(shard) for shard in shards}) == 1
    ids = []
    for shard in shards:
        batch = shard.__getitems__(range(len(shard)))
        assert ((batch["labels"] == IGNORE_INDEX) == (batch["ids"] == -1)).all()
        sharded.update(batch["inputs"], batch["labels"])
        ids += batch["ids"].tolist()

    assert sorted(sample_id for sample_id in ids if sample_id >= 0) == list(range(num_samples))
    assert torch.equal(sharded.compute()["confusion_matrix"], single.compute()["confusion_matrix"])
    assert int(single.compute()["confusion_matrix"].sum()) == num_samples
    assert torch.allclose(sharded.compute()["loss"], single.compute()["loss"])


@pytest.mark.parametrize(
    "overrides", [["trainer=mps", "trainer.devices=2"], ["trainer=ddp", "trainer.accelerator=mps"],
                  ["trainer=fsdp", "trainer.accelerator=mps"], ["trainer=mps", "trainer.num_nodes=2"]]
)  # fmt: skip
def test_several_mps_devices_are_rejected(overrides):
    with pytest.raises(ConfigError, match="MPS supports a single device, but .* Use trainer=mps without"):
        validate_config(compose_train(*overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["trainer=cpu", "trainer.devices=2"],
            "Training on several devices .* requires a strategy",
        ),
        (
            ["trainer=cpu", "trainer.devices=0"],
            "Invalid value for trainer.devices: expected .*, got 0",
        ),
        (["trainer=cpu", "trainer.devices=many"], "Invalid value for trainer.devices: expected .*, got 'many'"),
    ],
)
def test_invalid_devices_are_rejected(overrides, message):
    with pytest.raises(ConfigError, match=message):
        build.resolve_auto_settings(compose_train(*overrides))


@pytest.mark.parametrize(("rule", "factor"), [("null", 1), ("linear", 4), ("sqrt", 2)])
def test_learning_rate_is_scaled_by_number_of_devices(rule, factor):
    cfg = compose_train("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=4", f"trainer.scale_lr={rule}")
    lr = scale_lr(cfg.optimizer.lr, build.resolve_auto_settings(cfg).trainer)

    assert lr == pytest.approx(cfg.optimizer.lr * factor)


def test_evaluation_uses_one_device():
    cfg = compose_train("trainer=ddp", "trainer.devices=4", "trainer.accelerator=cpu", "command=evaluate")

    assert build.resolve_auto_settings(cfg).trainer.devices == 1


def test_number_of_processes_must_match_number_of_devices(monkeypatch, compose_cfg):
    for name, value in {
        "SLURM_NTASKS": "4",
        "SLURM_NTASKS_PER_NODE": "4",
        "SLURM_JOB_NAME": "train",
        "SLURM_JOB_ID": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="Slurm or torchrun started 4 processes, but trainer.devices x trainer.num_n"):
        build.build(compose_cfg(*OVERRIDES))
