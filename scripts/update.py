"""Bring a newer version of the template into this project.

    make update from=<git URL or path> ref=<branch or tag>

Engine files are replaced, SHARED files are merged, and your files are not touched. force=true also replaces engine
files with local changes. dry_run=true prints what would happen. Standard library only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from manifest import MANIFEST, normalize
from project import ENGINE_DIRS, TEMPLATE_TABLE, list_packages, nearest
from update_plan import Inputs, Plan, find_removed, plan_update, unlisted_files
from update_record import insert_table, read_removed, read_value, set_value, split_table
from update_source import Manifest, Template, Tree, UpdateError, parse_manifest, reason_of, run_git, strip_password

ROOT = Path(__file__).resolve().parents[1]
ARGUMENTS = ("from", "ref", "force", "dry_run")


@dataclass(frozen=True)
class Arguments:
    """The words after `make update`."""

    url: str
    ref: str
    force: bool
    dry_run: bool


def parse_arguments(words: list[str], recorded_url: str) -> Arguments:
    """Return the arguments; `from` defaults to the recorded URL and `ref` to the template's default branch.

    Raises:
        UpdateError: If an argument is unknown or has no valid value.
    """
    given = dict(word.partition("=")[::2] for word in words)
    for name in given:
        if name not in ARGUMENTS:
            raise UpdateError(f"Unknown option '{name}'. {nearest(name, ARGUMENTS, suffix='=')}")
    for name in ("force", "dry_run"):
        if given.get(name, "true") not in ("true", "false"):
            raise UpdateError(f"Invalid value for {name}: expected true or false, got {given[name]}. Use {name}=true.")
    url, ref = given.get("from", recorded_url), given.get("ref", "HEAD")
    if not url:
        raise UpdateError("The template's URL is missing. Pass from=<git URL or path>.")
    for name, value in (("from", url), ("ref", ref)):
        if not value or value.startswith("-"):
            raise UpdateError(
                f"Invalid value for {name}: '{value}'. Use e.g. {name}={'URL' if name == 'from' else 'main'}."
            )
    return Arguments(url, ref, given.get("force") == "true", given.get("dry_run") == "true")


def read_table() -> tuple[str, str]:
    """Return the table of the template in pyproject.toml, and the line that follows it.

    Raises:
        UpdateError: If there is no pyproject.toml.
    """
    try:
        text = (ROOT / "pyproject.toml").read_bytes().decode().replace("\r\n", "\n")
    except OSError as error:
        raise UpdateError(f"pyproject.toml cannot be read: {error.strerror}. Restore it from git.") from None
    return split_table(text)[1:]


def read_project_file(path: str) -> bytes | None:
    """Return a file of the project as the template would have it: with LF endings, without the record of the update."""
    if not (ROOT / path).is_file():
        return None
    content = normalize((ROOT / path).read_bytes())
    return split_table(content.decode())[0].encode() if path == "pyproject.toml" else content


def find_package() -> str:
    """Return the project's package; of several, the first in configs/trusted.yaml."""
    names = list_packages(path.relative_to(ROOT).as_posix() for path in ROOT.glob("src/*/__init__.py"))
    trusted = (read_project_file("configs/trusted.yaml") or b"").decode()
    listed = re.findall(r"^- *([\w.]+)", trusted, flags=re.MULTILINE)
    return min(names, key=lambda name: listed.index(name) if name in listed else len(listed), default="")


def require_clean() -> None:
    """Reject a directory whose update could not be undone.

    Raises:
        UpdateError: If it is not under git, or has uncommitted changes.
    """
    tracked = run_git(ROOT, "ls-files", "--error-unmatch", "pyproject.toml")
    if tracked.returncode:
        raise UpdateError(
            f"{ROOT} is not under git, so that an update could not be undone ({reason_of(tracked)})."
            " Run: git init && git add . && git commit -m 'Start'"
        )
    status = run_git(ROOT, "status", "--porcelain", "--", ".")
    changed = status.stdout.decode("utf-8", "replace").splitlines()
    if status.returncode or changed:
        first = f"{changed[0][3:]} and {len(changed) - 1} more" if len(changed) > 1 else "".join(changed)[3:]
        raise UpdateError(f"Uncommitted changes: {first or reason_of(status)}. Commit them, or run: git stash -u")


def gather(base: Tree | None, new: Tree, old_manifest: Manifest, new_manifest: Manifest, recorded: list[str]) -> Inputs:
    """Read everything that the decisions depend on."""
    old_paths = [*old_manifest["engine"], *old_manifest["shared"]]
    new_files = new.read([*new_manifest["engine"], *new_manifest["shared"]])
    removed = find_removed(recorded, old_manifest["engine"], lambda path: (ROOT / path).is_file())
    return Inputs(
        read=read_project_file,
        package=find_package(),
        old=old_manifest,
        new=new_manifest,
        base_files={path: normalize(text) for path, text in base.read(old_paths).items()} if base else None,
        new_files={path: normalize(text) for path, text in new_files.items()},
        new_paths=frozenset(new.blobs),
        base_package=next(iter(list_packages(base.blobs)), "") if base else "",
        new_package=next(iter(list_packages(new.blobs)), ""),
        removed=tuple(removed),
    )


