"""Image batches."""

import pytest
import torch

from firstlight.data.fake_images import FakeImageDataModule
from firstlight.data.image_arrays import shift_images
from firstlight.run.errors import ConfigError


def test_shifted_images_are_padded_with_zeros():
    images = torch.arange(1, 26, dtype=torch.uint8).view(1, 1, 5, 5).repeat(3, 1, 1, 1)
    unshifted, down, left = shift_images(images, 1, down=torch.tensor([1, 0, 1]), right=torch.tensor([1, 1, 2]))[:, 0]

    assert torch.uint8 == unshifted.dtype
    assert torch.equal(unshifted, images[0, 0])
    assert torch.equal(down[1:], images[0, 0, :-1])
    assert torch.equal(left[:, :-1], images[0, 0, :, 1:])
    assert not down[0].any()
    assert not left[:, -1].any()


def test_batch_size_below_one_is_rejected():
    with pytest.raises(ConfigError, match="Invalid value for data.batch_size: expected .* at least 1, got 0"):
        FakeImageDataModule(batch_size=0).setup()
