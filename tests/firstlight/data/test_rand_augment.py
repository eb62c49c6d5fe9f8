"""RandAugment of images in memory and of files: torchvision's transform, as a function of seed, epoch and sample."""

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from firstlight.data.fake_images import FakeImageDataModule
from firstlight.data.image_arrays import InMemoryImageDataset
from firstlight.data.image_augmentation import RandAugmentDataset
from firstlight.data.image_folder import ImageFileDataset
from firstlight.data.seeding import derive_seed

NOISE = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)


def test_rand_augment_is_the_transform_of_torchvision():
    images = np.stack([NOISE, NOISE[:, ::-1], NOISE // 2])
    dataset = RandAugmentDataset(InMemoryImageDataset(images, np.arange(3)), magnitude=12, seed=7)
    dataset.set_epoch(3)
    state = torch.get_rng_state()
    batch = dataset.__getitems__([2, 0])
    transform = v2.RandAugment(num_ops=2, magnitude=12, interpolation=InterpolationMode.BILINEAR)

    assert torch.equal(torch.get_rng_state(), state)
    for image, index in zip(batch["inputs"], (2, 0), strict=True):
        torch.manual_seed(derive_seed(7, 3, index))
        assert torch.equal(image, transform(torch.from_numpy(images[index].copy())))
    assert batch["labels"].tolist() == batch["ids"].tolist() == [2, 0]


def test_rand_augment_follows_crop_and_flip_of_a_file(tmp_path):
    Image.fromarray(NOISE.transpose(1, 2, 0)).save(tmp_path / "image.png")
    plain, augmented = (
        ImageFileDataset([tmp_path / "image.png"], [0], 16, augment=False, rand_augment=magnitude)[0]["inputs"]
        for magnitude in (None, 9)
    )
    torch.manual_seed(derive_seed(0, 0, 0))

    assert torch.equal(augmented, v2.RandAugment(magnitude=9, interpolation=InterpolationMode.BILINEAR)(plain))
    assert not torch.equal(augmented, plain)


def test_only_training_images_are_rand_augmented():
    plain, augmented = FakeImageDataModule(num_samples=16), FakeImageDataModule(num_samples=16, rand_augment=9)
    for data in (plain, augmented):
        data.setup()
    first, second = (
        {split: dataset.__getitems__(range(10))["inputs"] for split, dataset in data.datasets.items()}
        for data in (plain, augmented)
    )
    differs = {split: not torch.equal(images, second[split]) for split, images in first.items()}

    assert differs == {"train": True, "val": False, "test": False}
    assert plain.label_metadata == augmented.label_metadata
    # Each epoch differs, also through the dataloader, which sets it.
    loader = augmented.train_dataloader()
    loader.sampler.set_epoch(1)
    list(loader)
    assert int(augmented.datasets["train"].epoch) == 1
