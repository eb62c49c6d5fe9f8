"""Fetch a template for `make update` into a temporary repository, and read its files. Standard library only."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from manifest import MANIFEST

# Set inside git's hooks: they would lead git to another repository than the one in its working directory.
LOCAL_VARIABLES = {
    f"GIT_{name}"
    for name in ("DIR", "WORK_TREE", "INDEX_FILE", "OBJECT_DIRECTORY", "COMMON_DIR", "PREFIX", "NAMESPACE")
}
# git fetches a commit without a name only if the server allows it; branches and tags it always fetches.
EVERYTHING = ("+refs/heads/*:refs/update/heads/*", "+refs/tags/*:refs/update/tags/*")

Manifest = dict[str, dict[str, str]]


class UpdateError(ValueError):
    """An update that is not possible, as one line for the user."""


def parse_manifest(content: bytes | None, place: str, fix: str) -> tuple[Manifest, str]:
    """Return a manifest's files and version.

    Raises:
        UpdateError: If it is missing or invalid.
    """
    try:
        loaded = json.loads(content or b"")
        return {kind: dict(loaded[kind]) for kind in ("engine", "shared")}, str(loaded["version"])
    except (ValueError, KeyError, TypeError):
        raise UpdateError(f"{place} has no{' valid' if content else ''} {MANIFEST}. {fix}") from None


def run_git(directory: Path, *arguments: str, text: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run git in a directory without asking for passwords, and return its result whatever its exit code is."""
    environment = {name: value for name, value in os.environ.items() if name not in LOCAL_VARIABLES}
    environment.update(GIT_TERMINAL_PROMPT="0", LC_ALL="C")
    try:
        return subprocess.run(["git", *arguments], cwd=directory, env=environment, input=text, capture_output=True)
    except FileNotFoundError:
        raise UpdateError("git was not found. Install git and run `make update` again.") from None


def reason_of(result: subprocess.CompletedProcess[bytes]) -> str:
    """Return git's own reason for a failure."""
    lines = result.stderr.decode("utf-8", "replace").strip().splitlines()
    named = [line.partition(": ")[2] for line in lines if line.startswith(("fatal: ", "error: "))]
    return strip_password((named or lines or [f"git exited with {result.returncode}"])[0].rstrip("."))


def strip_password(url: str) -> str:
    """Return a text without the user and password of the URLs in it."""
    return re.sub(r"(https?://)[^/@\s]+@", r"\1", url)


@dataclass
class Tree:
    """The files of one commit of the template."""

    repository: Path
    commit: str
    modes: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """List the files; links and submodules are none."""
        listed = run_git(self.repository, "ls-tree", "-r", "-z", self.commit).stdout.decode("utf-8")
        for line in filter(None, listed.split("\0")):
            header, _, path = line.partition("\t")
            mode, _, blob = header.split()
            if mode.startswith("100"):
                self.modes[path], self.blobs[path] = mode, blob

    def read(self, paths: list[str]) -> dict[str, bytes]:
        """Return the contents of those paths that this commit has."""
        paths = [path for path in paths if path in self.blobs]
        asked = "".join(f"{self.blobs[path]}\n" for path in paths).encode()
        rest = run_git(self.repository, "cat-file", "--batch", text=asked).stdout
        contents, start = {}, 0
        for path in paths:
            end = rest.index(b"\n", start)
            size = int(rest[start:end].split()[2])
            contents[path] = rest[end + 1 : end + 1 + size]
            start = end + 1 + size + 1
        return contents


@dataclass
class Template:
    """A template at a URL or path, fetched into an empty bare repository."""

    url: str
    repository: Path

    def __post_init__(self) -> None:
        """Make the empty repository."""
        result = run_git(self.repository, "init", "--quiet", "--bare", ".")
        if result.returncode:
            raise UpdateError(f"Cannot make a temporary repository: {reason_of(result)}.")

    def fetch(self, *refspecs: str) -> bool:
        """Fetch and return True if git found them. A shallow clone can be fetched from, too."""
        fetch = ("-c", "gc.auto=0", "fetch", "--quiet", "--no-tags", "--update-shallow", "--")
        fetched = run_git(self.repository, *fetch, self.url, *refspecs)
        return not fetched.returncode

    def find_commit(self, name: str) -> str:
        """Return the commit with this name if it was fetched, else an empty text."""
        found = run_git(self.repository, "rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}")
        return found.stdout.decode().strip() if not found.returncode else ""

    def fetch_ref(self, ref: str) -> Tree:
        """Fetch a branch or tag, and return its files.

        Raises:
            UpdateError: If the URL is not a git repository, or has no such branch or tag.
        """
        listed = run_git(self.repository, "ls-remote", "--quiet", "--", self.url)
        if listed.returncode:
            raise UpdateError(
                f"from={strip_password(self.url)} cannot be read by git: {reason_of(listed)}."
                " Pass the URL or the path of the template's git repository."
            )
        remote = [line.split("\t")[1] for line in listed.stdout.decode("utf-8").splitlines() if "\t" in line]
        names = {re.sub(r"^refs/(heads|tags)/", "", name) for name in remote if not name.endswith("^{}")}
        if re.fullmatch(r"[0-9a-f]{7,64}", ref) and ref not in names:
            commit = self.fetch_commit(ref)
        else:
            commit = self.find_commit("refs/update/new") if self.fetch(f"+{ref}:refs/update/new") else ""
        if not commit:
            branches = sorted(name for name in names if not name.startswith("refs/") and name != "HEAD")
            near = get_close_matches(ref, branches, n=1, cutoff=0.5)
            known = ", ".join(branches[:8]) or "none"
            hint = f"Did you mean {near[0]!r}?" if near else f"Branches and tags: {known}."
            raise UpdateError(f"Unknown branch or tag ref={ref} in {strip_password(self.url)}. {hint}")
        return Tree(self.repository, commit)

    def fetch_commit(self, commit: str) -> str:
        """Return the complete name of a commit of the template, fetched if necessary, or an empty text."""
        if not re.fullmatch(r"[0-9a-f]{7,64}", commit):
            return ""
        if not self.find_commit(commit):
            self.fetch(commit)
        if not self.find_commit(commit):
            self.fetch(*EVERYTHING)
        return self.find_commit(commit)

    def find_manifest(self, manifest: bytes) -> str:
        """Return the newest commit whose manifest is this one, or an empty text."""
        blob = run_git(self.repository, "hash-object", "--stdin", text=manifest).stdout.decode().strip()
        self.fetch(*EVERYTHING)
        listed = run_git(self.repository, "log", "--all", "--full-history", "--format=%H", "--", MANIFEST)
        commits = listed.stdout.decode().split()
        asked = "".join(f"{commit}:{MANIFEST}\n" for commit in commits).encode()
        answers = run_git(self.repository, "cat-file", "--batch-check", text=asked).stdout.decode().splitlines()
        found = (commit for commit, answer in zip(commits, answers) if answer.startswith(f"{blob} "))
        return next(found, "")

    def find_base(self, recorded: str, manifest: bytes) -> Tree | None:
        """Return the template that a project was made from: the recorded commit, else one with the same manifest."""
        commit = self.fetch_commit(recorded) or self.find_manifest(manifest)
        return Tree(self.repository, commit) if commit else None
