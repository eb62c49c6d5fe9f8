"""Small datasets whose samples can be told apart, for the tests of folds, groups and shared samples."""

import csv

import numpy as np
from PIL import Image

from firstlight.data.image_folder import ImageFolderDataModule
from firstlight.data.images import InMemoryImageDataModule


class Pixels(InMemoryImageDataModule):
    """100 different images of two classes, and splits of the same images."""

    splits = ("train",)

    def load_arrays(self):
        images = np.arange(100, dtype=np.uint8).repeat(3 * 4).reshape(100, 3, 2, 2)
        return ["a", "b"], {name: (images, np.arange(100) % 2) for name in self.splits}


def write_rows(path, rows, columns=("text", "label", "patient")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return str(path)


def make_rows(num_rows=200, has_large_group=True):
    """Return texts of two classes and 40 patients, of whom one may have half of the texts."""
    num_large = num_rows // 2 if has_large_group else 0
    patients = [0 if index < num_large else 1 + index % 39 for index in range(num_rows)]
    return [(f"text {index}", "ab"[index % 2], f"p{patient} ") for index, patient in enumerate(patients)]


def write_photos(root, names, table=None):
    for index, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (index, 0, 0)).save(root / name)
    if table is not None:
        write_rows(root / "metadata.csv", table, ("file_name", "label", "patient"))
    return str(root)


def make_photos(root, **kwargs):
    return ImageFolderDataModule(root, image_size=8, batch_size=4, num_workers=0, **kwargs)


def load(data, run=None, is_evaluation=True):
    """Set up a dataset, restored from that of a training run, and return it."""
    if run is not None:
        data.splitter.is_evaluation = is_evaluation
        data.load_state_dict(run.state_dict())
    data.setup("fit")
    return data


def list_texts(data):
    return {name: set(texts) for name, (texts, _) in data.texts.items()}
