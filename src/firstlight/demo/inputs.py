"""Check what the page sends: each invalid image or text gets one sentence and a status code."""

import warnings
from io import BytesIO

from PIL import Image, UnidentifiedImageError

from firstlight.data.image_formats import explain_unreadable_head, get_formats

# A photo of a phone has 3 to 15 MB, and 12 to 50 megapixels. Decoding may take 30 bytes per pixel.
MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS = 32 * 2**20, 50_000_000
MIN_IMAGE_SIDE = 2
# About 60 pages. Models read far less.
MAX_TEXT_BYTES = 100_000
ANIMATED_FORMATS = ("GIF", "PNG", "WEBP", "AVIF")


class InputError(ValueError):
    """An input that the model cannot predict.

    Args:
        message: One sentence for the page.
        status: Status code of the answer.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def get_max_bytes(modality: str) -> int:
    """Return the maximum size of an image file or of a text."""
    return MAX_IMAGE_BYTES if modality == "images" else MAX_TEXT_BYTES


def describe_limit(modality: str) -> str:
    """Return the sentence about an input that is too large."""
    limit = get_max_bytes(modality)
    size = f"{limit // 2**20} MiB" if modality == "images" else f"{limit // 1000} kB"
    return f"The {'file' if modality == 'images' else 'text'} is larger than {size}."


def validate_image(content: bytes) -> bytes:
    """Check the header of an image file: nothing is decoded. Return its contents.

    Raises:
        InputError: If it is not an image, has too many or too few pixels, or is animated.
    """
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(BytesIO(content), formats=get_formats()) as image:
            (width, height), kind = image.size, image.format
            is_animated = kind in ANIMATED_FORMATS and getattr(image, "is_animated", False)
    except Image.DecompressionBombError as error:
        raise InputError("The image has too many pixels.") from error
    except Exception as error:  # decoders raise many kinds for a corrupt file
        raise InputError(describe_unreadable(content, error)) from error
    if width * height > MAX_IMAGE_PIXELS:
        raise InputError(f"The image has {width:,} x {height:,} pixels, more than {MAX_IMAGE_PIXELS // 10**6} million.")
    if min(width, height) < MIN_IMAGE_SIDE:
        raise InputError(f"The image has {width:,} x {height:,} pixels. Use at least {MIN_IMAGE_SIDE} on each side.")
    if is_animated:
        raise InputError("The image is animated. Save one of its frames as an image.")
    return content


def describe_unreadable(content: bytes, error: Exception) -> str:
    """Return the sentence about a file that cannot be read as an image."""
    reason = explain_unreadable_head(content[:64], error)
    if isinstance(error, UnidentifiedImageError) and "BytesIO" in reason:
        reason = "it is in none of the formats " + ", ".join(get_formats())
    return f"The file cannot be read as an image: {reason.removesuffix('.')}."


def validate_text(content: bytes) -> str:
    """Return the text that the page sends as UTF-8.

    Raises:
        InputError: If it is empty, or not UTF-8.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError("The text is not encoded as UTF-8.") from error
    if not text.strip():
        raise InputError("The text is empty.")
    return text
