"""The project's files as texts in memory, so that nothing is half-done when an error comes. Standard library only."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

# Python 3.9 reads this file: macOS brings it, and it runs before anything is installed.
Texts = dict[str, str]  # by path from the root


def git(root: Path, *words: str) -> str:
    """Return what git prints.

    Raises:
        ValueError: there is no git, or this is no repository of its own.
    """
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, encoding="utf-8")
    except FileNotFoundError:
        raise ValueError("git lists the files to edit, but there is no git on the PATH: install git") from None
    if done.returncode:
        raise ValueError(
            f"git lists the files to edit, but says '{done.stderr.strip()}': make a clone with `git clone`"
        )
    return done.stdout


def require_clean(root: Path) -> None:
    """Refuse a tree with changes that git could not give back."""
    if Path(git(root, "rev-parse", "--show-toplevel").strip()).resolve() != root.resolve():
        raise ValueError(f"git lists the files to edit, but {root} is no repository of its own: type `git init` first")
    changed = git(root, "status", "--porcelain").splitlines()
    if changed:
        raise ValueError(
            f"What is not committed could get lost, and {changed[0][3:]} is not: commit it, or add force=true"
        )


def paths(root: Path) -> list[str]:
    """Return the files that git tracks, and new ones that it does not ignore."""
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return sorted({path for path in listed if path and (root / path).is_file() and not (root / path).is_symlink()})


def texts(root: Path) -> Texts:
    """Return the text files among them; pictures and the like are left out."""
    found = {}
    for path in paths(root):
        content = (root / path).read_bytes()
        try:
            found[path] = content.decode("utf-8") if b"\0" not in content else None
        except UnicodeDecodeError:
            continue
    return {path: text for path, text in found.items() if text is not None}


def present(root: Path) -> Texts:
    """Return sources and configs as they lie there, whether git knows them or not."""
    found = [
        path for folder in ("src", "configs") for path in (root / folder).rglob("*") if path.suffix in (".py", ".yaml")
    ]
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in found}


def package_of(files: list[str]) -> str:
    """Return the name of the package, which is the folder in src/."""
    found = sorted({path.split("/")[1] for path in files if re.match(r"src/[^/]+/__init__\.py$", path)})
    if len(found) != 1:
        raise ValueError(
            f"src/ holds the project's one package, but holds {', '.join(found) or 'none'}: leave one there"
        )
    return found[0]


def write(root: Path, before: Texts, after: Texts, gone: set[str], moves: dict[str, str]) -> None:
    """Bring the folder to what was planned: removals, moves, then texts."""
    for path in sorted(gone):
        (root / path).unlink()
    for old, new in moves.items():
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (root / old).rename(root / new)
    for path, text in after.items():
        old = next((each for each, new in moves.items() if new == path), path)
        if before.get(old) != text:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(text.encode("utf-8"))
    for path in sorted({*gone, *moves}, key=len, reverse=True):
        tidy(root, (root / path).parent)


def tidy(root: Path, folder: Path) -> None:
    """Remove folders that hold nothing any more, or only Python's own caches."""
    while folder != root and folder.is_dir() and all(each.name == "__pycache__" for each in folder.iterdir()):
        shutil.rmtree(folder)
        folder = folder.parent
