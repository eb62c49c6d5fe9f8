"""What holds for every data set in configs/data: a new one is tested by being there."""

import pickle
import socket

import pytest
import torch

from firstlight.build import construct
from firstlight.config.options import choice
from firstlight.data.images import normalised, shifted
from firstlight.data.split import stratified
from support.choices import names
from support.prepared import labels_of, prepared
from support.stand_ins import absence, stand_in, unreachable


@pytest.fixture(scope="module", params=names("data"))
def made(request, tmp_path_factory):
    """Return a function that builds a data set of configs/data, on small files of our own where it would read yours."""
    node = choice("data", request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", unreachable)
        files = stand_in(request.param, tmp_path_factory.mktemp(request.param), patch)
        small = {"image_size": 32, "batch_size": 8} if files else {}
        own = node | {name: value for name, value in small.items() if name in node} | files

        def make():
            try:
                return prepared(construct(own))
            except (OSError, ValueError, RuntimeError) as error:
                if not files and (reason := absence(error, node)):
                    pytest.skip(f"data={request.param} cannot be had here: {reason}")
                raise

        yield make


@pytest.fixture(scope="module")
def data(made):
    return made()


def samples_of(data) -> int:
    """Return the samples of a training batch."""
    return min(data.batch_size, len(data.datasets["train"]))


def test_the_split_is_the_same_each_time(data, made):
    assert labels_of(data.datasets["test"]) == labels_of(made().datasets["test"])


def test_a_batch_is_labelled_and_numbered(data):
    batch = next(iter(data.train_dataloader()))

    assert {"inputs", "labels", "ids"} == set(batch)
    assert (samples_of(data),) == tuple(batch["labels"].shape) == tuple(batch["ids"].shape)
    assert torch.int64 == batch["labels"].dtype


def test_nothing_on_its_way_to_the_device_has_64_bit_floats(data):
    batch = next(iter(data.val_dataloader()))
    inputs = batch["inputs"]
    tensors = [*inputs.values()] if isinstance(inputs, dict) else [inputs, normalised(inputs)]

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

    assert not data.drop_last or {samples_of(data)} == {len(batch) for batch in batches}
    assert shuffled != sorted(shuffled)


def test_validation_reads_each_sample_once(data):
    read = [index for batch in data.val_dataloader().batch_sampler for index in batch]

    assert list(range(len(data.datasets["val"]))) == read


def test_shifting_moves_images_and_brings_in_zeros():
    images = torch.arange(1, 26, dtype=torch.uint8).view(1, 1, 5, 5).repeat(3, 1, 1, 1)
    still, lower, left = shifted(images, 1, down=torch.tensor([1, 0, 1]), right=torch.tensor([1, 1, 2]))[:, 0]

    assert torch.uint8 == still.dtype
    assert torch.equal(still, images[0, 0])
    assert torch.equal(lower[1:], images[0, 0, :-1])
    assert torch.equal(left[:, :-1], images[0, 0, :, 1:])
    assert not lower[0].any()
    assert not left[:, -1].any()


def test_an_empty_batch_is_refused():
    fake = next(name for name in names("data") if name.startswith("fake_"))
    with pytest.raises(ValueError, match="A batch holds at least one sample, but data.batch_size=0"):
        construct({**choice("data", fake), "batch_size": 0})


def test_too_few_samples_for_a_split_are_refused():
    with pytest.raises(ValueError, match="3 samples of 2 classes .the rarest has 1. are too few for a test share of 0"):
        stratified([0, 0, 1], 0.1, 0.1)
