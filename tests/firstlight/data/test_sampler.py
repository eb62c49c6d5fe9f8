"""Texts of similar length share a batch, and the order stays random."""

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import SequentialSampler

from firstlight.data import word_tokenizer
from firstlight.data.sampler import LengthGroupedSampler, ShuffleSampler, group_by_length
from firstlight.data.text_file import TextFileDataModule


def lengths_of(count, mean=30, most=128):
    generator = torch.Generator().manual_seed(0)
    return (torch.empty(count).exponential_(1 / mean, generator=generator).long() + 3).clamp(max=most)


def width(lengths, order, batch_size):
    """Return the mean length of whole batches, that is what a model reads of each text."""
    whole = order[: len(order) // batch_size * batch_size]
    return lengths[whole].view(-1, batch_size).max(1).values.float().mean()


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1000, 2000])
def test_each_sample_comes_once(count):
    assert list(range(count)) == sorted(group_by_length(lengths_of(count), 16, seed=0).tolist())


def test_padding_falls():
    lengths = lengths_of(5000)
    plain = torch.randperm(5000, generator=torch.Generator().manual_seed(1))

    assert width(lengths, group_by_length(lengths, 32, seed=0), 32) < 0.4 * width(lengths, plain, 32)


def test_batches_come_in_random_order_of_length():
    lengths = lengths_of(16 * 500)
    means = lengths[group_by_length(lengths, 16, seed=0)].view(-1, 16).float().mean(1)
    correlation = torch.corrcoef(torch.stack([means[:-1], means[1:]]))[0, 1]

    assert abs(correlation) < 0.15


def test_batches_are_made_up_anew_by_each_seed():
    lengths = torch.full((160,), 5)
    first, second = (group_by_length(lengths, 16, seed).view(-1, 16).sort().values.tolist() for seed in (0, 1))

    assert first != second
    assert not [batch for batch in first if batch in second]


def test_what_fills_no_batch_is_chosen_at_random():
    lengths = torch.arange(100)
    left_out = torch.cat([group_by_length(lengths, 16, seed)[96:] for seed in range(200)]).float()

    assert 45 < left_out.mean() < 55


@pytest.mark.parametrize("order", [ShuffleSampler(200, 16, seed=3), LengthGroupedSampler(lengths_of(200), 16, seed=3)])
def test_the_order_is_a_function_of_seed_and_epoch_that_starts_at_any_batch(order):
    first = list(order)
    torch.manual_seed(5)
    again = list(order)
    order.set_epoch(1)
    second = list(order)
    order.set_position(1, first_batch=4)
    rest = list(order)
    order.set_epoch(1)
    same = list(order)
    order.set_epoch(2)

    assert first == again
    assert sorted(first) == sorted(second) == list(range(200))
    assert first != second
    assert rest == same == second[64:]
    assert len(order) == len(list(order)) == 200


@pytest.fixture
def make(tmp_path, requires_text_packages):
    """Return what makes a data set of 120 texts, 96 of them for training, of 3 to 40 tokens or of as many each."""

    def make(varied=True, **settings):
        rows = [f"{'word ' * (1 + index % 38 if varied else 50)},{index % 2}" for index in range(120)]
        (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]))
        data = TextFileDataModule(
            str(tmp_path / "texts.csv"), **{"max_length": 40, "pad_to_multiple_of": 8, "batch_size": 10} | settings
        )
        data.setup()
        data.set_tokenizer(word_tokenizer.build_word_tokenizer(["word"]))
        return data

    return make


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("drop_last", [True, False])
def test_training_batches_are_grouped(make, workers, drop_last):
    data = make(num_workers=workers, drop_last=drop_last)
    batches = list(data.train_dataloader())
    ids = torch.cat([batch["ids"] for batch in batches]).tolist()

    assert [10] * 9 + [6] * (not drop_last) == [len(batch["ids"]) for batch in batches]
    assert len(ids) == len(set(ids)) == len(data.train_dataloader()) * 10 - 4 * (not drop_last)
    assert sum(batch["inputs"]["input_ids"].shape[1] for batch in batches[:9]) < 0.85 * 9 * 40


@pytest.mark.parametrize("settings", [{"group_by_length": False}, {"varied": False}, {"pad_to_multiple_of": 40}])
def test_where_grouping_is_of_no_use_the_order_is_plain(make, settings):
    assert type(make(**settings).train_dataloader().sampler) is ShuffleSampler


def test_validation_and_test_keep_their_order(make):
    data = make()

    assert isinstance(data.val_dataloader().sampler, SequentialSampler)
    assert isinstance(data.test_dataloader().sampler, SequentialSampler)


class Recorder(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.epochs = {}
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, index):
        self.epochs.setdefault(self.current_epoch, []).append(batch["ids"].tolist())
        return self.weight * 1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("overfit", [0, 2])
def test_lightning_keeps_the_order_unless_two_batches_are_to_be_learned_by_heart(make, tmp_path, overfit):
    recorder = Recorder()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", overfit_batches=overfit, default_root_dir=tmp_path, **quiet)
    trainer.fit(recorder, datamodule=make())
    first, second = recorder.epochs.values()

    assert (overfit or 9) == len(first) == len(second)
    assert (first == second) == bool(overfit)
