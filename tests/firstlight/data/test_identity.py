"""Identities of files and texts, and checksums that notice modified files."""

import pytest

from firstlight.data.identity import make_path_identities, make_text_identity, stamp_files


def test_path_identities_are_the_same_on_every_file_system(tmp_path):
    names = ["a/1.jpg", "b/./2.jpg", "b/x/../3.jpg", "e\u0301t\u00e9.png"]
    paths = [tmp_path / name for name in names]

    assert make_path_identities(paths, f"{tmp_path}/") == ["a/1.jpg", "b/2.jpg", "b/3.jpg", "\u00e9t\u00e9.png"]
    assert make_path_identities([path.relative_to("/") for path in paths[:1]], "./" + str(tmp_path)[1:]) == ["a/1.jpg"]


def test_texts_with_other_blanks_are_equal():
    assert make_text_identity(" A\r\ncafe\u0301\t x ") == make_text_identity("A caf\u00e9\u00a0x")
    assert make_text_identity("A b") != make_text_identity("a b")


@pytest.mark.parametrize(("num_files", "notices"), [(10, {"size", "bytes"}), (2_001, {"size"}), (100_001, set())])
def test_modified_files_are_noticed(tmp_path, num_files, notices):
    path = tmp_path / "1.jpg"
    path.write_bytes(b"abc")
    before = stamp_files([path], ["a"], num_files)
    changes = {"size": b"abcd", "bytes": b"abd", "nothing": b"abc"}
    found = set()
    for name, content in changes.items():
        path.write_bytes(content)
        found |= {name} if stamp_files([path], ["a"], num_files) != before else set()

    assert found == notices
    assert stamp_files([path], ["b"], num_files) != before
    assert len(stamp_files([tmp_path / "missing"], ["a"], num_files)) == 1
