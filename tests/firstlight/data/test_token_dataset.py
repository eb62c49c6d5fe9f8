"""Token IDs of many texts, and their padded batches."""

import pytest
import torch

from firstlight.data.token_dataset import RaggedTokens, TokenDataset


def pad_rows(rows, indices, pad_token_id, length):
    """Return input IDs and attention mask, filled row by row."""
    input_ids = torch.full((len(indices), length), pad_token_id)
    mask = torch.zeros(len(indices), length, dtype=torch.int64)
    for position, index in enumerate(indices):
        input_ids[position, : len(rows[index])] = torch.tensor(rows[index], dtype=torch.int64)
        mask[position, : len(rows[index])] = 1
    return input_ids, mask


def test_lengths_are_rounded_up_to_multiple():
    tokens = RaggedTokens.from_lists([[7] * length for length in (3, 5, 40, 64)])
    dataset = TokenDataset(tokens, [0, 1, 0, 1], pad_token_id=9, pad_to_multiple_of=32, max_length=64)
    short, long = dataset.__getitems__([0, 1])["inputs"], dataset.__getitems__([0, 2])["inputs"]

    assert tuple(short["input_ids"].shape) == (2, 32)
    assert tuple(long["input_ids"].shape) == (2, 64)
    assert short["attention_mask"].sum(1).tolist() == [3, 5]
    assert short["input_ids"][0, :4].tolist() == [7, 7, 7, 9]
    assert dataset.padded_lengths.tolist() == [32, 32, 64, 64]


@pytest.mark.parametrize("pad_token_id", [0, 9])
@pytest.mark.parametrize("pad_to_multiple_of", [1, 8, 32])
def test_batch_matches_padding_row_by_row(pad_token_id, pad_to_multiple_of):
    rows = [list(range(1, 1 + length)) for length in (3, 20, 0, 11, 20, 1)]
    tokens, labels = RaggedTokens.from_lists(rows), [0, 1, 2, 3, 4, 5]
    dataset = TokenDataset(tokens, labels, None, pad_token_id, pad_to_multiple_of, max_length=20)

    for indices in ([5], [2], [5, 0], [1, 3], [5, 4, 3, 2, 1, 0], [0, 0]):
        batch = dataset.__getitems__(indices)
        length = int(dataset.padded_lengths[indices].max())
        input_ids, mask = pad_rows(rows, indices, pad_token_id, length)

        assert torch.equal(input_ids, batch["inputs"]["input_ids"])
        assert torch.equal(mask, batch["inputs"]["attention_mask"])
        assert torch.int64 == batch["inputs"]["input_ids"].dtype == batch["inputs"]["attention_mask"].dtype
        assert indices == batch["ids"].tolist() == batch["labels"].tolist()


def test_texts_without_tokens_give_empty_batch():
    batch = TokenDataset(RaggedTokens.from_lists([[], []]), [0, 1]).__getitems__([0, 1])

    assert tuple(batch["inputs"]["input_ids"].shape) == (2, 0)


def test_chunks_are_concatenated_in_order():
    chunks = [RaggedTokens.from_lists(rows) for rows in ([[1], [2, 3]], [], [[], [4]])]
    tokens = RaggedTokens.concatenate(chunks)

    assert tokens.offsets.tolist() == [0, 1, 3, 3, 4]
    assert tokens.values.tolist() == [1, 2, 3, 4]
    assert (torch.int64, torch.int32) == (tokens.offsets.dtype, tokens.values.dtype)
