"""Find the image files under a directory, and report the files that are ignored."""

import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from firstlight.data.image_formats import HEIF_SUFFIXES, format_suffixes, get_suffixes
from firstlight.run.errors import DataError, not_found
from firstlight.run.packages import get_install_hint
from firstlight.run.progress import show_progress

# Directories that programs and file systems add; hidden ones need no entry.
SYSTEM_DIRS = (
    "__MACOSX",
    "__pycache__",
    "@eaDir",
    "#recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "lost+found",
)
SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini")
# A message names at most this many kinds of ignored files.
MAX_LISTED_KINDS = 6


@dataclass
class ImageListing:
    """The files under a directory.

    Attributes:
        names: Paths of the image files as strings, sorted by their parts.
        ignored: Number of other files by kind, such as ".txt" or "hidden".
    """

    names: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)

    @property
    def paths(self) -> list[Path]:
        """The image files."""
        return list(map(Path, self.names))


def list_images(path: Path) -> ImageListing:
    """Return the image files under a directory at any depth, or the path itself if it is a file.

    Hidden files and directories, and the directories in `SYSTEM_DIRS`, are ignored. Links to directories are followed.

    Raises:
        DataError: If the path does not exist, or a directory cannot be read.
    """
    if path.is_file():
        return ImageListing([str(path)])
    if not path.exists():
        raise DataError(not_found(str(path), f"Use an image or a directory with images ({format_suffixes()})."))
    listing, suffixes, visited = ImageListing(), frozenset(get_suffixes()), set()
    pending = [str(path)]
    with show_progress(f"Listing images in {path}") as progress:
        while pending:
            directory = pending.pop()
            status = os.stat(directory)
            # A link may lead to a directory above it.
            if (status.st_dev, status.st_ino) not in visited:
                visited.add((status.st_dev, status.st_ino))
                pending += sorted(_list_directory(listing, directory, suffixes), reverse=True)
                progress.completed = len(listing.names)
    # In the order of `Path`, which compares parts: "a/b" before "a-b".
    listing.names.sort(key=lambda name: name.replace(os.sep, "\0"))
    return listing


def _list_directory(listing: ImageListing, directory: str, suffixes: frozenset[str]) -> list[str]:
    """Add the files of a directory, and return its directories."""
    dirs = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                # The type is part of the directory, so that only links cost a system call.
                if not is_dir(entry):
                    _add_file(listing, entry, suffixes)
                elif is_ignored_dir(entry.name):
                    listing.ignored["hidden or system directory"] += 1
                else:
                    dirs.append(entry.path)
    except OSError as error:
        _raise_unreadable(error)
    return dirs


def _add_file(listing: ImageListing, entry: os.DirEntry[str], suffixes: frozenset[str]) -> None:
    name = entry.name
    position = name.rfind(".")
    suffix = name[position:].lower() if 0 < position < len(name) - 1 else ""
    if name.startswith(".") or name.lower() in SYSTEM_FILES:
        listing.ignored["hidden"] += 1
    elif suffix not in suffixes:
        listing.ignored[suffix or "without suffix"] += 1
    elif is_file(entry):
        listing.names.append(entry.path)
    else:
        listing.ignored["broken link" if entry.is_symlink() else "special file"] += 1


def _raise_unreadable(error: OSError) -> NoReturn:
    raise DataError(f"Cannot read the directory {error.filename} ({error.strerror}). Allow access to it.") from error


def is_dir(entry: os.DirEntry[str]) -> bool:
    """Return True if an entry is a directory; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_file(entry: os.DirEntry[str]) -> bool:
    """Return True if an entry is a file; a link to itself is none."""
    try:
        return entry.is_file()
    except OSError:
        return False


def is_ignored_dir(name: str) -> bool:
    """Return True if a directory is hidden or belongs to a program, such as __MACOSX of an archive."""
    return name.startswith(".") or name in SYSTEM_DIRS


def format_ignored(ignored: Counter[str]) -> str:
    """Return the numbers of ignored files by kind, most frequent first, such as "9 .heic, 1 hidden"."""
    kinds = [f"{count:,} {kind}" for kind, count in sorted(ignored.items(), key=lambda x: (-x[1], x[0])) if count]
    rest = ["others"] * (len(kinds) > MAX_LISTED_KINDS)
    return ", ".join([*kinds[:MAX_LISTED_KINDS], *rest])


def get_heif_hint(ignored: Counter[str]) -> str:
    """Return the sentence that says how to read HEIC files if there are some among the ignored files, or ""."""
    has_heif = any(ignored[suffix] for suffix in HEIF_SUFFIXES)
    return f" Reading HEIC requires pillow-heif. {get_install_hint('pillow-heif', 'heic')}" if has_heif else ""


def describe_missing_images(directory: Path, ignored: Counter[str]) -> str:
    """Return the message for a directory without images, with the kinds of its other files."""
    found = f" (only {text})" if (text := format_ignored(ignored)) else ""
    fix = f"Use an image or a directory with images ({format_suffixes()})."
    return f"{directory} contains no images{found}. {fix}{get_heif_hint(ignored)}"


def report_ignored(directory: Path, ignored: Counter[str], source: str = "data") -> None:
    """Print how many files of a directory are ignored, in one line; nothing if there are none.

    Args:
        directory: The directory.
        ignored: Number of files by kind.
        source: First word of the line.
    """
    if text := format_ignored(ignored):
        print(f"{source}: ignored files in {directory}: {text}.{get_heif_hint(ignored)}", file=sys.stderr, flush=True)
