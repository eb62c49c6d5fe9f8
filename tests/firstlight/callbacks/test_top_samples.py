"""The samples with the highest scores are kept batch by batch, as if all samples had been sorted at the end."""

import pytest
import torch

from firstlight.callbacks import top_samples
from firstlight.callbacks.top_samples import EXCLUDED, TopSamples


def make_samples(max_samples):
    """Return samples whose score is the column "score"."""
    return TopSamples(max_samples, lambda columns: columns["score"])


def update(samples, scores, images=None, **columns):
    """Add a batch."""
    samples.update(
        {"score": torch.tensor(scores)} | {name: torch.tensor(column) for name, column in columns.items()},
        None if images is None else torch.tensor(images),
    )


@pytest.mark.parametrize("max_pending_bytes", [1, 200, 2**28])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 20])
@pytest.mark.parametrize("max_samples", [0, 1, 5, 20, 30])
def test_kept_samples_are_the_first_of_all_samples_in_stable_order(
    monkeypatch, batch_size, max_samples, max_pending_bytes
):
    monkeypatch.setattr(top_samples, "MAX_PENDING_BYTES", max_pending_bytes)
    scores = torch.randint(6, (20,), generator=torch.Generator().manual_seed(0)).float()  # many equal scores
    samples = make_samples(max_samples)
    for ids in torch.arange(20).split(batch_size):
        update(samples, scores[ids].tolist(), ids=ids.tolist(), images=ids.view(-1, 1, 1).tolist())

    expected = sorted(range(20), key=lambda index: -scores[index])[:max_samples]
    assert samples.fetch()["ids"].tolist() == expected
    assert samples.fetch()["images"].flatten().tolist() == expected


def test_excluded_samples_are_never_returned():
    samples = make_samples(4)
    update(samples, [0.5, EXCLUDED, -1.0], ids=[0, 1, 2])
    update(samples, [EXCLUDED], ids=[3])

    assert samples.fetch()["ids"].tolist() == [0, 2]


def test_rows_of_different_width_are_padded():
    samples = make_samples(2)
    update(samples, [0.1, 0.2], tokens=[[1, 2, 3], [4, 5, 6]])
    update(samples, [0.3], tokens=[[7]])
    assert samples.fetch()["tokens"].tolist() == [[7, -1, -1], [4, 5, 6]]

    update(samples, [0.4], tokens=[[8, 9, 10, 11]])
    assert samples.fetch()["tokens"].tolist() == [[8, 9, 10, 11], [7, -1, -1, -1]]


def test_memory_does_not_grow_with_the_number_of_batches(monkeypatch):
    monkeypatch.setattr(top_samples, "MAX_PENDING_BYTES", 5 * 4 * (4 + 8))  # 5 batches
    samples = make_samples(3)
    for batch in range(50):
        update(samples, [float(batch)] * 4, images=[[[[batch]]]] * 4)
        assert len(samples.pending) < 5
        assert samples.images is None or samples.images.untyped_storage().nbytes() <= 8 * (3 + 1)
    assert samples.fetch()["images"].flatten().tolist() == [49, 49, 49]


def test_small_batches_are_merged_in_groups():
    samples = make_samples(3)
    for batch in range(top_samples.MAX_PENDING_BATCHES - 1):
        update(samples, [float(batch)])
    assert samples.columns == {}

    update(samples, [0.0])
    assert samples.pending == []
    assert samples.fetch()["score"].tolist() == [14, 13, 12]


def test_without_a_batch_there_is_no_column():
    assert make_samples(3).fetch() == {}
