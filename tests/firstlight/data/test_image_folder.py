"""One's own images: how a folder is read and split."""

import pytest
import torch
from PIL import Image

from firstlight.data.image_folder import ImageFolderDataModule
from support.datamodules import prepare_data


def picture(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (80, 60), colour).save(path)


@pytest.fixture
def photos(tmp_path):
    for index in range(20):
        picture(tmp_path / "photos" / "red" / f"{index}.jpg", (200, index, 0))
        picture(tmp_path / "photos" / "blue" / "deep" / f"{index}.png", (0, index, 200))
    return tmp_path / "photos"


def test_a_tree_of_folders_is_split(photos):
    data = prepare_data(ImageFolderDataModule(root=str(photos), image_size=64, batch_size=4, num_workers=0))
    batch = next(iter(data.train_dataloader()))

    assert data.class_names == ["blue", "red"]
    assert {name: len(each) for name, each in data.datasets.items()} == {"train": 32, "val": 4, "test": 4}
    assert tuple(batch["inputs"].shape) == (4, 3, 64, 64)
    assert torch.uint8 == batch["inputs"].dtype


def test_folders_of_splits_are_used_as_they_are(tmp_path):
    for split, count in {"train": 20, "val": 3, "test": 2}.items():
        for name in ("red", "blue"):
            for index in range(count):
                picture(tmp_path / split / name / f"{index}.png", (index, 0, 0))
    data = prepare_data(ImageFolderDataModule(root=str(tmp_path), image_size=32, num_workers=0))

    assert {name: len(each) for name, each in data.datasets.items()} == {"train": 40, "val": 6, "test": 4}


@pytest.mark.slow
def test_a_loader_of_photos_survives_the_spawn_of_macos(photos):
    data = prepare_data(ImageFolderDataModule(root=str(photos), image_size=32, batch_size=4, num_workers=1))
    loader = data.train_dataloader()
    spawned = torch.utils.data.DataLoader(
        loader.dataset, batch_size=4, num_workers=1, multiprocessing_context="spawn", collate_fn=loader.collate_fn
    )

    assert tuple(next(iter(spawned))["inputs"].shape) == (4, 3, 32, 32)


def test_a_corrupt_photo_is_named(photos):
    (photos / "red" / "0.jpg").write_bytes(b"broken")
    data = prepare_data(ImageFolderDataModule(root=str(photos), image_size=32, num_workers=0))

    with pytest.raises(ValueError, match=r"Cannot read the image .*red/0.jpg .*: repair or remove it"):
        [batch for name in data.datasets for batch in data.make_dataloader(data.datasets[name])]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "is no folder: give one that holds a folder of images per class"),
        (lambda path: (path / "only").mkdir(parents=True), "needs two classes or more, but .* holds 1 class folders"),
        (lambda path: [(path / name).mkdir(parents=True) for name in "ab"], "a holds no image: give a folder or file"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(tmp_path, make, sentence):
    make(tmp_path / "photos")

    with pytest.raises(ValueError, match=sentence):
        ImageFolderDataModule(root=str(tmp_path / "photos")).setup()
