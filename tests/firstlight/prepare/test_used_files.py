"""Which files a process uses is recorded, whatever library opens them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from firstlight.prepare import used_files
from firstlight.prepare.used_files import UsedFiles, format_size

HOME = str(Path.home())
ENVIRONMENT = {"HF_HOME": "/big/hf", "TORCH_HOME": "/big/torch"}


@pytest.mark.parametrize(
    ("path", "store"),
    [
        ("/photos/a/1.jpg", "/photos"),
        ("/big/hf/hub/models--org--name/snapshots/1/config.json", "/big/hf/hub/models--org--name"),
        ("/big/hf/hub/.locks/models--org--name/x", None),
        ("/big/hf/datasets/imdb/plain/info.json", "/big/hf/datasets/imdb"),
        (f"{HOME}/.cache/library/weights/1/x.bin", f"{HOME}/.cache/library/weights"),
        (f"{HOME}/.cache/matplotlib/fontlist.json", None),
        (f"{HOME}/.netrc", None),
        (f"{sys.prefix}/lib/x.json", None),
        ("/proc/cpuinfo", None),
        ("data/photos/train/1", "data/photos"),
        ("src/x.txt", None),
        ("pyproject.toml", None),
    ],
)
def test_files_are_reported_as_few_directories(tmp_path, monkeypatch, path, store):
    monkeypatch.chdir(tmp_path)
    found = UsedFiles(["/photos"], ENVIRONMENT).find_store(os.path.abspath(path))

    assert found == (os.path.abspath(store) if store else None)


def test_opened_listed_and_renamed_files_are_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("read", "listed", "written", "renamed", "later"):
        (tmp_path / "data" / name).mkdir(parents=True)
    (tmp_path / "data/read/x").touch()
    (tmp_path / "data/temporary").touch()
    with UsedFiles([], ENVIRONMENT) as used:
        Path("data/read/x").read_text()
        os.listdir("data/listed")
        Path("data/written/x").write_text("1")
        os.replace("data/temporary", "data/renamed/x")
    Path("data/later/x").write_text("1")

    expected = {"read": False, "listed": False, "written": True, "renamed": True}
    assert used.stores == {str(tmp_path / "data" / name): is_new for name, is_new in expected.items()}


def test_hook_opens_no_file_itself(tmp_path):
    """The first call of gettempdir opens one, and would call the hook, which would call gettempdir."""
    code = (
        "import tempfile; from firstlight.prepare.used_files import UsedFiles\n"
        "with UsedFiles([], {}): tempfile.tempdir = None; open('/nowhere-else').close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)

    assert done.stderr.splitlines()[-1] == "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere-else'"


def test_sizes_are_those_of_all_files_up_to_a_number(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(bytes(1536))
    (tmp_path / "b").write_bytes(bytes(512))

    assert format_size(str(tmp_path / "a")) == "1.5 KiB"
    assert format_size(str(tmp_path / "b")) == "512 B"
    assert format_size(str(tmp_path)) == "2.0 KiB, 2 files"
    monkeypatch.setattr(used_files, "MAX_COUNTED_FILES", 1)
    assert format_size(str(tmp_path)).startswith("at least ")


def test_last_address_is_a_url_if_there_is_one():
    used = UsedFiles([], {})
    used.addresses = ["https://example.org/x", "example.org"]
    assert used.last_address == "https://example.org/x"
    used.addresses += ["other.org"]
    assert used.last_address == "other.org"
