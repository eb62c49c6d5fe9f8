"""CIFAR-10: reading its files, and a failed download."""

import numpy as np
import pytest

from firstlight.run.errors import DataError
from support.datamodules import count_samples

from my_project.data.cifar10 import CIFAR10DataModule


def make_fake_files(node, data_dir, monkeypatch):
    """Replace torchvision's dataset by a few random photos. Return the config keys with which they are read."""

    class FakeCIFAR10:
        classes = ("cat", "dog")

        def __init__(self, root, train=True, download=False):
            count = 40 if train else 10
            self.data = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
            self.targets = [index % 2 for index in range(count)]

    monkeypatch.setattr("torchvision.datasets.CIFAR10", FakeCIFAR10)
    return {"root": str(data_dir)}


def test_failed_download_is_reported(tmp_path, monkeypatch):
    def raise_unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", raise_unreachable)

    with pytest.raises(DataError, match="could not be downloaded .no network.. Check .* or use another dataset"):
        CIFAR10DataModule(root=str(tmp_path)).prepare_data()


def test_splits_and_shape(tmp_path, monkeypatch):
    data = CIFAR10DataModule(**make_fake_files({}, tmp_path, monkeypatch))
    data.setup()

    assert count_samples(data) == {"train": 36, "val": 4, "test": 10}
    assert tuple(data.datasets["test"].images.shape[1:]) == (3, 32, 32)
