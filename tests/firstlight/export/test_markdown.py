"""Tests of the texts of users in a model card."""

import pytest

from firstlight.export.markdown import shorten_paths


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/mnt/lab/photos", "photos"),
        ("/mnt/lab/my photos/", "my photos"),
        ("Photo, root=/mnt/lab/photos", "Photo, root=photos"),
        ("/opt/x/bin/python -m train 'data.root=/mnt/my lab/a' b=[/c/d,/e/f]", "python -m train 'data.root=a' b=[d,f]"),
        (r"C:\Users\me\best.ckpt", "best.ckpt"),
        ("init_from.path=file:///mnt/best.ckpt", "init_from.path=best.ckpt"),
        (
            "https://example.com/a/b and/or 1 / 2, logs/train/run",
            "https://example.com/a/b and/or 1 / 2, logs/train/run",
        ),
    ],
)
def test_absolute_paths_become_their_last_component(text, expected):
    assert shorten_paths(text) == expected
