"""Convert the pixels of an image of any mode to 8-bit RGB."""

import numpy as np
from PIL import Image, ImageCms

# Images with transparency are drawn onto this color, as on a white page.
BACKGROUND = (255, 255, 255, 255)
# Largest value of an image, and the value that becomes 255. The first row that contains all values of the image counts.
# Interpolation may exceed the range of float images a little; such values are clipped.
INT_RANGES = ((255, 255), (65_535, 65_535), (2**31 - 1, 2**31 - 1))
FLOAT_RANGES = ((2, 1), (260, 255), (66_000, 65_535))


def convert_to_rgb(image: Image.Image, extrema: tuple[float, float] | None = None) -> Image.Image:
    """Return the pixels in mode RGB.

    16-bit gray values are scaled from 0..65,535. 32-bit integers are scaled from 0..255, 0..65,535 or 0..2^31-1, and
    floats from 0..1, 0..255 or 0..65,535: the smallest range that contains all values of the image. Transparent pixels
    are composited on white.

    Args:
        image: An image of any mode of Pillow.
        extrema: Smallest and largest value, if `image` is a crop of a 32-bit image. If None, the values of `image`.

    Raises:
        ValueError: If values of a 32-bit image are negative, not finite or too large.
    """
    if image.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255.
        return _scale_to_rgb(image, 65_535)
    if image.mode in ("I", "F"):
        return _scale_to_rgb(image, find_range(image.mode, extrema or get_extrema(image)))
    if image.mode == "LAB":
        spaces = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.applyTransform(image, ImageCms.buildTransform(*spaces, "LAB", "RGB"))
        assert converted is not None
        return converted
    if not image.has_transparency_data:
        return image.convert("RGB")
    if image.mode == "La":  # gray with premultiplied alpha
        image = image.convert("LA")
    opaque = Image.new("RGBA", image.size, BACKGROUND)
    opaque.alpha_composite(image.convert("RGBA"))
    return opaque.convert("RGB")


def get_extrema(image: Image.Image) -> tuple[float, float]:
    """Return the smallest and the largest value of a 32-bit image; NaN if one value is NaN."""
    values = np.asarray(image)
    return float(values.min()), float(values.max())


def find_range(mode: str, extrema: tuple[float, float]) -> int:
    """Return the value of a 32-bit image that becomes 255.

    Args:
        mode: "I" (integers) or "F" (floats).
        extrema: Smallest and largest value of the image.

    Raises:
        ValueError: If values are negative, not finite or too large.
    """
    low, high = extrema
    ranges = INT_RANGES if mode == "I" else FLOAT_RANGES
    top = next((top for largest, top in ranges if high <= largest), None)  # a comparison with NaN is false
    # Interpolation may give floats a little below zero, too.
    if top is not None and low >= (0 if mode == "I" else -0.02 * top):
        return top
    kind = "32-bit integer" if mode == "I" else "float"
    raise ValueError(f"{kind} pixels from {low:g} to {high:g} have no known range: convert them to 8 or 16 bits")


def _scale_to_rgb(image: Image.Image, top: int) -> Image.Image:
    scaled = np.asarray(image, dtype=np.float64) * (255 / top)
    return Image.fromarray(np.rint(scaled).clip(0, 255).astype(np.uint8)).convert("RGB")
