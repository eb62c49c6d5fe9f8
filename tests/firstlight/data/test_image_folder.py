"""Image folders: how they are read and split, and which ones are rejected."""

import pytest
import torch
from PIL import Image

from firstlight.data.image_folder import ImageFolderDataModule
from firstlight.run.errors import DataError
from support.datamodules import count_samples, prepare_data


def write_image(path, color):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (80, 60), color).save(path)


@pytest.fixture
def image_dir(tmp_path):
    """Return a directory with 20 images in each of two classes, some in a subdirectory."""
    for index in range(20):
        write_image(tmp_path / "images" / "red" / f"{index}.jpg", (200, index, 0))
        write_image(tmp_path / "images" / "blue" / "deep" / f"{index}.png", (0, index, 200))
    return tmp_path / "images"


def test_class_directories_are_split(image_dir):
    data = prepare_data(ImageFolderDataModule(root=str(image_dir), image_size=64, batch_size=4, num_workers=0))
    batch = next(iter(data.train_dataloader()))

    assert data.class_names == ["blue", "red"]
    assert count_samples(data) == {"train": 32, "val": 4, "test": 4}
    assert tuple(batch["inputs"].shape) == (4, 3, 64, 64)
    assert torch.uint8 == batch["inputs"].dtype


def test_split_directories_are_used_unchanged(tmp_path):
    for split, count in {"train": 20, "val": 3, "test": 2}.items():
        for name in ("red", "blue"):
            for index in range(count):
                write_image(tmp_path / split / name / f"{index}.png", (index, 0, 0))
    data = prepare_data(ImageFolderDataModule(root=str(tmp_path), image_size=32, num_workers=0))

    assert count_samples(data) == {"train": 40, "val": 6, "test": 4}


@pytest.mark.slow
def test_dataloader_works_with_spawn_start_method(image_dir):
    data = prepare_data(ImageFolderDataModule(root=str(image_dir), image_size=32, batch_size=4, num_workers=1))
    loader = data.train_dataloader()
    # macOS starts processes with spawn.
    spawned = torch.utils.data.DataLoader(
        loader.dataset, batch_size=4, num_workers=1, multiprocessing_context="spawn", collate_fn=loader.collate_fn
    )

    assert tuple(next(iter(spawned))["inputs"].shape) == (4, 3, 32, 32)


def test_corrupt_image_is_named(image_dir):
    (image_dir / "red" / "0.jpg").write_bytes(b"broken")
    data = prepare_data(ImageFolderDataModule(root=str(image_dir), image_size=32, num_workers=0))

    with pytest.raises(DataError, match=r"Cannot read image .*red/0.jpg \(.*\). Repair or remove the file"):
        [batch for name in data.datasets for batch in data.make_dataloader(data.datasets[name])]


@pytest.mark.parametrize(
    ("make_dirs", "message"),
    [
        (lambda path: None, "is not a directory. Set data.root to a directory with one subdirectory of"),
        (lambda path: (path / "only").mkdir(parents=True), "must contain at least 2 class directories, got 1"),
        (lambda path: [(path / name).mkdir(parents=True) for name in "ab"], "a contains no images. Use an image or a"),
    ],
)
def test_unusable_directory_is_rejected(tmp_path, make_dirs, message):
    make_dirs(tmp_path / "images")

    with pytest.raises(DataError, match=message):
        ImageFolderDataModule(root=str(tmp_path / "images")).setup()
