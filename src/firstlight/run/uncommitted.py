"""The uncommitted changes of a working tree: a diff of bounded size that contains no secrets."""

import hashlib
import re
import stat
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from firstlight.run.redaction import redact_text
from firstlight.run.source_files import MAX_FILE_BYTES, SOURCE_DIRS, has_secret_name, is_source_path
from firstlight.run.text import format_printable

# No program of the user's settings formats the diff, and its prefixes are those that `git apply` expects.
DIFF_COMMAND = (
    *("-c", "core.quotePath=false", "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color"),
    # Only the working directory, which may be a part of the repository, and paths relative to it.
    *("--relative", "--submodule=short", "--src-prefix=a/", "--dst-prefix=b/"),
)
UNTRACKED_COMMAND = ("ls-files", "--others", "--exclude-standard", "-z")
# A repository with more uncommitted changes has generated or large files that nobody reads as a diff.
MAX_READ_BYTES = 16 * 2**20
# Limits for a file, and for all files together: files with more changes are named only.
MAX_FILE_DIFF_CHARACTERS, MAX_DIFF_CHARACTERS = 200_000, 1_000_000
# Longer lines are data or generated code. The search for secrets in them takes time that grows with their square.
MAX_LINE_CHARACTERS = 5_000
# Untracked files that are stored, and that are named.
MAX_UNTRACKED_FILES, MAX_NAMED_FILES = 500, 50


@dataclass(frozen=True)
class UncommittedChanges:
    """Uncommitted changes.

    Attributes:
        digest: Identifies the changes, also those that are not stored.
        diff: The stored part, with secrets masked.
    """

    digest: str
    diff: str


def collect_uncommitted_changes() -> UncommittedChanges:
    """Return the changes of tracked files since the last commit, and the untracked source files.

    Files whose name suggests a secret, large files and untracked files that are not source code are named only.

    Raises:
        OSError, subprocess.SubprocessError: If git is not installed, fails or takes too long.
    """
    tracked = read_git_output(*DIFF_COMMAND)
    notes: list[str] = []
    untracked = list(iter_untracked(notes))
    digest = hashlib.sha256("".join([tracked, *untracked]).encode(errors="replace")).hexdigest()[:7]
    parts, size = [], 0
    for section in [*filter(None, re.split(r"^(?=diff --)", tracked, flags=re.MULTILINE)), *untracked]:
        name = parse_file_name(section)
        if reason := find_omission_reason(section, name, size):
            notes.append(f"changed, not stored: {name} ({reason})")
            continue
        parts.append(section)
        size += len(section)
    if len(notes) > MAX_NAMED_FILES:
        notes[MAX_NAMED_FILES:] = [f"and {len(notes) - MAX_NAMED_FILES:,} more files"]
    header = "".join(f"# {format_printable(note)}\n" for note in notes)
    return UncommittedChanges(digest, redact_text(header + "".join(parts)))


def find_omission_reason(section: str, name: str, size: int) -> str:
    """Return why a section of a diff is not stored, or "" if it is.

    Args:
        section: The section.
        name: Name of its file.
        size: Characters that are stored already.
    """
    if len(section) > MAX_FILE_DIFF_CHARACTERS or size + len(section) > MAX_DIFF_CHARACTERS:
        return f"{len(section):,} characters"
    if max(map(len, section.split("\n"))) > MAX_LINE_CHARACTERS:
        return "a very long line"
    return "its name suggests a secret" if has_secret_name(name) else ""


def parse_file_name(section: str) -> str:
    """Return the name of the file that a section of a diff is about, without its directory."""
    return section.partition("\n")[0].rpartition("/")[2].rstrip('"')


def iter_untracked(notes: list[str]) -> Iterator[str]:
    """Yield the diff of each untracked source file.

    Args:
        notes: Receives a line about each other untracked file or directory.
    """
    # A directory without tracked files is one entry: an untracked dataset may have millions of files.
    entries = read_git_output(*UNTRACKED_COMMAND, "--directory").split("\0")
    directories = [entry for entry in entries if entry.endswith("/") and entry.partition("/")[0] in SOURCE_DIRS]
    if directories:
        entries += read_git_output(*UNTRACKED_COMMAND, "--", *directories[:MAX_UNTRACKED_FILES]).split("\0")
    num_stored = 0
    for name in sorted({entry for entry in entries if entry and entry not in directories}):
        diff = make_new_file_diff(name) if num_stored < MAX_UNTRACKED_FILES and is_source_path(name) else None
        num_stored += diff is not None
        if diff is None:
            notes.append(f"untracked, not stored: {name}")
        else:
            yield diff


def make_new_file_diff(name: str) -> str | None:
    """Return the diff that adds an untracked file; None for a link, a binary or large file, or a secret."""
    path = Path(name)
    try:
        # A pipe would block, and a link may lead out of the project.
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES or has_secret_name(name):
            return None
        content = path.read_bytes()
    except OSError:
        return None
    if b"\0" in content:
        return None
    text = content.decode("utf-8", "replace")
    shown = format_printable(name)
    start = f"diff --git a/{shown} b/{shown}\nnew file mode 100644\n"
    if not text:
        return start
    lines = text.removesuffix("\n").split("\n")
    end = "\n" if text.endswith("\n") else "\n\\ No newline at end of file\n"
    added = "\n+".join(lines)
    return f"{start}--- /dev/null\n+++ b/{shown}\n@@ -0,0 +1,{len(lines)} @@\n+{added}{end}"


def read_git_output(*args: str, timeout_s: float = 10) -> str:
    """Return the output of a git command, up to `MAX_READ_BYTES`.

    Raises:
        OSError, subprocess.SubprocessError: If git is not installed, fails or takes too long.
    """
    command = ["git", *args]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    timer = threading.Timer(timeout_s, process.kill)
    timer.start()
    try:
        with process:  # closes the pipe, so that git ends if there is more output, and waits
            output = process.stdout.read(MAX_READ_BYTES) if process.stdout else b""
    finally:
        timer.cancel()
    if process.returncode and len(output) < MAX_READ_BYTES:
        raise subprocess.CalledProcessError(process.returncode, command)
    return output.decode("utf-8", "replace")
