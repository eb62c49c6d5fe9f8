"""Photos: which part of a file is read, how much of it is decoded, and which way up."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from firstlight.data.datamodule import identity_collate
from firstlight.data.image_folder import ImageFileDataset, get_random_resized_crop_box
from firstlight.data.image_io import get_center_crop_box, read_image_crop

ORIENTATION = 0x0112
# What brings an upright image to the way it is stored, by its EXIF orientation.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def slope(width: int, height: int) -> Image.Image:
    """Return an image whose red grows from left to right, and whose green from top to bottom, 0 to 255."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([red, green, 0 * red], axis=-1).astype(np.uint8))


@pytest.fixture
def decoded(monkeypatch):
    """Return the list of the sizes to which images are decoded."""
    sizes = []
    crop = Image.Image.crop
    monkeypatch.setattr(Image.Image, "crop", lambda self, box: sizes.append(self.size) or crop(self, box))
    return sizes


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_a_photo_is_turned_as_exif_says(tmp_path, suffix, orientation, decoded):
    path = tmp_path / f"photo.{suffix}"
    photo = slope(400, 300) if STORED[orientation] is None else slope(400, 300).transpose(STORED[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    photo.save(path, exif=exif)
    seen = read_image_crop(path, 64, get_center_crop_box).float()

    assert suffix != "jpg" or max(decoded[0]) == 100
    assert (seen[0].diff(dim=1).mean() > 1, abs(seen[0].diff(dim=0).mean()) < 0.3) == (True, True)
    assert (seen[1].diff(dim=0).mean() > 1, abs(seen[1].diff(dim=1).mean()) < 0.3) == (True, True)


@pytest.mark.parametrize(
    ("size", "side"), [(32, 64), (48, 64), (64, 128), (96, 128), (128, 256), (224, 256), (225, 512), (600, 512)]
)
def test_a_jpeg_is_decoded_no_further_than_its_part_needs(tmp_path, size, side, decoded):
    slope(512, 512).save(tmp_path / "photo.jpg")
    photo = read_image_crop(tmp_path / "photo.jpg", size, get_center_crop_box)

    assert tuple(photo.shape) == (3, size, size)
    assert decoded == [(side, side)]


@pytest.mark.parametrize("part", [(0, 0, 400, 300), (333, 20, 733, 320), (401, 601, 801, 1001), (790, 990, 802, 1002)])
def test_the_part_is_the_one_that_was_chosen(tmp_path, part):
    slope(802, 1002).save(tmp_path / "photo.jpg", quality=95)
    photo = read_image_crop(tmp_path / "photo.jpg", 32, lambda image, size: part).float()
    left, top, right, bottom = part

    torch.testing.assert_close(photo[0].mean().item(), (left + right - 1) / 2 / 801 * 255, atol=1.5, rtol=0)
    torch.testing.assert_close(photo[1].mean().item(), (top + bottom - 1) / 2 / 1001 * 255, atol=1.5, rtol=0)


@pytest.mark.parametrize(("suffix", "levels"), [("png", 0.5), ("jpg", 2.5)])
def test_the_middle_is_that_of_a_full_decoding(tmp_path, suffix, levels):
    coarse = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(coarse).resize((640, 640), Image.Resampling.BICUBIC).save(path)
    with Image.open(path) as image:
        whole = v2.functional.pil_to_tensor(image)
    expected = v2.functional.center_crop(v2.functional.resize(whole, [128], antialias=True), [112, 112])

    assert (read_image_crop(path, 112, get_center_crop_box).float() - expected.float()).abs().mean() < levels


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_kind_of_pixel_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("photo.jpg" if mode == "CMYK" else "photo.png")
    slope(80, 60).convert(mode).save(path)

    assert tuple(read_image_crop(path, 64, get_center_crop_box).shape) == (3, 64, 64)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 2)])
def test_a_thin_image_is_read_as_well(tmp_path, shape):
    slope(*shape).save(tmp_path / "photo.jpg")

    for choose in (get_center_crop_box, get_random_resized_crop_box):
        assert tuple(read_image_crop(tmp_path / "photo.jpg", 64, choose).shape) == (3, 64, 64)


def test_random_parts_have_the_shares_that_were_asked_for():
    torch.manual_seed(0)
    image = slope(400, 300)
    parts = np.array([get_random_resized_crop_box(image, 64) for _ in range(300)])
    widths, heights = parts[:, 2] - parts[:, 0], parts[:, 3] - parts[:, 1]
    shares = widths * heights / (400 * 300)

    assert parts.min() >= 0
    assert (parts[:, 2].max() <= 400, parts[:, 3].max() <= 300) == (True, True)
    assert 0.07 < shares.min() < 0.15
    assert 0.85 < shares.max() <= 1
    assert 0.74 < (widths / heights).min() < 0.8
    assert 1.25 < (widths / heights).max() < 1.35


@pytest.fixture
def files(tmp_path):
    for index in range(8):
        slope(100, 80).save(tmp_path / f"{index}.jpg")
    return [tmp_path / f"{index}.jpg" for index in range(8)]


def test_each_training_image_gets_a_part_of_its_own(files):
    photos = [ImageFileDataset(files, [0] * 8, 32, augment=True)[index]["inputs"].float() for index in range(8)]

    assert len({round(photo[:2].mean().item(), 3) for photo in photos}) == 8


def test_half_of_the_training_images_are_mirrored(files):
    photos = ImageFileDataset(files, [0] * 8, 32, augment=True)
    rising = []
    for epoch in range(25):
        photos.set_epoch(epoch)
        rising += [bool(photos[index]["inputs"][0].float().diff(dim=1).mean() > 0) for index in range(8)]

    assert 70 < sum(rising) < 130


def test_without_augmentation_the_middle_is_read(files):
    photos = ImageFileDataset(files, [0] * 8, 32, augment=False)

    assert torch.equal(photos[0]["inputs"], read_image_crop(files[0], 32, get_center_crop_box))


def test_the_seed_decides_what_workers_draw(files):
    def drawn(seed):
        photos = ImageFileDataset(files, [0] * 8, 32, augment=True, seed=seed)
        loader = DataLoader(photos, batch_size=4, num_workers=2, collate_fn=identity_collate)
        return torch.cat([batch["inputs"] for batch in loader])

    first, again, other = drawn(1), drawn(1), drawn(2)

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    # The two processes do not draw the same.
    assert not torch.equal(first[:4], first[4:])
