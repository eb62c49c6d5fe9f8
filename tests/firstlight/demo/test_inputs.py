"""Tests of invalid inputs of the demo: each is one sentence."""

import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image

from firstlight.demo import inputs
from firstlight.demo.inputs import InputError, validate_image, validate_text


def make_image(width, height, kind="PNG", **options):
    file = BytesIO()
    Image.effect_noise((width, height), 90).convert("RGB").save(file, kind, **options)
    return file.getvalue()


def make_bomb():
    """Return a PNG file of 200 bytes whose header states 50,000 x 50,000 pixels."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def make_animation():
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    file = BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


HEIC = bytes.fromhex("000000186674797068656963000000006d69663168656963") + bytes(100)
UNREADABLE = "The file cannot be read as an image: "
INVALID_IMAGES = {
    "pdf": (lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", UNREADABLE + "it is in none of the formats JPEG, PNG"),
    "empty": (lambda: b"", UNREADABLE + "the file is empty."),
    "html": (lambda: b"<html>", UNREADABLE + "it is HTML, XML or SVG."),
    "bomb": (make_bomb, "The image has too many pixels."),
    "one pixel": (lambda: make_image(1, 1), "The image has 1 x 1 pixels. Use at least 2 on each side."),
    "animation": (make_animation, "The image is animated. Save one of its frames as an image."),
    "heic": (lambda: HEIC, UNREADABLE + "HEIC requires pillow-heif: Install it with"),
}


@pytest.mark.parametrize("name", INVALID_IMAGES)
def test_invalid_image_is_one_sentence(name, monkeypatch):
    monkeypatch.setattr("firstlight.data.image_formats.is_installed", lambda package: False)
    inputs.get_formats.cache_clear()
    make_content, message = INVALID_IMAGES[name]
    with pytest.raises(InputError) as error:
        validate_image(make_content())
    inputs.get_formats.cache_clear()

    assert str(error.value).startswith(message)
    assert "BytesIO" not in str(error.value)
    assert "\n" not in str(error.value)
    assert 400 <= error.value.status < 500


def test_image_with_many_pixels_is_rejected_before_it_is_decoded(monkeypatch):
    file = BytesIO()
    Image.new("RGB", (2000, 1001)).save(file, "PNG")
    content = file.getvalue()
    monkeypatch.setattr(inputs, "MAX_IMAGE_PIXELS", 2_000_000)
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("the image is decoded"))
    with pytest.raises(InputError, match=r"The image has 2,000 x 1,001 pixels, more than 2 million\."):
        validate_image(content)


@pytest.mark.parametrize(
    "content", [make_image(2, 3), make_image(40, 30, "JPEG"), make_image(9, 9, "GIF"), make_image(8, 8, "WEBP")]
)
def test_valid_image_is_unchanged(content):
    assert validate_image(content) == content


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "The text is empty."), (b" \n\t", "The text is empty."), (b"\xff\xfe", "The text is not encoded as UTF-8.")],
)
def test_invalid_text_is_one_sentence(content, message):
    with pytest.raises(InputError) as error:
        validate_text(content)

    assert str(error.value) == message


def test_text_is_decoded():
    assert validate_text("naïve 🙂".encode()) == "naïve 🙂"
