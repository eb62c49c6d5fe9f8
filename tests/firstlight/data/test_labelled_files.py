"""Image files: damaged ones are left out as far as that is allowed, and crops are functions of the sample."""

import gc
import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from firstlight.data.datamodule import identity_collate
from firstlight.data.image_folder import ImageFileDataset, ImageFolderDataModule, get_random_resized_crop_box
from firstlight.data.image_io import get_center_crop_box, read_image_crop
from support.file_damage import flip_bytes, fuzz, get_error_message


def encoded(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "a photo", 72.0
    file = io.BytesIO()
    Image.fromarray(pixels).resize((60, 45)).save(file, kind, exif=exif)
    return file.getvalue()


WHOLE = {kind: encoded(kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")}


@settings(fuzz, max_examples=300)
@given(data=st.data(), kind=st.sampled_from(list(WHOLE)))
@pytest.mark.filterwarnings("error")
def test_a_damaged_image_is_read_or_refused_in_one_line(tmp_path, data, kind):
    (tmp_path / "photo").write_bytes(flip_bytes(data, WHOLE[kind]))
    choose = data.draw(st.sampled_from([get_center_crop_box, get_random_resized_crop_box]))

    assert "photo (" in (get_error_message(lambda: read_image_crop(tmp_path / "photo", 32, choose)) or "photo (")


@pytest.mark.parametrize("error", [MemoryError(), KeyError("x"), IndexError(), OverflowError("a\nb"), EOFError()])
def test_whatever_a_decoder_raises_becomes_a_sentence(tmp_path, error):
    (tmp_path / "photo").write_bytes(WHOLE["PNG"])

    def choose(image, size):
        raise error

    assert "repair or remove it" in (get_error_message(lambda: read_image_crop(tmp_path / "photo", 32, choose)) or "")


@pytest.fixture
def paths(tmp_path):
    """Return the paths of 12 images, of which 3, 7 and 8 are damaged."""
    found = [tmp_path / f"{index}.png" for index in range(12)]
    for index, path in enumerate(found):
        path.write_bytes(WHOLE["PNG"][: 80 if index in (3, 7, 8) else None])
    return found


def photos(paths, **given) -> ImageFileDataset:
    return ImageFileDataset(paths, [index % 2 for index in range(len(paths))], 16, augment=True, **given)


def batches(dataset, num_workers: int, epochs: int = 1) -> list:
    loader = DataLoader(
        dataset, batch_size=3, num_workers=num_workers, collate_fn=identity_collate, persistent_workers=num_workers > 0
    )
    return [batch for _ in range(epochs) for batch in loader]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_images_left_out_are_counted_once_over_workers_and_epochs(paths, num_workers, capfd):
    dataset = photos(paths, max_skipped_samples=3)
    ids = [batch["ids"].tolist() for batch in batches(dataset, num_workers, epochs=2)]

    assert ids == [[0, 1, 2], [4, 5], [6], [9, 10, 11]] * 2
    assert int(dataset.bad.sum()) == 3
    told = capfd.readouterr().err.splitlines()
    assert 3 == len(told) == len({line.partition(": Cannot")[2] for line in told})
    assert all(" of at most 3: Cannot read the image " in line for line in told)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_more_bad_images_than_allowed_are_refused(paths, num_workers, monkeypatch):
    # torch waits for each worker, which after an error is not told to end, before it ends it: 5 s by default.
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)

    with pytest.raises(
        ValueError, match=r"repair or remove it, or allow for 3 such images by data.max_skipped_samples=3"
    ) as caught:
        batches(photos(paths, max_skipped_samples=2), num_workers)
    del caught
    gc.collect()


def test_by_default_a_bad_image_is_refused(paths):
    with pytest.raises(
        ValueError, match=r"3.png .*: repair or remove it, or allow for 1 such images by data.max_skipped_samples=1"
    ):
        batches(photos(paths), 0)


def test_a_batch_without_any_image_is_refused(paths):
    with pytest.raises(
        ValueError, match=r"needs an image, but none of its 2 can be read, such as .*7.png: repair them"
    ):
        photos(paths, max_skipped_samples=9).__getitems__([7, 8])


def test_a_folder_passes_on_what_may_be_bad(tmp_path, paths):
    for name in ("red", "blue"):
        (tmp_path / "root" / name).mkdir(parents=True)
        for index in range(20):
            (tmp_path / "root" / name / f"{index}.png").write_bytes(WHOLE["PNG"])
    data = ImageFolderDataModule(str(tmp_path / "root"), image_size=16, num_workers=0, max_skipped_samples=2)
    data.setup()

    assert [each.max_skipped_samples for each in data.datasets.values()] == [2, 2, 2]
    assert [data.run_seed] * 3 == [each.seed for each in data.datasets.values()]
    assert [data.datasets[name].augment for name in ("train", "val", "test")] == [True, False, False]


def test_a_class_folder_without_images_is_named(tmp_path):
    for name in ("cat", "dog", "owl"):
        (tmp_path / name).mkdir()
    (tmp_path / "cat" / "0.png").write_bytes(WHOLE["PNG"])

    with pytest.raises(ValueError, match="dog holds no image: give a folder or file with one of .jpg"):
        ImageFolderDataModule(str(tmp_path)).setup()


@pytest.fixture
def whole_paths(paths):
    return [paths[index] for index in (0, 1, 2, 4, 5, 6)]


def drawn(dataset, num_workers: int) -> torch.Tensor:
    return torch.cat([batch["inputs"] for batch in batches(dataset, num_workers)])


def test_crops_are_those_of_seed_epoch_and_sample_whoever_reads(whole_paths):
    first, again = photos(whole_paths, seed=1), photos(whole_paths, seed=1)
    torch.manual_seed(0)
    alone = drawn(first, 0)
    torch.manual_seed(5)

    assert torch.equal(alone, drawn(again, 2))
    assert torch.equal(alone[4], again[4]["inputs"])
    assert not torch.equal(alone, drawn(photos(whole_paths, seed=2), 0))
    # Each sample has its own, though the files are the same.
    assert len({each.numpy().tobytes() for each in alone}) == 6


def test_workers_that_live_on_see_the_next_epoch(whole_paths):
    dataset = photos(whole_paths, seed=1)
    loader = DataLoader(dataset, batch_size=3, num_workers=2, collate_fn=identity_collate, persistent_workers=True)
    seen = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        seen.append(torch.cat([batch["inputs"] for batch in loader]))

    assert torch.equal(seen[0], seen[2])
    assert not any(torch.equal(*pair) for pair in zip(seen[0], seen[1], strict=True))


def test_reading_images_takes_nothing_from_the_chance_of_the_training(whole_paths):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    photos(whole_paths).__getitems__([0, 1, 2])

    assert torch.equal(expected, torch.rand(2))
