"""Samplers: reproducible and resumable orders, and batches of texts with similar lengths."""

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import SequentialSampler

from firstlight.config.instantiate import instantiate
from firstlight.config.options import load_option
from firstlight.data.sampler import BalancedSampler, LengthGroupedSampler, ShuffleSampler, group_by_length
from firstlight.data.text_file import TextFileDataModule
from firstlight.data.word_tokenizer import build_word_tokenizer
from firstlight.run.errors import ConfigError


def draw_lengths(count, mean=30, max_length=128):
    generator = torch.Generator().manual_seed(0)
    return (torch.empty(count).exponential_(1 / mean, generator=generator).long() + 3).clamp(max=max_length)


def compute_mean_padded_length(lengths, permutation, batch_size):
    full = permutation[: len(permutation) // batch_size * batch_size]
    return lengths[full].view(-1, batch_size).max(1).values.float().mean()


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1000, 2000])
def test_grouping_yields_each_sample_once(count):
    assert list(range(count)) == sorted(group_by_length(draw_lengths(count), 16, seed=0).tolist())


def test_grouping_reduces_padding():
    lengths = draw_lengths(5000)
    shuffled = torch.randperm(5000, generator=torch.Generator().manual_seed(1))
    grouped = group_by_length(lengths, 32, seed=0)

    assert compute_mean_padded_length(lengths, grouped, 32) < 0.4 * compute_mean_padded_length(lengths, shuffled, 32)


def test_grouped_batches_are_in_random_order():
    lengths = draw_lengths(16 * 500)
    means = lengths[group_by_length(lengths, 16, seed=0)].view(-1, 16).float().mean(1)
    correlation = torch.corrcoef(torch.stack([means[:-1], means[1:]]))[0, 1]

    assert abs(correlation) < 0.15


def test_seeds_give_different_batches():
    lengths = torch.full((160,), 5)
    first, second = (group_by_length(lengths, 16, seed).view(-1, 16).sort().values.tolist() for seed in (0, 1))

    assert first != second
    assert not [batch for batch in first if batch in second]


def test_incomplete_batch_consists_of_random_samples():
    lengths = torch.arange(100)
    incomplete = torch.cat([group_by_length(lengths, 16, seed)[96:] for seed in range(200)]).float()

    assert 45 < incomplete.mean() < 55


@pytest.mark.parametrize(
    "sampler", [ShuffleSampler(200, 16, seed=3), LengthGroupedSampler(draw_lengths(200), 16, seed=3)]
)
def test_order_depends_on_seed_and_epoch_and_starts_at_any_batch(sampler):
    first = list(sampler)
    torch.manual_seed(5)
    repeated = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_position(1, first_batch=4)
    remaining = list(sampler)
    sampler.set_epoch(1)
    same_epoch = list(sampler)
    sampler.set_epoch(2)

    assert first == repeated
    assert sorted(first) == sorted(second) == list(range(200))
    assert first != second
    assert remaining == same_epoch == second[64:]
    assert len(sampler) == len(list(sampler)) == 200


@pytest.fixture
def make_data(tmp_path, requires_text_packages):
    """Return a function that builds a dataset of 120 texts, 96 of them for training, of 3 to 40 or of equal tokens."""

    def make(varied=True, **kwargs):
        rows = [f"{index} {'word ' * (1 + index % 38 if varied else 50)},{index % 2}" for index in range(120)]
        (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]))
        defaults = {"max_length": 40, "pad_to_multiple_of": 8, "batch_size": 10}
        data = TextFileDataModule(str(tmp_path / "texts.csv"), **defaults | kwargs)
        data.setup()
        data.set_tokenizer(build_word_tokenizer(["word"]))
        return data

    return make


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("drop_last", [True, False])
def test_training_batches_are_grouped_by_length(make_data, num_workers, drop_last):
    data = make_data(num_workers=num_workers, drop_last=drop_last)
    batches = list(data.train_dataloader())
    ids = torch.cat([batch["ids"] for batch in batches]).tolist()

    assert [10] * 9 + [6] * (not drop_last) == [len(batch["ids"]) for batch in batches]
    assert len(ids) == len(set(ids)) == len(data.train_dataloader()) * 10 - 4 * (not drop_last)
    assert sum(batch["inputs"]["input_ids"].shape[1] for batch in batches[:9]) < 0.85 * 9 * 40


