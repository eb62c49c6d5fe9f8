"""Token ids of many texts, and their batches."""

import pytest
import torch

from firstlight.data.token_dataset import RaggedTokens, TokenDataset


def row_by_row(rows, indices, padding, length):
    ids = torch.full((len(indices), length), padding)
    mask = torch.zeros(len(indices), length, dtype=torch.int64)
    for place, index in enumerate(indices):
        ids[place, : len(rows[index])] = torch.tensor(rows[index], dtype=torch.int64)
        mask[place, : len(rows[index])] = 1
    return ids, mask


def test_batches_are_padded_to_few_lengths():
    rows = [[7] * length for length in (3, 5, 40, 64)]
    tokens = TokenDataset(RaggedTokens.from_lists(rows), [0, 1, 0, 1], padding=9, pad_to_multiple_of=32, max_length=64)
    short, long = tokens.__getitems__([0, 1])["inputs"], tokens.__getitems__([0, 2])["inputs"]

    assert tuple(short["input_ids"].shape) == (2, 32)
    assert tuple(long["input_ids"].shape) == (2, 64)
    assert short["attention_mask"].sum(1).tolist() == [3, 5]
    assert short["input_ids"][0, :4].tolist() == [7, 7, 7, 9]
    assert tokens.padded_lengths.tolist() == [32, 32, 64, 64]


@pytest.mark.parametrize("padding", [0, 9])
@pytest.mark.parametrize("pad_to_multiple_of", [1, 8, 32])
def test_a_batch_is_what_filling_row_by_row_gives(padding, pad_to_multiple_of):
    rows = [list(range(1, 1 + length)) for length in (3, 20, 0, 11, 20, 1)]
    tokens = TokenDataset(
        RaggedTokens.from_lists(rows), [0, 1, 2, 3, 4, 5], None, padding, pad_to_multiple_of, max_length=20
    )

    for indices in ([5], [2], [5, 0], [1, 3], [5, 4, 3, 2, 1, 0], [0, 0]):
        batch = tokens.__getitems__(indices)
        length = int(tokens.padded_lengths[indices].max())
        ids, mask = row_by_row(rows, indices, padding, length)

        assert torch.equal(ids, batch["inputs"]["input_ids"])
        assert torch.equal(mask, batch["inputs"]["attention_mask"])
        assert torch.int64 == batch["inputs"]["input_ids"].dtype == batch["inputs"]["attention_mask"].dtype
        assert indices == batch["ids"].tolist() == batch["labels"].tolist()


def test_texts_without_tokens_give_an_empty_batch():
    batch = TokenDataset(RaggedTokens.from_lists([[], []]), [0, 1]).__getitems__([0, 1])

    assert tuple(batch["inputs"]["input_ids"].shape) == (2, 0)


def test_parts_are_joined_in_order():
    joined = RaggedTokens.concatenate(
        [RaggedTokens.from_lists([[1], [2, 3]]), RaggedTokens.from_lists([]), RaggedTokens.from_lists([[], [4]])]
    )

    assert joined.offsets.tolist() == [0, 1, 3, 3, 4]
    assert joined.values.tolist() == [1, 2, 3, 4]
    assert (torch.int64, torch.int32) == (joined.offsets.dtype, joined.values.dtype)
