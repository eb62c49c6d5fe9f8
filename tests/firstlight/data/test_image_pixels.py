"""Pixels of any mode: converted by the range of their values, and never rejected because of metadata."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from firstlight.data.image_io import get_center_crop_box, read_image_crop
from firstlight.data.image_pixels import convert_to_rgb
from firstlight.run.errors import DataError
from support.file_damage import fuzz

RAMP = np.linspace(0, 1, 64).reshape(8, 8)
# The ramp as 8-bit gray values.
EXPECTED = np.rint(RAMP * 255)


def read_pixels(path, size=8):
    return read_image_crop(path, size, get_center_crop_box)


def assert_is_ramp(path, tolerance=1):
    pixels = read_pixels(path).numpy().astype(float)
    assert abs(pixels - EXPECTED).max() <= tolerance, pixels[0]


@pytest.mark.parametrize(
    ("dtype", "top", "suffix"),
    [
        (np.uint8, 255, "png"),
        (np.uint16, 65_535, "png"),
        (np.uint16, 65_535, "tif"),
        (np.int16, 32_767, "tif"),
        (np.int32, 255, "tif"),
        (np.int32, 65_535, "tif"),
        (np.int32, 2**31 - 1, "tif"),
        (np.float32, 1, "tif"),
        (np.float32, 255, "tif"),
        (np.float32, 65_535, "tif"),
        (np.float64, 1, "tif"),
    ],
)
def test_gray_values_are_scaled_by_their_range(tmp_path, dtype, top, suffix):
    Image.fromarray((RAMP * top).astype(dtype)).save(tmp_path / f"a.{suffix}")

    if dtype == np.int16:  # half of the range of 16 bits
        pixels = read_pixels(tmp_path / "a.tif")[0].numpy()
        assert abs(pixels - EXPECTED / 2).max() <= 1
    else:
        assert_is_ramp(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_byte_order_of_tiff_does_not_matter(tmp_path, byte_order):
    image = Image.fromarray((RAMP * 65_535).astype(f"{byte_order}u2"))
    image.save(tmp_path / "a.tif")

    assert image.mode == ("I;16" if byte_order == "<" else "I;16B")
    assert_is_ramp(tmp_path / "a.tif")


def test_portable_graymap_of_16_bits_is_read(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 8 8 65535\n" + (RAMP * 65_535).astype(">u2").tobytes())

    assert_is_ramp(tmp_path / "a.pgm")


def test_crops_of_one_image_have_the_same_range(tmp_path):
    Image.fromarray((RAMP * 65_535).astype(np.int32)).save(tmp_path / "a.tif")
    top_left = read_image_crop(tmp_path / "a.tif", 1, lambda image, size: (1, 0, 2, 1))

    # 1/63 of 65,535 is more than 255: the pixel alone would be taken for 8-bit data only if it were smaller.
    assert top_left.unique().tolist() == [4]
    assert read_image_crop(tmp_path / "a.tif", 1, lambda image, size: (0, 0, 1, 1)).unique().tolist() == [0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[-1000, 3000]], np.int32), r"32-bit integer pixels from -1000 to 3000 have no known range: convert"),
        (np.array([[0, np.nan]], np.float32), r"float pixels from nan to nan have no known range"),
        (np.array([[0, 1e9]], np.float32), r"float pixels from 0 to 1e\+09 have no known range"),
        (np.array([[-1, 1]], np.float32), r"float pixels from -1 to 1 have no known range"),
    ],
)
def test_values_without_known_range_are_named(tmp_path, values, message):
    Image.fromarray(values).save(tmp_path / "a.tif")

    with pytest.raises(DataError, match=message):
        read_pixels(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB and a transparent color", "L and a transparent color"])
def test_transparent_pixels_become_white(tmp_path, mode):
    name, _, has_transparent_color = mode.partition(" and ")
    image, options = Image.new("RGBA", (8, 8), (0, 0, 0, 0)), {}
    image.paste((0, 0, 0, 255), (0, 0, 4, 8))
    if has_transparent_color:
        color = (9, 9, 9) if name == "RGB" else 9
        image, options = Image.new(name, (8, 8), 0), {"transparency": color}
        image.paste(color, (4, 0, 8, 8))
    elif name == "P":
        image = image.quantize(4)
    image = image.convert(name)
    image.save(tmp_path / "a.png", **options)
    pixels = read_pixels(tmp_path / "a.png")

    assert pixels[:, :, :4].unique().tolist() == [0]
    assert pixels[:, :, 4:].unique().tolist() == [255]


@pytest.mark.parametrize("mode", ["La", "PA", "RGBa"])
def test_every_mode_with_alpha_is_composited(mode):
    image = Image.new(mode, (2, 1))
    if mode == "PA":
        image.putalpha(0)

    assert convert_to_rgb(image).getpixel((0, 0)) == (255, 255, 255)


def test_half_transparent_pixel_is_mixed_with_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 128)).save(tmp_path / "a.png")

    assert read_pixels(tmp_path / "a.png", 4)[:, 0, 0].tolist() == [255, 127, 127]


@pytest.mark.parametrize("mode", ["LAB", "CMYK", "YCbCr", "1"])
def test_color_spaces_become_rgb(tmp_path, mode):
    color = {"LAB": (255, 128, 128), "CMYK": (0, 0, 0, 0), "YCbCr": (255, 128, 128), "1": 1}[mode]
    Image.new(mode, (4, 4), color).save(tmp_path / "a.tif")

    assert read_pixels(tmp_path / "a.tif", 4).min() >= 254


def encode(format_name):
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(EXPECTED.astype(np.uint8)).convert("RGB").save(file, format_name, exif=exif, quality=100)
    return file.getvalue()


PNG, JPEG = encode("PNG"), encode("JPEG")


def make_png(name: bytes, data: bytes, checksum: int | None = None, at_end: bool = False) -> bytes:
    crc = zlib.crc32(name + data) if checksum is None else checksum
    chunk = struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)
    position = len(PNG) - 12 if at_end else 33
    return PNG[:position] + chunk + PNG[position:]


def make_jpeg(marker: int, data: bytes) -> bytes:
    return JPEG[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data + JPEG[2:]


OVERSIZED = zlib.compress(bytes(2_000_000))


@pytest.mark.parametrize(
    "content",
    [
        make_png(b"zTXt", b"a\0\0" + OVERSIZED),
        make_png(b"zTXt", b"a\0\0" + OVERSIZED, at_end=True),
        make_png(b"iTXt", b"a\0\1\0\0\0" + OVERSIZED),
        make_png(b"iCCP", b"a\0\0" + OVERSIZED),
        make_png(b"iCCP", b"a\0\7x"),
        make_png(b"tEXt", b"wrong checksum", checksum=1),
        make_png(b"gAMA", b""),
        make_png(b"pHYs", b"\0"),
        make_png(b"acTL", b"\0"),
        make_jpeg(0xE0, b"JFIF\0"),
        make_jpeg(0xE2, b"ICC_PROFILE\0"),
        make_jpeg(0xEE, b"Adobe"),
        make_jpeg(0xE1, b"Exif\0\0II*\0" + b"\xff" * 30),
    ],
)
def test_odd_metadata_does_not_exclude_an_image(tmp_path, content):
    (tmp_path / "image").write_bytes(content)
    (tmp_path / "clean").write_bytes(PNG if content.startswith(b"\x89") else JPEG)
    pixels = read_pixels(tmp_path / "image").float()
    clean = read_pixels(tmp_path / "clean").float()

    # Invalid EXIF data in front of the valid one hides the orientation.
    assert abs(pixels - clean).max() <= 1 or abs(pixels.flip(1, 2) - clean).max() <= 1


@settings(fuzz, max_examples=200)
@given(
    marker=st.sampled_from([*range(0xE0, 0xF0), 0xFE]),
    head=st.sampled_from([b"", b"Exif\0\0", b"ICC_PROFILE\0", b"JFIF\0", b"Adobe", b"MPF\0", b"Photoshop 3.0\0"]),
    name=st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"iCCP", b"gAMA", b"cHRM", b"acTL", b"fcTL", b"bKGD"]),
    tail=st.binary(max_size=40),
    checksum=st.none() | st.just(5),
    at_end=st.booleans(),
)
def test_no_metadata_excludes_an_image(tmp_path, marker, head, name, tail, checksum, at_end):
    for content in (make_jpeg(marker, head + tail), make_png(name, tail, checksum, at_end)):
        (tmp_path / "image").write_bytes(content)

        assert torch.is_tensor(read_pixels(tmp_path / "image"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"\(the file is empty\)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer: run `git lfs pull`"),
        (b"\n<!DOCTYPE html>", "it is HTML, XML or SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "cannot identify image file"),
        (PNG[:80], r"image \("),
    ],
)
def test_file_without_pixels_is_explained(tmp_path, content, message):
    (tmp_path / "image").write_bytes(content)

    with pytest.raises(DataError, match=message):
        read_pixels(tmp_path / "image")
