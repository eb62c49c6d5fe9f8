"""Image files: which crop is read, how much of the file is decoded, and the EXIF rotation."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from firstlight.data.batch import identity_collate
from firstlight.data.image_folder import ImageFileDataset, get_random_resized_crop_box
from firstlight.data.image_io import get_center_crop_box, read_image_crop

ORIENTATION = 0x0112
# The operation that turns an upright image into the stored one, by EXIF orientation.
TO_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def make_gradient(width: int, height: int) -> Image.Image:
    """Return an image whose red rises from left to right and whose green from top to bottom, 0 to 255."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([red, green, 0 * red], axis=-1).astype(np.uint8))


@pytest.fixture
def decoded_sizes(monkeypatch):
    """Return the list of sizes at which images are decoded."""
    sizes = []
    crop = Image.Image.crop
    monkeypatch.setattr(Image.Image, "crop", lambda self, box: sizes.append(self.size) or crop(self, box))
    return sizes


@pytest.mark.parametrize("orientation", TO_STORED)
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_is_applied(tmp_path, suffix, orientation, decoded_sizes):
    path = tmp_path / f"image.{suffix}"
    stored = make_gradient(400, 300)
    if TO_STORED[orientation] is not None:
        stored = stored.transpose(TO_STORED[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored.save(path, exif=exif)
    image = read_image_crop(path, 64, get_center_crop_box).float()

    assert suffix != "jpg" or max(decoded_sizes[0]) == 100
    assert (image[0].diff(dim=1).mean() > 1, abs(image[0].diff(dim=0).mean()) < 0.3) == (True, True)
    assert (image[1].diff(dim=0).mean() > 1, abs(image[1].diff(dim=1).mean()) < 0.3) == (True, True)


@pytest.mark.parametrize(
    ("size", "decoded_side"), [(32, 64), (48, 64), (64, 128), (96, 128), (128, 256), (224, 256), (225, 512), (600, 512)]
)
def test_jpeg_is_decoded_at_smallest_sufficient_size(tmp_path, size, decoded_side, decoded_sizes):
    make_gradient(512, 512).save(tmp_path / "image.jpg")
    image = read_image_crop(tmp_path / "image.jpg", size, get_center_crop_box)

    assert tuple(image.shape) == (3, size, size)
    assert decoded_sizes == [(decoded_side, decoded_side)]


@pytest.mark.parametrize("box", [(0, 0, 400, 300), (333, 20, 733, 320), (401, 601, 801, 1001), (790, 990, 802, 1002)])
def test_requested_crop_box_is_read(tmp_path, box):
    make_gradient(802, 1002).save(tmp_path / "image.jpg", quality=95)
    image = read_image_crop(tmp_path / "image.jpg", 32, lambda image, size: box).float()
    left, top, right, bottom = box

    torch.testing.assert_close(image[0].mean().item(), (left + right - 1) / 2 / 801 * 255, atol=1.5, rtol=0)
    torch.testing.assert_close(image[1].mean().item(), (top + bottom - 1) / 2 / 1001 * 255, atol=1.5, rtol=0)


@pytest.mark.parametrize(("suffix", "tolerance"), [("png", 0.5), ("jpg", 2.5)])
def test_center_crop_matches_full_decoding(tmp_path, suffix, tolerance):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(pixels).resize((640, 640), Image.Resampling.BICUBIC).save(path)
    with Image.open(path) as image:
        full = v2.functional.pil_to_tensor(image)
    expected = v2.functional.center_crop(v2.functional.resize(full, [128], antialias=True), [112, 112])

    assert (read_image_crop(path, 112, get_center_crop_box).float() - expected.float()).abs().mean() < tolerance


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_color_mode_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    make_gradient(80, 60).convert(mode).save(path)

    assert tuple(read_image_crop(path, 64, get_center_crop_box).shape) == (3, 64, 64)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 2)])
def test_extreme_aspect_ratios_are_read(tmp_path, shape):
    make_gradient(*shape).save(tmp_path / "image.jpg")

    for crop_fn in (get_center_crop_box, get_random_resized_crop_box):
        assert tuple(read_image_crop(tmp_path / "image.jpg", 64, crop_fn).shape) == (3, 64, 64)


def test_random_crop_boxes_have_documented_areas_and_ratios():
    torch.manual_seed(0)
    image = make_gradient(400, 300)
    boxes = np.array([get_random_resized_crop_box(image, 64) for _ in range(300)])
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    areas = widths * heights / (400 * 300)

    assert boxes.min() >= 0
    assert (boxes[:, 2].max() <= 400, boxes[:, 3].max() <= 300) == (True, True)
    assert 0.07 < areas.min() < 0.15
    assert 0.85 < areas.max() <= 1
    assert 0.74 < (widths / heights).min() < 0.8
    assert 1.25 < (widths / heights).max() < 1.35


@pytest.fixture
def paths(tmp_path):
    for index in range(8):
        make_gradient(100, 80).save(tmp_path / f"{index}.jpg")
    return [tmp_path / f"{index}.jpg" for index in range(8)]


def test_each_training_image_is_cropped_differently(paths):
    dataset = ImageFileDataset(paths, [0] * 8, 32, augment=True)
    images = [dataset[index]["inputs"].float() for index in range(8)]

    assert len({round(image[:2].mean().item(), 3) for image in images}) == 8


def test_half_of_training_images_are_flipped(paths):
    dataset = ImageFileDataset(paths, [0] * 8, 32, augment=True)
    not_flipped = []
    for epoch in range(25):
        dataset.set_epoch(epoch)
        not_flipped += [bool(dataset[index]["inputs"][0].float().diff(dim=1).mean() > 0) for index in range(8)]

    assert 70 < sum(not_flipped) < 130


def test_without_augmentation_center_crop_is_read(paths):
    dataset = ImageFileDataset(paths, [0] * 8, 32, augment=False)

    assert torch.equal(dataset[0]["inputs"], read_image_crop(paths[0], 32, get_center_crop_box))


def test_seed_determines_crops_in_workers(paths):
    def load_images(seed):
        dataset = ImageFileDataset(paths, [0] * 8, 32, augment=True, seed=seed)
        loader = DataLoader(dataset, batch_size=4, num_workers=2, collate_fn=identity_collate)
        return torch.cat([batch["inputs"] for batch in loader])

    first, same_seed, other_seed = load_images(1), load_images(1), load_images(2)

    assert torch.equal(first, same_seed)
    assert not torch.equal(first, other_seed)
    # The two workers crop differently.
    assert not torch.equal(first[:4], first[4:])
