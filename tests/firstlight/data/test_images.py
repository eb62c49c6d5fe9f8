"""Images on their way into a batch."""

import pytest
import torch

from firstlight.data.fake_images import FakeImageDataModule
from firstlight.data.images import shift_images


def test_shifting_moves_images_and_brings_in_zeros():
    images = torch.arange(1, 26, dtype=torch.uint8).view(1, 1, 5, 5).repeat(3, 1, 1, 1)
    still, lower, left = shift_images(images, 1, down=torch.tensor([1, 0, 1]), right=torch.tensor([1, 1, 2]))[:, 0]

    assert torch.uint8 == still.dtype
    assert torch.equal(still, images[0, 0])
    assert torch.equal(lower[1:], images[0, 0, :-1])
    assert torch.equal(left[:, :-1], images[0, 0, :, 1:])
    assert not lower[0].any()
    assert not left[:, -1].any()


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="A batch holds at least one sample, but data.batch_size=0"):
        FakeImageDataModule(batch_size=0).setup()
