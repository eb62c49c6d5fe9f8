"""Mixup, CutMix, random erasing and RandAugment: known results, one result per image, and functions of the seed."""

import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from firstlight.data.fake_images import FakeImageDataModule
from firstlight.data.image_arrays import InMemoryImageDataset
from firstlight.data.image_augmentation import RandAugmentDataset, erase_rectangles, mix_images
from firstlight.data.image_folder import ImageFileDataset
from firstlight.data.normalization import normalize

pytest.importorskip("timm", reason="the extra timm is not installed")

NOISE = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
ALL_ON = {"mixup_alpha": 0.2, "cutmix_alpha": 1.0, "random_erasing": 0.5}


def make_batch(count=8):
    """Return a batch of equal images with different labels."""
    images = torch.from_numpy(NOISE).repeat(count, 1, 1, 1)
    return {"inputs": images, "labels": torch.arange(count), "ids": torch.arange(count)}


def transfer(data, batch, seed=0, epoch=0, batch_idx=0, rank=0, training=True):
    """Return a batch after the hook of a dataset with 8 classes, at one batch of a training run."""
    data.run_seed, data.label_metadata = seed, {"class_names": list("abcdefgh")}
    progress = SimpleNamespace(current=SimpleNamespace(processed=batch_idx))
    data.trainer = SimpleNamespace(
        training=training,
        current_epoch=epoch,
        global_rank=rank,
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
        precision_plugin=SimpleNamespace(convert_input=lambda inputs: inputs),
    )
    return data.on_after_batch_transfer(batch, 0)


def count_distinct(images):
    """Return the number of different images in a batch."""
    return len(images.flatten(1).unique(dim=0))


def test_mixup_is_the_weighted_mean_with_the_mirrored_image():
    images = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 2, 1, 1])
    original = images.clone()
    np.random.seed(5)  # noqa: NPY002 - timm uses the global generator
    mixed, targets = mix_images(images, labels, 3, mixup_alpha=0.4, cutmix_alpha=0.0)
    np.random.seed(5)  # noqa: NPY002
    np.random.rand()  # noqa: NPY002 - whether the batch is mixed, which is always so
    lam = np.random.beta(0.4, 0.4)  # noqa: NPY002
    one_hot = np.eye(3)[labels]

    assert 0.01 < lam < 0.99
    torch.testing.assert_close(mixed, lam * original + (1 - lam) * original.flip(0))
    np.testing.assert_allclose(targets, lam * one_hot + (1 - lam) * one_hot[::-1], rtol=1e-6)
    torch.testing.assert_close(targets.sum(1), torch.ones(6))
    assert count_distinct(mixed) == 6


def test_cutmix_takes_the_fraction_of_its_targets_from_the_mirrored_image():
    values = torch.arange(8.0)
    np.random.seed(5)  # noqa: NPY002
    mixed, targets = mix_images(values.view(8, 1, 1, 1).repeat(1, 3, 16, 16), torch.arange(8), 8, 0.0, 1.0)

    fractions = (mixed == values.flip(0).view(8, 1, 1, 1)).float().mean((1, 2, 3))
    assert 0 < fractions[0] < 1
    expected = (1 - fractions).view(8, 1) * torch.eye(8) + fractions.view(8, 1) * torch.eye(8).flip(0)
    torch.testing.assert_close(targets, expected)
    assert torch.equal(mixed.amax((1, 2, 3)), torch.maximum(values, values.flip(0)))
    # A rectangle: each row has either none of its pixels, or the same columns.
    taken = mixed[0, 0] == 7
    assert torch.equal(taken, taken.any(1, keepdim=True) & taken.any(0, keepdim=True))


def test_each_batch_gets_either_mixup_or_cutmix():
    np.random.seed(0)  # noqa: NPY002
    numbers = []
    for _ in range(200):
        images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).repeat(1, 3, 16, 16)
        mixed, _ = mix_images(images, torch.arange(2), 2, mixup_alpha=1.0, cutmix_alpha=1.0)
        numbers.append(mixed[0].unique().numel())  # mixup has one value, CutMix usually two

    # 100 expected; the standard deviation is 7. Some rectangles are empty or cover the image.
    assert 75 < numbers.count(2) < 125


@pytest.mark.parametrize("count", [1, 5])
def test_last_image_of_an_odd_batch_stays_unmixed(count):
    images = torch.rand(count, 3, 4, 4)
    original = images.clone()
    mixed, targets = mix_images(images, torch.arange(count), 5, 1.0, 0.0)

    assert torch.equal(mixed[-1], original[-1])
    assert torch.equal(targets[-1], torch.eye(5)[count - 1])
    assert targets.shape == (count, 5)
    assert not torch.equal(mixed[:-1], original[:-1]) or count == 1


