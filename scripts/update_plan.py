"""Decide what `make update` does to each file. Nothing is written here. Standard library only."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from manifest import MANIFEST, checksum
from update_source import UpdateError, reason_of, run_git

# Values that belong to a project wherever they stand in a SHARED file. The update takes them from the project's file,
# so that the name of the template's distribution, conda environment and W&B project never conflicts with yours.
OWN_VALUES = [
    (re.compile(path), re.compile(pattern, re.MULTILINE))
    for path, pattern in (
        (r"pyproject\.toml", r'^name = "([^"\n]*)"'),
        (r"pyproject\.toml", r'^version = "([^"\n]*)"'),
        (r"pyproject\.toml", r'^description = "([^"\n]*)"'),
        (r"environment\.yml", r"^name: (\S+)"),
        (r"environment\.yml", r"conda activate (\S+)"),
        (r"Makefile", r"CONDA_DEFAULT_ENV\),([^)\n]*)\)"),
        (r"(?:configs/logger|sweeps)/.+", r"^\s*project: (\S+)"),
        (r"configs/[^/]+\.yaml", r"^\s*- model: (\S+)"),
        (r"requirements.*\.lock", r"([\w.-]+) \(pyproject\.toml\)"),
    )
]
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Inputs:
    """All that the decisions depend on."""

    read: Callable[[str], bytes | None]  # a file of the project with \n line endings; None if there is none
    package: str  # the project's; empty if there is none
    old: dict[str, dict[str, str]]  # the project's manifest
    new: dict[str, dict[str, str]]  # the manifest at `ref`
    base_files: Files | None  # of the commit that the project was made from; None if it is unknown
    new_files: Files  # those of the manifests, at `ref`
    new_paths: frozenset[str]  # all at `ref`
    base_package: str
    new_package: str
    removed: tuple[str, ...]  # commands that the user deleted

    def base_of(self, path: str) -> bytes | None:
        """Return the file that the project was made from, with the project's names; None if it is unknown."""
        content = (self.base_files or {}).get(path)
        return None if content is None else self.localize(path, content, self.base_package)

    def new_of(self, path: str) -> bytes | None:
        """Return the file at `ref`, with the project's names; None if there is none."""
        content = self.new_files.get(path)
        return None if content is None else self.localize(path, content, self.new_package)

    def localize(self, path: str, content: bytes, package: str) -> bytes:
        """Return a file of the template with the project's package name and own values."""
        if b"\0" in content:
            return content
        text = content.decode("utf-8", "surrogateescape")
        if package and self.package:
            text = re.sub(rf"\b{re.escape(package)}\b", self.package, text)
        ours = (self.read(path) or b"").decode("utf-8", "surrogateescape")
        for pattern in [pattern for place, pattern in OWN_VALUES if place.fullmatch(path)]:
            theirs, own = pattern.search(text), pattern.search(ours)
            if theirs and own:
                text = replace_value(pattern, text, theirs.group(1), own.group(1))
        return text.encode("utf-8", "surrogateescape")

    def is_removed(self, path: str) -> bool:
        """Return True if a file belongs to a command that the user deleted."""
        return any(is_part_of(path, command) for command in self.removed)


@dataclass
class Plan:
    """What an update writes and reports."""

    writes: dict[str, bytes] = field(default_factory=dict)
    deletes: list[str] = field(default_factory=list)
    modified: list[str] = field(default_factory=list)  # engine files with local changes
    changes: list[str] = field(default_factory=list)
    attention: list[str] = field(default_factory=list)
    complete: bool = True  # False: a person has to finish the merge


def replace_value(pattern: re.Pattern[str], text: str, value: str, own: str) -> str:
    """Replace a value wherever the pattern finds it."""

    def replace(match: re.Match[str]) -> str:
        start, end = match.start(1) - match.start(), match.end(1) - match.start()
        return match[0][:start] + own + match[0][end:] if match[1] == value else match[0]

    return pattern.sub(replace, text)


def is_part_of(path: str, command: str) -> bool:
    """Return True if a file is a command's own: its package, tests, config root or page."""
    folders = (f"src/firstlight/{command}/", f"tests/firstlight/{command}/", f"configs/{command}/")
    single = (f"configs/{command}.yaml", f"docs/{command}.md", f"docs/{command}s.md")
    return path.startswith(folders) or path in single


def find_removed(recorded: list[str], old: Mapping[str, str], exists: Callable[[str], bool]) -> list[str]:
    """Return the commands that the user deleted: engine packages with a __main__.py, of which no file is left."""
    found = (re.fullmatch(r"src/firstlight/([^/]+)/__main__\.py", path) for path in old)
    commands = {match.group(1) for match in found if match} | set(recorded)
    present = {path.split("/")[2] for path in old if path.startswith("src/firstlight/") and exists(path)}
    return sorted(commands - present)


def plan_update(inputs: Inputs) -> Plan:
    """Decide about every file of the old and the new manifest."""
    plan = Plan()
    report_manifest(inputs, plan)
    plan_engine(inputs, plan)
    for path in sorted({*inputs.old["shared"], *inputs.new["shared"]} - {*inputs.new["engine"]}):
        plan_shared(inputs, plan, path)
    return plan


