"""The image formats that can be read, and why a file cannot be read."""

import functools
from pathlib import Path

from firstlight.run.packages import get_install_hint, is_installed

# Formats of Pillow that are read, and their suffixes. Others are rare, or run external programs (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF")
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif"),
)
# Photos of phones, which the package pillow-heif reads.
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
HEIF_PACKAGE = "pillow_heif"


def get_suffixes() -> tuple[str, ...]:
    """Return the lower-case suffixes of the image files that can be read."""
    return IMAGE_SUFFIXES + (HEIF_SUFFIXES if is_installed(HEIF_PACKAGE) else ())


@functools.cache
def get_formats() -> tuple[str, ...]:
    """Return the names of the formats that Pillow opens, after loading pillow-heif if it is installed."""
    if not is_installed(HEIF_PACKAGE):
        return FORMATS
    import pillow_heif

    pillow_heif.register_heif_opener()
    return (*FORMATS, "HEIF")


def format_suffixes() -> str:
    """Return the suffixes of the common formats, for messages."""
    return ", ".join((*IMAGE_SUFFIXES[:11], "..."))


def explain_unreadable(path: Path, error: Exception) -> str:
    """Return why a file cannot be read as an image: the error, or what the file is instead."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError:
        return _format_error(error)
    return explain_unreadable_head(head, error)


def explain_unreadable_head(head: bytes, error: Exception) -> str:
    """Return why a file cannot be read as an image.

    Args:
        head: The first 64 bytes of the file.
        error: The error of the decoder.
    """
    if not head:
        return "the file is empty"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer: run `git lfs pull`"
    if head.lstrip()[:1] == b"<":
        return "it is HTML, XML or SVG"
    is_heif = head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
    if is_heif and not is_installed(HEIF_PACKAGE):
        return f"HEIC requires pillow-heif: {get_install_hint('pillow-heif', 'heic').rstrip('.')}"
    return _format_error(error)


def _format_error(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
