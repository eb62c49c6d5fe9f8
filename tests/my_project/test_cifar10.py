"""CIFAR-10 is read from its files, which are downloaded once."""

import numpy as np
import pytest

from my_project.data.cifar10 import CIFAR10


def test_cifar10_without_network_says_what_to_do(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)

    with pytest.raises(ValueError, match="could not be downloaded .no network.: connect .* or choose another data="):
        CIFAR10(root=str(tmp_path)).prepare_data()


def test_cifar10_is_read_from_its_files(tmp_path, monkeypatch):
    class Source:
        classes = ("cat", "dog")

        def __init__(self, root, train):
            count = 40 if train else 10
            self.data = np.zeros((count, 32, 32, 3), np.uint8)
            self.targets = [index % 2 for index in range(count)]

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Source)
    data = CIFAR10(root=str(tmp_path))
    data.setup()

    assert {name: len(each) for name, each in data.datasets.items()} == {"train": 36, "val": 4, "test": 10}
    assert tuple(data.datasets["test"].images.shape[1:]) == (3, 32, 32)
