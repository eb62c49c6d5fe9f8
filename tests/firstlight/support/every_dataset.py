"""Tests that every dataset must pass.

A test module imports these tests and defines two fixtures: `data_factory`, what `make_data_factory` yields, and `data`,
the datamodule that it returns.
"""

import pickle
import socket
from contextlib import contextmanager

import pytest
import torch

from firstlight.config.instantiate import instantiate
from firstlight.config.options import load_option
from firstlight.data.dataloader import start_worker_server
from firstlight.data.normalization import normalize
from support.datamodules import list_labels, prepare_data
from support.fakes import explain_absence, make_fake_files, raise_unreachable


@contextmanager
def make_data_factory(name, data_dir):
    """Yield a function that builds a datamodule. Small fake files replace downloads and files of the user."""
    node = load_option("data", name)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(socket, "getaddrinfo", raise_unreachable)
        fake_files = make_fake_files(name, data_dir, monkeypatch)
        small = {"image_size": 32, "batch_size": 8} if fake_files else {}
        config = node | {key: value for key, value in small.items() if key in node} | fake_files

        def make_data():
            try:
                return prepare_data(instantiate(config))
            except (OSError, ValueError, RuntimeError) as error:
                if not fake_files and (reason := explain_absence(error, node)):
                    pytest.skip(f"data={name} is not available here: {reason}")
                raise

        yield make_data


def get_batch_size(data) -> int:
    """Return the number of samples in the first training batch."""
    return min(data.batch_size, len(data.datasets["train"]))


def test_split_is_reproducible(data, data_factory):
    assert list_labels(data.datasets["test"]) == list_labels(data_factory().datasets["test"])


def test_batch_has_labels_and_ids(data):
    batch = next(iter(data.train_dataloader()))

    assert {"inputs", "labels", "ids"} == set(batch)
    assert (get_batch_size(data),) == tuple(batch["labels"].shape) == tuple(batch["ids"].shape)
    assert torch.int64 == batch["labels"].dtype


def test_inputs_are_not_float64(data):
    batch = next(iter(data.val_dataloader()))
    inputs = batch["inputs"]
    tensors = [*inputs.values()] if isinstance(inputs, dict) else [inputs, normalize(inputs)]

    assert all(tensor.dtype != torch.float64 for tensor in tensors)


def test_dataset_is_picklable_for_workers(data):
    pickle.dumps((data.datasets["train"], data.train_dataloader().collate_fn))


def test_worker_loads_same_batch_as_main_process(data):
    num_workers = data.num_workers
    data.num_workers = 0
    from_main = next(iter(data.val_dataloader()))
    data.num_workers = 1
    from_worker = next(iter(data.val_dataloader()))
    data.num_workers = num_workers

    assert torch.equal(from_main["ids"], from_worker["ids"])
    assert torch.equal(from_main["labels"], from_worker["labels"])


# Linux starts workers with forkserver from Python 3.14 on.
@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "val"])
def test_worker_of_a_server_loads_same_batch_as_main_process(data, split):
    make_loader = getattr(data, f"{split}_dataloader")
    num_workers = data.num_workers
    data.num_workers = 0
    from_main = next(iter(make_loader()))
    start_worker_server(type(data.datasets[split]).__module__)
    data.num_workers = 1
    loader = make_loader()
    loader.multiprocessing_context = "forkserver"
    from_worker = next(iter(loader))
    data.num_workers = num_workers

    torch.testing.assert_close(from_worker, from_main, rtol=0, atol=0)


def test_training_shuffles_and_drops_incomplete_batch(data):
    batches = list(data.train_dataloader().batch_sampler)
    order = [index for batch in batches for index in batch]

    assert not data.drop_last or {get_batch_size(data)} == {len(batch) for batch in batches}
    assert order != sorted(order)


def test_validation_loads_each_sample_once(data):
    indices = [index for batch in data.val_dataloader().batch_sampler for index in batch]

    assert list(range(len(data.datasets["val"]))) == indices