@pytest.mark.parametrize("kwargs", [{"group_by_length": False}, {"varied": False}, {"pad_to_multiple_of": 40}])
def test_order_is_shuffled_if_grouping_has_no_effect(make_data, kwargs):
    assert type(make_data(**kwargs).train_dataloader().sampler) is ShuffleSampler


def test_validation_and_test_are_sequential(make_data):
    data = make_data()

    assert isinstance(data.val_dataloader().sampler, SequentialSampler)
    assert isinstance(data.test_dataloader().sampler, SequentialSampler)


class IDRecorder(pl.LightningModule):
    """Record the IDs of all training batches by epoch."""

    def __init__(self):
        super().__init__()
        self.epochs = {}
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):
        self.epochs.setdefault(self.current_epoch, []).append(batch["ids"].tolist())
        return self.weight * 1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("overfit_batches", [0, 2])
def test_lightning_keeps_sampler_unless_overfitting(make_data, tmp_path, overfit_batches):
    recorder = IDRecorder()
    disabled = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", overfit_batches=overfit_batches, default_root_dir=tmp_path, **disabled
    )
    trainer.fit(recorder, datamodule=make_data())
    first, second = recorder.epochs.values()

    assert (overfit_batches or 9) == len(first) == len(second)
    assert (first == second) == bool(overfit_batches)


RARE_LABELS = torch.tensor([0] * 80 + [1] * 15 + [2] * 5)


@pytest.mark.parametrize("lengths", [None, draw_lengths(100)])
def test_balanced_sampler_draws_each_class_equally_often(lengths):
    sampler = BalancedSampler(RARE_LABELS, 10, seed=0, lengths=lengths)
    indices = torch.tensor(list(sampler))
    counts = torch.bincount(RARE_LABELS[indices])

    assert len(indices) == len(sampler) == 100
    assert sorted(counts.tolist()) == [33, 33, 34]
    # No sample of the frequent class occurs twice, and those of a rare class occur equally often.
    repeats = torch.bincount(indices, minlength=100)
    assert repeats[:80].max() == 1
    assert repeats[80:95].max() - repeats[80:95].min() <= 1
    assert repeats[95:].max() - repeats[95:].min() <= 1


def test_balanced_sampler_is_a_function_of_seed_and_epoch():
    def draw(epoch, seed=0, first_batch=0):
        sampler = BalancedSampler(RARE_LABELS, 10, seed)
        sampler.set_position(epoch, first_batch)
        return list(sampler)

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert draw(1) != draw(1, seed=1)
    assert draw(1, first_batch=3) == draw(1)[30:]


def test_ranks_share_the_samples_of_a_balanced_sampler():
    ranks = [list(BalancedSampler(RARE_LABELS, 5, 0, rank, 2)) for rank in range(2)]
    single = list(BalancedSampler(RARE_LABELS, 10, 0))

    assert [ranks[0][:5], ranks[1][:5]] == [single[:5], single[5:10]]


def test_balanced_sampler_is_an_option_of_a_dataset(compose_cfg):
    data = instantiate({**load_option("data", "fake_images"), "balanced_sampler": True})
    data.setup("fit")

    assert isinstance(data.train_dataloader().sampler, BalancedSampler)


def test_balanced_sampler_requires_classes():
    data = instantiate({**load_option("data", "fake_images"), "task": "regression", "balanced_sampler": True})

    with pytest.raises(ConfigError, match="data.balanced_sampler=true requires classes, but Fake.* has labels"):
        data.setup("fit")
