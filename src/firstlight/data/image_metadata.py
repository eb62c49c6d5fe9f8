"""Metadata of image files: it never decides whether an image can be read."""

import struct
import zlib

from PIL import Image

ORIENTATION_TAG = 0x0112
# The operation that makes an image upright, by EXIF orientation (CIPA DC-008, section 4.6.4).
TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The chunks that determine pixels and orientation.
PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")
JPEG_SIGNATURE = b"\xff\xd8\xff"
JPEG_START_OF_SCAN = 0xDA
JPEG_METADATA = (*range(0xE0, 0xF0), 0xFE)  # APP0 to APP15, and comments


def get_upright_operation(image: Image.Image) -> Image.Transpose | None:
    """Return the operation that makes a decoded image upright, or None. Invalid EXIF data counts as none."""
    try:
        return TO_UPRIGHT.get(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # the parser raises many kinds for invalid EXIF data
        return None


def strip_metadata(content: bytes) -> bytes | None:
    """Return a PNG or JPEG file without the metadata that may keep Pillow from opening it; None for other formats.

    Text, times, color profiles and animation are removed; pixels, transparency and valid EXIF data stay.
    """
    if content.startswith(PNG_SIGNATURE):
        return _strip_png(content)
    return _strip_jpeg(content) if content.startswith(JPEG_SIGNATURE) else None


def _strip_png(content: bytes) -> bytes:
    kept, start = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while start + 12 <= len(content):
        length, name = struct.unpack_from(">I4s", content, start)
        chunk = content[start : start + 12 + length]
        is_valid = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
        if name in PNG_CHUNKS and (is_valid or name[:1].isupper()):
            kept.append(chunk)
        start += len(chunk)
    return b"".join(kept)


def _strip_jpeg(content: bytes) -> bytes:
    kept, start = [content[:2]], 2
    while start + 4 <= len(content) and content[start] == 0xFF and content[start + 1] != JPEG_START_OF_SCAN:
        end = start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")
        segment = content[start:end]
        # The segment "Adobe" says how colors are stored; it has at least 12 bytes.
        is_needed = segment[4:10] == b"Exif\0\0" or (segment[4:9] == b"Adobe" and len(segment) >= 16)
        if segment[1] not in JPEG_METADATA or is_needed:
            kept.append(segment)
        start = end
    return b"".join([*kept, content[start:]])
