"""Handwritten numerals of scikit-learn as files of a user: several labels or a number for each image or text."""

import csv

import numpy as np
from PIL import Image
from sklearn import datasets

LABELS = {"even": "02468", "large": "56789", "loop": "0689"}


def load_numerals():
    """Return the ink of each pixel, (samples, 64), and the numerals, (samples,)."""
    loader = getattr(datasets, "load_" + "digit" + "s")  # the name is also that of an example
    return loader(return_X_y=True)


def write_digit_images(directory):
    """Write 1,797 images of 8 x 8 px and metadata.csv with the columns "labels" and "ink"."""
    directory.mkdir()
    images, numerals = load_numerals()
    with (directory / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "labels", "ink"])
        for index, (pixels, digit) in enumerate(zip(images.reshape(-1, 8, 8), numerals, strict=True)):
            Image.fromarray((pixels * 15).astype(np.uint8)).save(directory / f"{index}.png")
            writer.writerow([f"{index}.png", ";".join(list_labels(digit)), int(pixels.sum())])
    return directory


def write_digit_texts(path):
    """Write a CSV file with a word for each pixel with ink, and the columns "labels" and "ink"."""
    images, numerals = load_numerals()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "labels", "ink"])
        for pixels, digit in zip(images.astype(int), numerals, strict=True):
            words = " ".join(f"pixel{index}ink{ink // 6}" for index, ink in enumerate(pixels))
            writer.writerow([words, ";".join(list_labels(digit)), pixels.sum()])
    return path


def list_labels(digit):
    """Return the labels of a digit."""
    return [name for name, numerals in LABELS.items() if str(digit) in numerals]
