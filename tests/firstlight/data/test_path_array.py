"""Paths in one array are the same paths, in the order of `Path`."""

import os
from pathlib import Path

import numpy as np

from firstlight.data.image_files import list_images
from firstlight.data.path_array import PathArray, take_paths

NAMES = ["a/b.jpg", "a b/\u00e4.jpg", os.fsdecode(b"a/\xff.jpg"), "/root/c.png"]


def test_array_has_the_paths():
    paths = PathArray.from_names(NAMES)

    assert list(paths) == list(map(Path, NAMES))
    assert paths[-1] == Path(NAMES[-1])
    assert paths[1:3] == list(map(Path, NAMES[1:3]))
    assert len(PathArray.from_names([])) == 0


def test_chosen_paths():
    paths, indices = PathArray.from_names(NAMES), np.array([3, 1])

    assert (
        list(take_paths(paths, indices))
        == take_paths(list(map(Path, NAMES)), indices)
        == [
            Path(NAMES[3]),
            Path(NAMES[1]),
        ]
    )


def test_images_are_sorted_as_paths(tmp_path):
    for name in ("a/x.jpg", "a-b/x.jpg", "a/b/x.jpg", "a.jpg", "a/.b/x.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listing = list_images(tmp_path)

    assert listing.paths == sorted(path for path in tmp_path.rglob("*.jpg") if ".b" not in path.parts)
    assert listing.ignored == {"hidden or system directory": 1}