def write_files(plan: Plan, modes: dict[str, str]) -> None:
    """Write and delete files.

    Raises:
        UpdateError: If a file cannot be written.
    """
    path = ""
    try:
        for path, content in plan.writes.items():
            target = ROOT / path
            if target.is_file() and b"\r\n" in target.read_bytes() and b"\0" not in content:
                content = content.replace(b"\n", b"\r\n")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            if modes.get(path) == "100755":
                target.chmod(target.stat().st_mode | 0o111)
        for path in plan.deletes:
            (ROOT / path).unlink()
            for folder in (ROOT / path).parents:
                if folder == ROOT or any(each.name != "__pycache__" for each in folder.iterdir()):
                    break
                shutil.rmtree(folder)
    except (OSError, KeyboardInterrupt) as error:
        reason = error.strerror if isinstance(error, OSError) else "interrupted"
        raise UpdateError(f"Cannot write {path}: {reason}. Run: git checkout . && git clean -fd") from error


def report(plan: Plan, inputs: Inputs, base: Tree | None, place: str) -> None:
    """Add to the plan what concerns no single change of a file."""
    plan.attention += [f"{path}: your changes are replaced (force=true)." for path in plan.modified]
    for path in unlisted_files(inputs, ENGINE_DIRS):
        plan.attention.append(f"{path}: not listed in the new manifest. Skipped.")
    if base is None:
        plan.attention.append(
            f"The template's commit of this project was not found at {place}: no SHARED file was merged."
        )
    plan.changes += [f"Not restored: {name} (deleted in this project)" for name in inputs.removed]


def record(plan: Plan, arguments: Arguments, commit: str, version: str, removed: list[str]) -> None:
    """Add the new commit and version to pyproject.toml."""
    path = "pyproject.toml"
    table, following = read_table()
    table = table or f"{TEMPLATE_TABLE}\n"
    values = {"url": strip_password(arguments.url), "commit": commit, "version": version}
    for name, value in values.items():
        table = set_value(table, name, json.dumps(value))
    table = set_value(table, "removed", json.dumps(removed))
    text = plan.writes.get(path, read_project_file(path) or b"").decode()
    plan.writes[path] = insert_table(text, table, following).encode()


def reject_modified(plan: Plan, package: str) -> None:
    """Reject an update that would replace local changes.

    Raises:
        UpdateError: If engine files have local changes.
    """
    for path in plan.modified:
        print(f"{path}: engine file with local changes")
    if plan.modified:
        raise UpdateError(
            f"{len(plan.modified)} engine files have local changes, so nothing was updated."
            f" Move the changes to src/{package or '<your package>'}/, or pass force=true to replace these files."
        )


def update(words: list[str]) -> int:
    """Update the project, print what was done, and return the exit code.

    Raises:
        UpdateError: If the update is rejected.
    """
    table, _ = read_table()
    arguments = parse_arguments(words, read_value(table, "url"))
    require_clean()
    manifest = read_project_file(MANIFEST)
    old_manifest, old_version = parse_manifest(manifest, "This project", "Restore it from git.")
    local = ROOT / os.path.expanduser(arguments.url)
    place = f"{arguments.ref} of {strip_password(arguments.url)}"
    with tempfile.TemporaryDirectory() as folder:
        template = Template(str(local) if local.exists() else arguments.url, Path(folder))
        new = template.fetch_ref(arguments.ref)
        new_text = new.read([MANIFEST]).get(MANIFEST)
        if TEMPLATE_TABLE.encode() in new.read(["pyproject.toml"]).get("pyproject.toml", b""):
            raise UpdateError(f"{place} is a project made from the template. Pass from=<URL of the template itself>.")
        new_manifest, new_version = parse_manifest(new_text, place, "Use a later ref.")
        base = template.find_base(read_value(table, "commit"), manifest or b"")
        inputs = gather(base, new, old_manifest, new_manifest, read_removed(table))
    plan = plan_update(inputs)
    plan.writes[MANIFEST] = new_text or b""
    if not arguments.force:
        reject_modified(plan, inputs.package)
    report(plan, inputs, base, strip_password(arguments.url))
    record(plan, arguments, new.commit, new_version, list(inputs.removed))
    if not arguments.dry_run:
        write_files(plan, new.modes)
    print("\n".join(plan.changes))
    versions = f"{old_version} ({base.commit[:7] if base else 'unknown commit'}) to {new_version} ({new.commit[:7]})"
    print(f"{'Would update' if arguments.dry_run else 'Updated'} firstlight {versions}")
    if plan.attention:
        print("Needs attention:", *plan.attention, sep="\n  ")
    print("Next: make setup check test")
    return 0 if plan.complete else 1


if __name__ == "__main__":
    try:
        sys.exit(update(sys.argv[1:]))
    except UpdateError as error:
        sys.exit(f"update: {error}")