def test_erased_rectangles_have_the_documented_area():
    random.seed(0)
    erased = erase_rectangles(torch.ones(400, 3, 64, 64), 1.0) == 0
    area, rows, columns = erased[:, 0].float().mean((1, 2)), erased[:, 0].any(2).sum(1), erased[:, 0].any(1).sum(1)

    assert torch.equal(area, (rows * columns) / 64**2)  # one rectangle
    assert torch.equal(erased[:, 0], erased.all(1))  # in all channels
    # Sides are rounded to pixels: by up to 0.5 of at least 5 pixels.
    assert 0.02 * 0.8 < area.min() < 0.04
    assert 0.3 < area.max() < 1 / 3 * 1.05
    assert 0.3 * 0.8 < (rows / columns).min() < 0.4
    assert 2.5 < (rows / columns).max() < 3.4 * 1.2


def test_erasing_has_its_probability():
    random.seed(0)
    erased = (erase_rectangles(torch.ones(1000, 3, 8, 8), 0.1) == 0).flatten(1).any(1)

    # 100 expected, standard deviation 9.5.
    assert 70 < erased.sum() < 130


def augment_in_memory(tmp_path, data, **settings):
    """Return 8 equal images after the hook of a dataset in memory with some class variables or settings."""
    module = FakeImageDataModule(augment=True, **settings)
    vars(module).update(data)
    return transfer(module, make_batch())["inputs"]


def augment_files(tmp_path, **settings):
    """Return 8 equal images of files."""
    for index in range(8):
        Image.fromarray(NOISE.transpose(1, 2, 0)).save(tmp_path / f"{index}.png")
    dataset = ImageFileDataset([tmp_path / f"{index}.png" for index in range(8)], [0] * 8, 32, **settings)
    return dataset.__getitems__(range(8))["inputs"]


def rand_augment_in_memory(tmp_path):
    """Return 8 equal images after RandAugment."""
    images = InMemoryImageDataset(np.stack([NOISE] * 8), np.arange(8))
    return RandAugmentDataset(images, magnitude=15, seed=1).__getitems__(range(8))["inputs"]


@pytest.mark.parametrize(
    ("augment", "expected"),
    [
        (lambda path: augment_in_memory(path, {"max_shift": 8}), 8),
        (lambda path: augment_in_memory(path, {"horizontal_flip": True}), 2),  # there are only two
        (lambda path: augment_in_memory(path, {}, random_erasing=1.0), 8),
        (lambda path: augment_files(path, augment=True), 8),
        (lambda path: augment_files(path, augment=False, rand_augment=15), 8),
        (rand_augment_in_memory, 8),
        (lambda path: augment_in_memory(path, {}), 1),
        # Mixing equal images gives the same image, whatever the weights are.
        (lambda path: augment_in_memory(path, {}, cutmix_alpha=1.0), 1),
    ],
    ids=["shift", "flip", "erasing", "crop", "RandAugment of files", "RandAugment in memory", "none", "CutMix"],
)
def test_equal_images_of_a_batch_get_different_results(tmp_path, augment, expected):
    assert count_distinct(augment(tmp_path)) == expected


@pytest.mark.parametrize("settings", [{"mixup_alpha": 0.5}, {"cutmix_alpha": 1.0}, {"random_erasing": 1.0}])
def test_seed_epoch_batch_and_rank_determine_the_result(settings):
    data = FakeImageDataModule(**settings)
    batch = {**make_batch(), "inputs": torch.from_numpy(np.stack([np.roll(NOISE, index, 2) for index in range(8)]))}
    first = transfer(data, batch)

    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    again = transfer(data, batch)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])  # noqa: NPY002
    assert states[2] == random.getstate()
    for change in ({"seed": 1}, {"epoch": 1}, {"batch_idx": 1}, {"rank": 1}):
        assert not torch.equal(transfer(data, batch, **change)["inputs"], first["inputs"]), change


def test_images_are_erased_before_they_are_mixed():
    data = FakeImageDataModule(mixup_alpha=0.5, random_erasing=1.0)
    result = transfer(data, make_batch())
    erased = transfer(FakeImageDataModule(random_erasing=1.0), make_batch())["inputs"]
    weights = result["labels"].diagonal().view(8, 1, 1, 1)

    torch.testing.assert_close(result["inputs"], weights * erased + (1 - weights) * erased.flip(0))


def test_evaluation_is_not_augmented():
    result = transfer(FakeImageDataModule(**ALL_ON), make_batch(), training=False)

    assert torch.equal(result["inputs"], normalize(make_batch()["inputs"]))
    assert torch.equal(result["labels"], torch.arange(8))


def test_timm_is_not_imported_unless_it_is_needed(monkeypatch):
    for name in ("timm", "timm.data", "timm.data.mixup", "timm.data.random_erasing"):
        monkeypatch.setitem(sys.modules, name, None)
    result = transfer(FakeImageDataModule(augment=True), make_batch())

    assert torch.equal(result["inputs"], normalize(make_batch()["inputs"]))
    with pytest.raises(ImportError):
        transfer(FakeImageDataModule(**ALL_ON), make_batch())
