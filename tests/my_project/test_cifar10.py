"""CIFAR-10 is read from its files, which are downloaded once."""

import numpy as np
import pytest

from my_project.data.cifar10 import CIFAR10DataModule


def stand_in(node, folder, patch):
    """Let torchvision have read a few photos; return the settings of the data set."""

    class Source:
        classes = ("cat", "dog")

        def __init__(self, root, train=True, download=False):
            count = 40 if train else 10
            self.data = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
            self.targets = [index % 2 for index in range(count)]

    patch.setattr("torchvision.datasets.CIFAR10", Source)
    return {"root": str(folder)}


def test_cifar10_without_network_says_what_to_do(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)

    with pytest.raises(ValueError, match="could not be downloaded .no network.: connect .* or choose another data="):
        CIFAR10DataModule(root=str(tmp_path)).prepare_data()


def test_cifar10_is_read_from_its_files(tmp_path, monkeypatch):
    data = CIFAR10DataModule(**stand_in({}, tmp_path, monkeypatch))
    data.setup()

    assert {name: len(each) for name, each in data.datasets.items()} == {"train": 36, "val": 4, "test": 10}
    assert tuple(data.datasets["test"].images.shape[1:]) == (3, 32, 32)
