"""Datasets of image files: corrupt files are skipped up to a limit, and crops are functions of the sample."""

import gc
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from firstlight.data.batch import identity_collate
from firstlight.data.image_folder import ImageFileDataset, ImageFolderDataModule, get_random_resized_crop_box
from firstlight.data.image_io import get_center_crop_box, read_image_crop
from firstlight.run.errors import DataError
from support.file_damage import flip_bytes, fuzz, get_error_message


def encode_image(format_name: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "a photo", 72.0
    file = io.BytesIO()
    Image.fromarray(pixels).resize((60, 45)).save(file, format_name, exif=exif)
    return file.getvalue()


ENCODED = {name: encode_image(name) for name in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")}


@settings(fuzz, max_examples=300)
@given(data=st.data(), format_name=st.sampled_from(list(ENCODED)))
@pytest.mark.filterwarnings("error")
def test_corrupt_image_is_read_or_rejected_in_one_line(tmp_path, data, format_name):
    (tmp_path / "image").write_bytes(flip_bytes(data, ENCODED[format_name]))
    crop_fn = data.draw(st.sampled_from([get_center_crop_box, get_random_resized_crop_box]))

    assert "image (" in (get_error_message(lambda: read_image_crop(tmp_path / "image", 32, crop_fn)) or "image (")


@pytest.mark.parametrize("error", [MemoryError(), KeyError("x"), IndexError(), OverflowError("a\nb"), EOFError()])
def test_every_decoder_error_becomes_one_line(tmp_path, error):
    (tmp_path / "image").write_bytes(ENCODED["PNG"])

    def raise_error(image, size):
        raise error

    message = get_error_message(lambda: read_image_crop(tmp_path / "image", 32, raise_error))
    assert "Repair or remove the file" in (message or "")


@pytest.fixture
def paths(tmp_path):
    """Return the paths of 12 images. Images 3, 7 and 8 are corrupt."""
    paths = [tmp_path / f"{index}.png" for index in range(12)]
    for index, path in enumerate(paths):
        path.write_bytes(ENCODED["PNG"][: 80 if index in (3, 7, 8) else None])
    return paths


def make_dataset(paths, **kwargs) -> ImageFileDataset:
    return ImageFileDataset(paths, [index % 2 for index in range(len(paths))], 16, augment=True, **kwargs)


def load_batches(dataset, num_workers: int, epochs: int = 1) -> list:
    # A server that forks workers would not write to the captured streams.
    workers = {"persistent_workers": True, "multiprocessing_context": "fork"} if num_workers else {}
    loader = DataLoader(dataset, batch_size=3, num_workers=num_workers, collate_fn=identity_collate, **workers)
    return [batch for _ in range(epochs) for batch in loader]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_skipped_images_are_counted_once_across_workers_and_epochs(paths, num_workers, capfd):
    dataset = make_dataset(paths, max_skipped_samples=3)
    ids = [batch["ids"].tolist() for batch in load_batches(dataset, num_workers, epochs=2)]

    assert ids == [[0, 1, 2], [4, 5], [6], [9, 10, 11]] * 2
    assert int(dataset.is_unreadable.sum()) == 3
    lines = capfd.readouterr().err.splitlines()
    assert 3 == len(lines) == len({line.partition(": Cannot")[2] for line in lines})
    assert all(" of at most 3): Cannot read image " in line for line in lines)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_more_unreadable_images_than_allowed_are_rejected(paths, num_workers, monkeypatch):
    # After an error, torch waits for each worker before it kills the worker: 5 s by default.
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    message = "Repair or remove the file, or skip up to 3 unreadable images with data.max_skipped_samples=3"

    with pytest.raises(DataError, match=message) as caught:
        load_batches(make_dataset(paths, max_skipped_samples=2), num_workers)
    del caught
    gc.collect()


def test_unreadable_image_is_rejected_by_default(paths):
    message = r"3.png .*. Repair or remove the file, or skip up to 1 unreadable images with data.max_skipped_samples=1"

    with pytest.raises(DataError, match=message):
        load_batches(make_dataset(paths), 0)


def test_batch_without_readable_image_is_rejected(paths):
    with pytest.raises(DataError, match=r"None of the 2 images in a batch can be read, e.g. .*7.png. Repair the"):
        make_dataset(paths, max_skipped_samples=9).__getitems__([7, 8])


def test_datamodule_passes_arguments_to_datasets(tmp_path, paths):
    for name in ("red", "blue"):
        (tmp_path / "root" / name).mkdir(parents=True)
        for index in range(20):
            (tmp_path / "root" / name / f"{index}.png").write_bytes(ENCODED["PNG"])
    data = ImageFolderDataModule(str(tmp_path / "root"), image_size=16, num_workers=0, max_skipped_samples=2)
    data.setup()

    assert [dataset.max_skipped_samples for dataset in data.datasets.values()] == [2, 2, 2]
    assert [data.run_seed] * 3 == [dataset.seed for dataset in data.datasets.values()]
    assert [data.datasets[name].augment for name in ("train", "val", "test")] == [True, False, False]


def test_class_directory_without_images_is_named(tmp_path):
    for name in ("cat", "dog", "owl"):
        (tmp_path / name).mkdir()
    (tmp_path / "cat" / "0.png").write_bytes(ENCODED["PNG"])

    with pytest.raises(DataError, match="dog contains no images. Use an image or a directory with images .*.jpg"):
        ImageFolderDataModule(str(tmp_path)).setup()


@pytest.fixture
def valid_paths(paths):
    return [paths[index] for index in (0, 1, 2, 4, 5, 6)]


def load_images(dataset, num_workers: int) -> torch.Tensor:
    return torch.cat([batch["inputs"] for batch in load_batches(dataset, num_workers)])


def test_crops_depend_on_seed_epoch_and_sample_only(valid_paths):
    first, second = make_dataset(valid_paths, seed=1), make_dataset(valid_paths, seed=1)
    torch.manual_seed(0)
    images = load_images(first, num_workers=0)
    torch.manual_seed(5)

    assert torch.equal(images, load_images(second, num_workers=2))
    assert torch.equal(images[4], second[4]["inputs"])
    assert not torch.equal(images, load_images(make_dataset(valid_paths, seed=2), num_workers=0))
    # Each sample has its own crop, although the files are identical.
    assert len({image.numpy().tobytes() for image in images}) == 6


def test_persistent_workers_see_next_epoch(valid_paths):
    dataset = make_dataset(valid_paths, seed=1)
    loader = DataLoader(dataset, batch_size=3, num_workers=2, collate_fn=identity_collate, persistent_workers=True)
    images = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        images.append(torch.cat([batch["inputs"] for batch in loader]))

    assert torch.equal(images[0], images[2])
    assert not any(torch.equal(*pair) for pair in zip(images[0], images[1], strict=True))


def test_reading_images_leaves_rng_state_unchanged(valid_paths):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    make_dataset(valid_paths).__getitems__([0, 1, 2])

    assert torch.equal(expected, torch.rand(2))