def report_manifest(inputs: Inputs, plan: Plan) -> None:
    """Report where the manifest at `ref` does not describe the files at `ref`."""
    for kind in ("engine", "shared"):
        for path, expected in sorted(inputs.new[kind].items()):
            content = inputs.new_files.get(path)
            if content is None:
                plan.attention.append(f"{path}: listed in the new manifest, but missing in the template. Skipped.")
            elif checksum(content) != expected:
                plan.attention.append(
                    f"{path}: checksum differs from the new manifest. Taken from the template as it is."
                )


def plan_engine(inputs: Inputs, plan: Plan) -> None:
    """Replace the engine files of the old manifest with those of the new one."""
    counts = {"changed": 0, "added": 0, "deleted": 0}
    for path in sorted({*inputs.old["engine"], *inputs.new["engine"]}):
        ours, new = inputs.read(path), inputs.new_files.get(path)
        if path not in inputs.new["engine"]:
            if ours is None or path in inputs.new_paths:  # SHARED or yours from now on
                continue
            new = None
        elif new is None or ours == new or (ours is None and inputs.is_removed(path)):
            continue
        if is_modified(inputs, path, ours):
            plan.modified.append(path)
        if new is None:
            plan.deletes.append(path)
        else:
            plan.writes[path] = new
        counts["deleted" if new is None else "added" if ours is None else "changed"] += 1
    plan.changes.append("Engine files: " + ", ".join(f"{number} {name}" for name, number in counts.items()))


def is_modified(inputs: Inputs, path: str, ours: bytes | None) -> bool:
    """Return True if an engine file is neither the old manifest's nor the one that the project was made from."""
    expected = {**inputs.old["shared"], **inputs.old["engine"]}.get(path)
    if ours is None:
        return path in (inputs.old["engine"] if inputs.base_files is None else inputs.base_files)
    return checksum(ours) != expected and ours not in (inputs.base_of(path), (inputs.base_files or {}).get(path))


def plan_shared(inputs: Inputs, plan: Plan, path: str) -> None:
    """Merge a SHARED file."""
    ours, base, new = inputs.read(path), inputs.base_of(path), inputs.new_of(path)
    expected = inputs.old["shared"].get(path, inputs.old["engine"].get(path))
    unmodified = ours is not None and (ours == base or checksum(ours) == expected)
    if path not in inputs.new["shared"]:
        if ours is None or path in inputs.new_paths:  # deleted by the user, or the project's own from now on
            return
        if unmodified:
            plan.deletes.append(path)
            plan.changes.append(f"Deleted {path}")
        else:
            plan.attention.append(f"{path}: deleted in the template, kept with your changes. Delete it if not needed.")
    elif new is None or ours == new or (ours is None and (expected or inputs.is_removed(path))):
        return
    elif ours is None or unmodified:
        plan.writes[path] = new
        plan.changes.append(f"{'Added' if ours is None else 'Updated'} {path}")
    elif expected and base is not None:
        merge(plan, path, ours, base, new)
    elif checksum(inputs.new_files[path]) != expected:
        write_beside(plan, path, new, "new in the template, and you have such a file" if not expected else "not merged")


def write_beside(plan: Plan, path: str, new: bytes, problem: str) -> None:
    """Write the new version of a file next to the project's."""
    plan.writes[f"{path}.new"] = new
    plan.attention.append(f"{path}: {problem}. Copy what you need from {path}.new, then delete {path}.new.")
    plan.complete = False


def merge(plan: Plan, path: str, ours: bytes, base: bytes, new: bytes) -> None:
    """Merge the template's changes into the project's file; conflicts are marked in it.

    Raises:
        UpdateError: If git fails.
    """
    if base == new:
        return
    if b"\0" in ours + base + new:
        write_beside(plan, path, new, "binary file with changes on both sides")
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("yours", ours), ("base", base), ("template", new)):
            (Path(folder) / name).write_bytes(content)
        labels = ("-L", "yours", "-L", "before", "-L", "template")
        merged = run_git(Path(folder), "merge-file", "-p", *labels, "yours", "base", "template")
    if not 0 <= merged.returncode < 128:
        raise UpdateError(f"{path} cannot be merged: {reason_of(merged)}.")
    if merged.stdout == ours:
        return
    plan.writes[path] = merged.stdout
    if merged.returncode:
        fix = "Edit the lines between <<<<<<< and >>>>>>>" + (", or run: make lock" if path.endswith(".lock") else ".")
        plan.attention.append(f"{path}: conflicts with your changes: {merged.returncode}. {fix}")
        plan.complete = False
    else:
        plan.changes.append(f"Merged {path}")


def unlisted_files(inputs: Inputs, folders: tuple[str, ...]) -> list[str]:
    """Return the files in the engine's directories at `ref` that the manifest at `ref` does not list."""
    listed = {*inputs.new["engine"], MANIFEST}
    return sorted(path for path in inputs.new_paths if path.startswith(folders) and path not in listed)
