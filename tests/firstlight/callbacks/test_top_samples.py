"""The samples with the highest scores are kept batch by batch, as if all samples had been sorted at the end."""

import pytest
import torch

from firstlight.callbacks.top_samples import EXCLUDED, TopSamples


def update(samples, scores, **columns):
    """Add a batch."""
    samples.update(
        torch.tensor(scores), lambda rows: {name: torch.tensor(column)[rows] for name, column in columns.items()}
    )


@pytest.mark.parametrize("batch_size", [1, 3, 7, 20])
@pytest.mark.parametrize("max_samples", [1, 5, 20, 30])
def test_kept_samples_are_the_first_of_all_samples_in_stable_order(batch_size, max_samples):
    scores = torch.randint(6, (20,), generator=torch.Generator().manual_seed(0)).float()  # many equal scores
    samples = TopSamples(max_samples)
    for ids in torch.arange(20).split(batch_size):
        update(samples, scores[ids].tolist(), ids=ids.tolist())

    expected = sorted(range(20), key=lambda index: -scores[index])[:max_samples]
    assert samples.fetch()["ids"].tolist() == expected


def test_excluded_samples_are_never_returned():
    samples = TopSamples(4)
    update(samples, [0.5, EXCLUDED, -1.0], ids=[0, 1, 2])
    update(samples, [EXCLUDED], ids=[3])

    assert samples.fetch()["ids"].tolist() == [0, 2]


def test_rows_of_different_width_are_padded():
    samples = TopSamples(2)
    update(samples, [0.1, 0.2], tokens=[[1, 2, 3], [4, 5, 6]])
    update(samples, [0.3], tokens=[[7]])
    assert samples.fetch()["tokens"].tolist() == [[7, 0, 0], [4, 5, 6]]

    update(samples, [0.4], tokens=[[8, 9, 10, 11]])
    assert samples.fetch()["tokens"].tolist() == [[8, 9, 10, 11], [7, 0, 0, 0]]


def test_memory_does_not_grow_with_the_number_of_batches():
    samples = TopSamples(3)
    for batch in range(50):
        update(samples, [float(batch)] * 4, images=[[[[batch]]]] * 4)
        assert samples.columns["images"].untyped_storage().nbytes() <= 8 * 3
    assert samples.fetch()["images"].flatten().tolist() == [49, 49, 49]


def test_without_a_batch_there_is_no_column():
    assert TopSamples(3).fetch() == {}
