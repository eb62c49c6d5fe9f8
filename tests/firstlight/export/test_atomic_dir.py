"""Tests of the output directory of an export: files of other programs are kept, and permissions follow the umask."""

import json
import os
import stat

import pytest

from firstlight.export.atomic_dir import atomic_output_dir, validate_export_dir
from firstlight.run.errors import ConfigError

METADATA = {"format": "torch", "load": [], "preprocessing": {}, "checkpoint": "last.ckpt"}


@pytest.fixture
def export_dir(tmp_path):
    """A directory with an export to torch."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.pt2.json").write_text(json.dumps(METADATA))
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    return tmp_path / "model"


@pytest.mark.parametrize("metadata_file", ["model.pt2.json", "model.onnx.json", "config.json"])
def test_earlier_exports_are_replaced_or_completed(export_dir, metadata_file):
    validate_export_dir(export_dir, metadata_file)


def test_export_of_transformers_is_recognized(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "export": METADATA}))
    validate_export_dir(tmp_path, "config.json")


def test_new_directories_are_valid_and_not_created(tmp_path):
    (tmp_path / "v1.2").mkdir()
    (tmp_path / "v1.2" / ".abc.tmp").mkdir()  # left by an export that was killed
    validate_export_dir(tmp_path / "v1.2", "config.json")
    validate_export_dir(tmp_path / "deep" / "v1.3", "config.json")
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("other", "is not empty, and its files could be overwritten. Choose a new directory with output=<directory>."),
        ("file", "is not a directory"),
        ("file/new", "Cannot write to .*/file/new: Not a directory. Choose another location with output=<directory>."),
        ("model.onnx", "output= expects a directory, got .*/model.onnx. .* Use output=.*/model."),
        ("model/deep.pt2", "output= expects a directory, got .*/deep.pt2."),
    ],
)
def test_other_paths_are_rejected(export_dir, tmp_path, name, message):
    (tmp_path / "file").touch()
    (tmp_path / "other").mkdir()
    # The weights of another program, which model.weights may name.
    (tmp_path / "other" / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ConfigError, match=message):
        validate_export_dir(tmp_path / name, "config.json")


def test_foreign_file_among_exports_is_kept(export_dir):
    (export_dir / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ConfigError, match="config.json already exists, and this command did not write it."):
        validate_export_dir(export_dir, "config.json")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path, umask):
    previous = os.umask(umask)
    try:
        with atomic_output_dir(tmp_path / "model") as temporary_dir:
            (temporary_dir / "package").mkdir(mode=0o700)
            for path in (temporary_dir / "package" / "weights", temporary_dir / "model.bin"):
                path.touch(mode=0o600)  # as some libraries do
    finally:
        os.umask(previous)
    entries = [tmp_path / "model", *(tmp_path / "model").rglob("*")]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in entries}

    assert modes == {
        "model": 0o777 & ~umask,
        "package": 0o777 & ~umask,
        "weights": 0o666 & ~umask,
        "model.bin": 0o666 & ~umask,
    }
