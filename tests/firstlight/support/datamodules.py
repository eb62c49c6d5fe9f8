"""Data sets as a training finds them."""

import pytest

from firstlight.data import word_tokenizer
from firstlight.data.text import TextDataModule


def prepare_data(data):
    data.prepare_data()
    data.setup()
    if isinstance(data, TextDataModule):
        pytest.importorskip("transformers", reason="the extra text is not installed")
        data.set_tokenizer(word_tokenizer.build_word_tokenizer(data.model_kwargs["vocabulary"]))
    return data


def list_labels(dataset, most: int = 500) -> list[int]:
    """Return the labels of the first samples."""
    return dataset.__getitems__(range(min(len(dataset), most)))["labels"].tolist()
