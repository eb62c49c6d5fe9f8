"""Plan what `make update` does with each file, without writing any. Standard library only."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from manifest import MANIFEST, compute_checksum
from update_source import UpdateError, get_git_error, run_git

# Values of SHARED files that always belong to the project. The update keeps the project's values, so that the names of
# the template's distribution, conda environment and W&B project never conflict with the names of the project.
PROJECT_VALUES = [
    (re.compile(path), re.compile(pattern, re.MULTILINE))
    for path, pattern in (
        (r"pyproject\.toml", r'^name = "([^"\n]*)"'),
        (r"pyproject\.toml", r'^version = "([^"\n]*)"'),
        (r"pyproject\.toml", r'^description = "([^"\n]*)"'),
        (r"environment\.yml", r"^name: (\S+)"),
        (r"environment\.yml", r"conda activate (\S+)"),
        (r"Makefile", r"CONDA_DEFAULT_ENV\),([^)\n]*)\)"),
        (r"(?:configs/logger|sweeps)/.+", r"^\s*(?:project|experiment_name): (?:\$\{oc\.env:\w+,)?([^\s}]+)"),
        (r"configs/[^/]+\.yaml", r"^\s*- model: (\S+)"),
        (r"requirements.*\.lock", r"([\w.-]+) \(pyproject\.toml\)"),
    )
]
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Inputs:
    """Everything that the plan depends on."""

    read: Callable[[str], bytes | None]  # content of a project file with LF line endings; None if it does not exist
    package: str  # the package of the project, or ""
    old: dict[str, dict[str, str]]  # manifest of the project
    new: dict[str, dict[str, str]]  # manifest at `ref`
    base_files: Files | None  # files of the commit that the project was made from; None if the commit is unknown
    new_files: Files  # files of the new manifest at `ref`
    new_paths: frozenset[str]  # paths of all files at `ref`
    base_package: str  # the package of the template at the base commit
    new_package: str  # the package of the template at `ref`
    removed: tuple[str, ...]  # commands that the user deleted

    def get_base(self, path: str) -> bytes | None:
        """Return the base version of a file with the names of the project, or None if it is unknown."""
        content = (self.base_files or {}).get(path)
        return None if content is None else self.localize(path, content, self.base_package)

    def get_new(self, path: str) -> bytes | None:
        """Return the new version of a file with the names of the project, or None if it does not exist."""
        content = self.new_files.get(path)
        return None if content is None else self.localize(path, content, self.new_package)

    def localize(self, path: str, content: bytes, package: str) -> bytes:
        """Insert the package name and the PROJECT_VALUES of the project into a file of the template."""
        if b"\0" in content:
            return content
        text = content.decode("utf-8", "surrogateescape")
        if package and self.package:
            text = re.sub(rf"\b{re.escape(package)}\b", self.package, text)
        ours = (self.read(path) or b"").decode("utf-8", "surrogateescape")
        for pattern in [pattern for path_pattern, pattern in PROJECT_VALUES if path_pattern.fullmatch(path)]:
            template, own = pattern.search(text), pattern.search(ours)
            if template and own:
                text = replace_value(pattern, text, template.group(1), own.group(1))
        return text.encode("utf-8", "surrogateescape")

    def is_in_deleted_command(self, path: str) -> bool:
        """Return True if a file belongs to a command that the user deleted."""
        return any(belongs_to_command(path, command) for command in self.removed)


@dataclass
class Plan:
    """The files that an update writes and deletes, and the lines that it prints."""

    writes: dict[str, bytes] = field(default_factory=dict)
    deletes: list[str] = field(default_factory=list)
    modified: list[str] = field(default_factory=list)  # engine files with local changes
    changes: list[str] = field(default_factory=list)
    attention: list[str] = field(default_factory=list)
    complete: bool = True  # False if the user must finish the merge


def replace_value(pattern: re.Pattern[str], text: str, old: str, new: str) -> str:
    """Replace a value in all matches of a pattern."""

    def replace(match: re.Match[str]) -> str:
        start, end = match.start(1) - match.start(), match.end(1) - match.start()
        return match[0][:start] + new + match[0][end:] if match[1] == old else match[0]

    return pattern.sub(replace, text)


def belongs_to_command(path: str, command: str) -> bool:
    """Return True if a file belongs to a command: to its package, tests, root config or page."""
    directories = (f"src/firstlight/{command}/", f"tests/firstlight/{command}/", f"configs/{command}/")
    files = (f"configs/{command}.yaml", f"docs/{command}.md", f"docs/{command}s.md")
    return path.startswith(directories) or path in files


def find_deleted_commands(recorded: list[str], old: Mapping[str, str], exists: Callable[[str], bool]) -> list[str]:
    """Return the commands that the user deleted: engine packages with a __main__.py of which no file exists."""
    matches = (re.fullmatch(r"src/firstlight/([^/]+)/__main__\.py", path) for path in old)
    commands = {match.group(1) for match in matches if match} | set(recorded)
    present = {path.split("/")[2] for path in old if path.startswith("src/firstlight/") and exists(path)}
    return sorted(commands - present)


def plan_update(inputs: Inputs) -> Plan:
    """Plan the update of all files in the old and the new manifest."""
    plan = Plan()
    note_manifest_mismatches(inputs, plan)
    plan_engine(inputs, plan)
    for path in sorted({*inputs.old["shared"], *inputs.new["shared"]} - {*inputs.new["engine"]}):
        plan_shared(inputs, plan, path)
    return plan


def note_manifest_mismatches(inputs: Inputs, plan: Plan) -> None:
    """Report files at `ref` that differ from the manifest at `ref`."""
    for kind in ("engine", "shared"):
        for path, expected in sorted(inputs.new[kind].items()):
            content = inputs.new_files.get(path)
            if content is None:
                plan.attention.append(f"{path}: listed in the new manifest, but missing from the template. Skipped.")
            elif compute_checksum(content) != expected:
                plan.attention.append(
                    f"{path}: checksum differs from the new manifest. Copied from the template unchanged."
                )


def plan_engine(inputs: Inputs, plan: Plan) -> None:
    """Replace the engine files of the old manifest with the engine files of the new manifest."""
    counts = {"changed": 0, "added": 0, "deleted": 0}
    for path in sorted({*inputs.old["engine"], *inputs.new["engine"]}):
        ours, new = inputs.read(path), inputs.new_files.get(path)
        if path not in inputs.new["engine"]:
            if ours is None or path in inputs.new_paths:  # The file is SHARED or yours from now on.
                continue
            new = None
        elif new is None or ours == new or (ours is None and inputs.is_in_deleted_command(path)):
            continue
        if is_modified(inputs, path, ours):
            plan.modified.append(path)
        if new is None:
            plan.deletes.append(path)
        else:
            plan.writes[path] = new
        counts["deleted" if new is None else "added" if ours is None else "changed"] += 1
    plan.changes.append("Engine files: " + ", ".join(f"{count} {change}" for change, count in counts.items()))


def is_modified(inputs: Inputs, path: str, ours: bytes | None) -> bool:
    """Return True if the user has deleted an engine file, or changed it since the last update."""
    expected = {**inputs.old["shared"], **inputs.old["engine"]}.get(path)
    if ours is None:
        return path in (inputs.old["engine"] if inputs.base_files is None else inputs.base_files)
    base_versions = (inputs.get_base(path), (inputs.base_files or {}).get(path))
    return compute_checksum(ours) != expected and ours not in base_versions


def plan_shared(inputs: Inputs, plan: Plan, path: str) -> None:
    """Plan the merge of a SHARED file."""
    ours, base, new = inputs.read(path), inputs.get_base(path), inputs.get_new(path)
    expected = inputs.old["shared"].get(path, inputs.old["engine"].get(path))
    unmodified = ours is not None and (ours == base or compute_checksum(ours) == expected)
    if path not in inputs.new["shared"]:
        if ours is None or path in inputs.new_paths:  # Deleted by the user, or yours from now on.
            return
        if unmodified:
            plan.deletes.append(path)
            plan.changes.append(f"Deleted {path}")
        else:
            plan.attention.append(f"{path}: deleted in the template, kept with your changes. Delete it if not needed.")
    elif new is None or ours == new or (ours is None and (expected or inputs.is_in_deleted_command(path))):
        return
    elif ours is None or unmodified:
        plan.writes[path] = new
        plan.changes.append(f"{'Added' if ours is None else 'Updated'} {path}")
    elif expected and base is not None:
        plan_merge(plan, path, ours, base, new)
    elif compute_checksum(inputs.new_files[path]) != expected:
        problem = "not merged" if expected else "new in the template, but already exists in your project"
        plan_new_version(plan, path, new, problem)


def plan_new_version(plan: Plan, path: str, new: bytes, problem: str) -> None:
    """Plan to write the new version of a file next to the file of the project."""
    plan.writes[f"{path}.new"] = new
    plan.attention.append(f"{path}: {problem}. Copy what you need from {path}.new, then delete {path}.new.")
    plan.complete = False


def plan_merge(plan: Plan, path: str, ours: bytes, base: bytes, new: bytes) -> None:
    """Plan the three-way merge of a file; conflicts are marked in the result.

    Raises:
        UpdateError: If git fails.
    """
    if base == new:
        return
    if b"\0" in ours + base + new:
        plan_new_version(plan, path, new, "binary file changed in both the template and the project")
        return
    with tempfile.TemporaryDirectory() as temporary:
        for name, content in (("yours", ours), ("base", base), ("template", new)):
            (Path(temporary) / name).write_bytes(content)
        labels = ("-L", "yours", "-L", "before", "-L", "template")
        merged = run_git(Path(temporary), "merge-file", "-p", *labels, "yours", "base", "template")
    if not 0 <= merged.returncode < 128:
        raise UpdateError(
            f"Cannot merge {path}: {get_git_error(merged)}. Fix the git error, and run `make update` again."
        )
    if merged.stdout == ours:
        return
    plan.writes[path] = merged.stdout
    if merged.returncode:
        fix = "Edit the lines between <<<<<<< and >>>>>>>" + (", or run: make lock" if path.endswith(".lock") else ".")
        plan.attention.append(f"{path}: merge conflicts: {merged.returncode}. {fix}")
        plan.complete = False
    else:
        plan.changes.append(f"Merged {path}")


def find_unlisted_files(inputs: Inputs, directories: tuple[str, ...]) -> list[str]:
    """Return the files in the directories of the engine that the manifest at `ref` does not list."""
    listed = {*inputs.new["engine"], MANIFEST}
    return sorted(path for path in inputs.new_paths if path.startswith(directories) and path not in listed)
