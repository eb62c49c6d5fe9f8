"""What holds for every data set.

A test file imports these tests, and has fixtures `made`, which returns what `maker` yields, and `data`, what it makes.
"""

import pickle
import socket
from contextlib import contextmanager

import pytest
import torch

from firstlight.config.instantiate import instantiate
from firstlight.config.options import load_option
from firstlight.data.images import normalize
from support.datamodules import list_labels, prepare_data
from support.fakes import explain_absence, make_fake_files, raise_unreachable


@contextmanager
def make_dataset_factory(name, folder):
    """Yield a function that builds a data set, on small files of our own where it would read yours."""
    node = load_option("data", name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", raise_unreachable)
        files = make_fake_files(name, folder, patch)
        small = {"image_size": 32, "batch_size": 8} if files else {}
        own = node | {key: value for key, value in small.items() if key in node} | files

        def make():
            try:
                return prepare_data(instantiate(own))
            except (OSError, ValueError, RuntimeError) as error:
                if not files and (reason := explain_absence(error, node)):
                    pytest.skip(f"data={name} cannot be had here: {reason}")
                raise

        yield make


def list_samples(data) -> int:
    """Return the samples of a training batch."""
    return min(data.batch_size, len(data.datasets["train"]))


def test_the_split_is_the_same_each_time(data, made):
    assert list_labels(data.datasets["test"]) == list_labels(made().datasets["test"])


def test_a_batch_is_labelled_and_numbered(data):
    batch = next(iter(data.train_dataloader()))

    assert {"inputs", "labels", "ids"} == set(batch)
    assert (list_samples(data),) == tuple(batch["labels"].shape) == tuple(batch["ids"].shape)
    assert torch.int64 == batch["labels"].dtype


def test_nothing_on_its_way_to_the_device_has_64_bit_floats(data):
    batch = next(iter(data.val_dataloader()))
    inputs = batch["inputs"]
    tensors = [*inputs.values()] if isinstance(inputs, dict) else [inputs, normalize(inputs)]

    assert all(each.dtype != torch.float64 for each in tensors)


def test_what_a_worker_gets_can_be_pickled(data):
    pickle.dumps((data.datasets["train"], data.train_dataloader().collate_fn))


def test_worker_processes_give_the_same_batches(data):
    own = data.num_workers
    data.num_workers = 0
    alone = next(iter(data.val_dataloader()))
    data.num_workers = 1
    helped = next(iter(data.val_dataloader()))
    data.num_workers = own

    assert torch.equal(alone["ids"], helped["ids"])
    assert torch.equal(alone["labels"], helped["labels"])


def test_training_shuffles_and_leaves_out_a_short_last_batch(data):
    batches = list(data.train_dataloader().batch_sampler)
    shuffled = [index for batch in batches for index in batch]

    assert not data.drop_last or {list_samples(data)} == {len(batch) for batch in batches}
    assert shuffled != sorted(shuffled)


def test_validation_reads_each_sample_once(data):
    read = [index for batch in data.val_dataloader().batch_sampler for index in batch]

    assert list(range(len(data.datasets["val"]))) == read
