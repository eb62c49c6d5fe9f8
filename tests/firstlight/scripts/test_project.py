"""Tests of the files that `make init` and `make new` write: never through a link, and all of them or none."""

import os
import stat
import sys

import pytest

from support.checkout import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import project

FILES = {"src/a.py": "a\n", "src/b.py": "b\n"}


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "checkout"
    project.write_files(root, {}, FILES)
    return root


def read_all(directory):
    return {path: path.read_text() for path in directory.rglob("*") if path.is_file()}


def link_file(root):
    (root / "src" / "b.py").rename(root.parent / "mine.py")
    (root / "src" / "b.py").symlink_to(root.parent / "mine.py")


def link_directory(root):
    (root / "src").rename(root.parent / "mine")
    (root / "src").symlink_to(root.parent / "mine")


def link_to_nothing(root):
    (root / "src" / "new.py").symlink_to(root.parent / "mine.py")


def put_file_in_place_of_directory(root):
    (root / "src" / "deep").touch()


@pytest.mark.parametrize("change", [link_file, link_directory, link_to_nothing, put_file_in_place_of_directory])
def test_files_outside_of_the_checkout_are_kept(root, change, tmp_path):
    change(root)
    before = read_all(tmp_path)
    after = {"src/a.py": "changed\n", "src/new.py": "new\n", "src/deep/new.py": "new\n"}
    with pytest.raises(
        ValueError, match="src/.* is a link, or is in a linked|Cannot write src/deep/new.py: .*/deep is not"
    ):
        project.write_files(root, FILES, after)
    assert before == read_all(tmp_path)


def test_unchanged_links_are_no_problem(root):
    link_file(root)
    project.write_files(root, FILES, {**FILES, "src/a.py": "changed\n"})

    assert (root / "src" / "a.py").read_text() == "changed\n"


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(root, umask):
    previous = os.umask(umask)
    try:
        project.write_files(root, FILES, {**FILES, "new/new.py": ""})
    finally:
        os.umask(previous)

    assert stat.S_IMODE((root / "new" / "new.py").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((root / "new").stat().st_mode) == 0o777 & ~umask
