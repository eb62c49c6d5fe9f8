"""Fetch the template for `make update` into a temporary repository, and read its files. Standard library only."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from manifest import MANIFEST
from progress import show_status

# Git hooks set these variables. They would redirect git to another repository than the current directory.
REPOSITORY_VARIABLES = {
    f"GIT_{name}"
    for name in ("DIR", "WORK_TREE", "INDEX_FILE", "OBJECT_DIRECTORY", "COMMON_DIR", "PREFIX", "NAMESPACE")
}
# Servers may forbid to fetch a commit by its hash. Fetching all branches and tags always works.
ALL_REFS = ("+refs/heads/*:refs/update/heads/*", "+refs/tags/*:refs/update/tags/*")

Manifest = dict[str, dict[str, str]]


class UpdateError(ValueError):
    """An error of `make update` that is printed as one line."""


def parse_manifest(content: bytes | None, source: str, fix: str) -> tuple[Manifest, str]:
    """Return the files and the version of a manifest.

    Raises:
        UpdateError: If the manifest is missing or invalid.
    """
    try:
        loaded = json.loads(content or b"")
        return {kind: dict(loaded[kind]) for kind in ("engine", "shared")}, str(loaded["version"])
    except (ValueError, KeyError, TypeError):
        raise UpdateError(f"{source} has no{' valid' if content else ''} {MANIFEST}. {fix}") from None


def run_git(directory: Path, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run git in a directory without password prompts; a nonzero exit code does not raise an error."""
    environment = {name: value for name, value in os.environ.items() if name not in REPOSITORY_VARIABLES}
    environment.update(GIT_TERMINAL_PROMPT="0", LC_ALL="C")
    try:
        with show_status(f"update: git {arguments[0]}"):
            return subprocess.run(["git", *arguments], cwd=directory, env=environment, input=stdin, capture_output=True)
    except FileNotFoundError:
        raise UpdateError("git was not found. Install git and run `make update` again.") from None


def get_git_error(result: subprocess.CompletedProcess[bytes]) -> str:
    """Return the error message of a failed git command."""
    lines = result.stderr.decode("utf-8", "replace").strip().splitlines()
    errors = [line.partition(": ")[2] for line in lines if line.startswith(("fatal: ", "error: "))]
    return redact_urls((errors or lines or [f"git exited with {result.returncode}"])[0].rstrip("."))


def redact_urls(text: str) -> str:
    """Remove user names and passwords from the URLs in a text."""
    return re.sub(r"(https?://)[^/@\s]+@", r"\1", text)


@dataclass
class Tree:
    """The files of a commit of the template."""

    repository: Path
    commit: str
    modes: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """List the regular files; symlinks and submodules are ignored."""
        listed = run_git(self.repository, "ls-tree", "-r", "-z", self.commit).stdout.decode("utf-8")
        for line in filter(None, listed.split("\0")):
            header, _, path = line.partition("\t")
            mode, _, blob = header.split()
            if mode.startswith("100"):
                self.modes[path], self.blobs[path] = mode, blob

    def read(self, paths: list[str]) -> dict[str, bytes]:
        """Return the contents of the given paths; paths that this commit does not have are omitted."""
        paths = [path for path in paths if path in self.blobs]
        stdin = "".join(f"{self.blobs[path]}\n" for path in paths).encode()
        output = run_git(self.repository, "cat-file", "--batch", stdin=stdin).stdout
        contents, start = {}, 0
        for path in paths:
            end = output.index(b"\n", start)
            size = int(output[start:end].split()[2])
            contents[path] = output[end + 1 : end + 1 + size]
            start = end + 1 + size + 1
        return contents


@dataclass
class Template:
    """A template at a URL or path, fetched into an empty bare repository."""

    url: str
    repository: Path

    def __post_init__(self) -> None:
        """Create the empty repository."""
        result = run_git(self.repository, "init", "--quiet", "--bare", ".")
        if result.returncode:
            fix = "Check the permissions and the free space of the temporary directory."
            raise UpdateError(f"Cannot create a temporary repository: {get_git_error(result)}. {fix}")

    def fetch(self, *refspecs: str) -> bool:
        """Fetch refspecs and return True on success; the source may be a shallow clone."""
        command = ("-c", "gc.auto=0", "fetch", "--quiet", "--no-tags", "--update-shallow", "--")
        return not run_git(self.repository, *command, self.url, *refspecs).returncode

    def find_commit(self, name: str) -> str:
        """Return the hash of a fetched commit, or "" if it was not fetched."""
        result = run_git(self.repository, "rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}")
        return result.stdout.decode().strip() if not result.returncode else ""

    def fetch_ref(self, ref: str) -> Tree:
        """Fetch a branch, tag or commit, and return its files.

        Raises:
            UpdateError: If the URL is not a git repository, or the ref does not exist.
        """
        listed = run_git(self.repository, "ls-remote", "--quiet", "--", self.url)
        if listed.returncode:
            raise UpdateError(
                f"Cannot read from={redact_urls(self.url)}: {get_git_error(listed)}."
                " Pass the URL or path of the template's git repository."
            )
        remote = [line.split("\t")[1] for line in listed.stdout.decode("utf-8").splitlines() if "\t" in line]
        names = {re.sub(r"^refs/(heads|tags)/", "", name) for name in remote if not name.endswith("^{}")}
        if re.fullmatch(r"[0-9a-f]{7,64}", ref) and ref not in names:
            commit = self.fetch_commit(ref)
        else:
            commit = self.find_commit("refs/update/new") if self.fetch(f"+{ref}:refs/update/new") else ""
        if not commit:
            branches = sorted(name for name in names if not name.startswith("refs/") and name != "HEAD")
            matches = get_close_matches(ref, branches, n=1, cutoff=0.5)
            available = ", ".join(branches[:8]) or "none"
            hint = f"Did you mean {matches[0]!r}?" if matches else f"Available: {available}."
            raise UpdateError(f"Unknown branch or tag ref={ref} in {redact_urls(self.url)}. {hint}")
        return Tree(self.repository, commit)

    def fetch_commit(self, commit: str) -> str:
        """Fetch a commit of the template if necessary, and return its full hash, or "" if it does not exist."""
        if not re.fullmatch(r"[0-9a-f]{7,64}", commit):
            return ""
        if not self.find_commit(commit):
            self.fetch(commit)
        if not self.find_commit(commit):
            self.fetch(*ALL_REFS)
        return self.find_commit(commit)

    def find_commit_with_manifest(self, manifest: bytes) -> str:
        """Return the newest commit with the given manifest, or ""."""
        blob = run_git(self.repository, "hash-object", "--stdin", stdin=manifest).stdout.decode().strip()
        self.fetch(*ALL_REFS)
        listed = run_git(self.repository, "log", "--all", "--full-history", "--format=%H", "--", MANIFEST)
        commits = listed.stdout.decode().split()
        stdin = "".join(f"{commit}:{MANIFEST}\n" for commit in commits).encode()
        lines = run_git(self.repository, "cat-file", "--batch-check", stdin=stdin).stdout.decode().splitlines()
        return next((commit for commit, line in zip(commits, lines) if line.startswith(f"{blob} ")), "")

    def find_base(self, recorded: str, manifest: bytes) -> Tree | None:
        """Return the version of the template that a project was made from, or None if it is unknown.

        This is the recorded commit if it exists, otherwise the newest commit with the same manifest.
        """
        commit = self.fetch_commit(recorded) or self.find_commit_with_manifest(manifest)
        return Tree(self.repository, commit) if commit else None
