"""The manifest lists the files of the template with their checksums, and is up to date."""

import subprocess
import sys

import pytest

from support.checkout import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import manifest

FILES = {
    "src/firstlight/__init__.py": b"",
    "src/firstlight/manifest.json": b"{}",
    "scripts/make.py": b"",
    "docs/index.md": b"",
    "tests/firstlight/test_a.py": b"",
    "src/mine/__init__.py": b"",
    "tests/mine/test_net.py": b"",
    "README.md": b"",
    "notebooks/a.ipynb": b"",
    "Makefile": b"",
    "configs/trusted.yaml": b"- mine\n",
    "configs/model/net.yaml": b"model:\n  _target_: mine.net.Net\n",
    "configs/data/set.yaml": b"_target_: mine.set.Set  # rows\n",
    "configs/data/folder.yaml": b"# Not mine\n_target_: firstlight.data.Folder\n",
    "configs/experiment/own.yaml": b"defaults:\n  - override /model: net\n",
    "configs/experiment/sweep.yaml": b"hydra:\n  sweeper:\n    params:\n      data: folder,set\n",
    "configs/experiment/any.yaml": b"# make train model=net\nmodel:\n  dropout: 0.0\ndata:\n  root: set\n",
}


def test_manifest_is_up_to_date():
    if manifest.TEMPLATE_TABLE in (ROOT / "pyproject.toml").read_text():
        pytest.skip("a project keeps the manifest of its template")
    if not (ROOT / ".git").exists():
        pytest.skip("this directory is not a git repository")

    assert manifest.find_difference() == ""


def test_engine_and_shared_files():
    built = manifest.build_manifest(FILES, "1.0")

    assert set(built["engine"]) == {
        *("src/firstlight/__init__.py", "scripts/make.py", "docs/index.md", "tests/firstlight/test_a.py")
    }
    assert set(built["shared"]) == {
        *("Makefile", "configs/trusted.yaml", "configs/data/folder.yaml", "configs/experiment/any.yaml")
    }
    assert built["version"] == "1.0"


def test_checksum_ignores_line_endings_of_text_files():
    assert manifest.compute_checksum(b"a\r\nb\r\n") == manifest.compute_checksum(b"a\nb\n")
    assert manifest.compute_checksum(b"\0a\r\n") != manifest.compute_checksum(b"\0a\n")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Return a git repository with a small template and an up-to-date manifest."""
    for path, content in {**FILES, "pyproject.toml": b'[project]\nversion = "1.0"\n'}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    subprocess.run(["git", "init", "-q", "."], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True)
    monkeypatch.setattr(manifest, "ROOT", tmp_path)
    manifest.main([])
    return tmp_path


@pytest.mark.parametrize(
    ("path", "content", "problem"),
    [
        ("docs/index.md", b"# New\n", "the engine file docs/index.md has changed"),
        ("docs/index.md", None, "the engine file docs/index.md is missing"),
        ("docs/new.md", b"", "the engine file docs/new.md is not listed"),
        ("Makefile", b"all:\n", "the shared file Makefile has changed"),
        ("pyproject.toml", b'[project]\nversion = "1.1"\n', "the shared file pyproject.toml has changed"),
    ],
)
def test_outdated_manifest_error_includes_command(checkout, path, content, problem):
    assert manifest.main(["--check"]) == "src/firstlight/manifest.json is up to date"
    (checkout / path).unlink(missing_ok=True)
    if content is not None:
        (checkout / path).write_bytes(content)
    subprocess.run(["git", "add", "-A"], cwd=checkout, check=True)

    with pytest.raises(ValueError) as raised:
        manifest.main(["--check"])

    expected = f"src/firstlight/manifest.json is out of date: {problem}. Run `python scripts/manifest.py`."
    assert str(raised.value) == expected


def test_project_cannot_write_manifest(checkout):
    (checkout / "pyproject.toml").write_text("[tool.firstlight.template]\n")

    with pytest.raises(ValueError, match="Run `make update` to replace the manifest"):
        manifest.main([])
