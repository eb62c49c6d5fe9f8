"""Update this project to a newer version of the template.

    make update from=<git URL or path> ref=<branch or tag>

Engine files are replaced, SHARED files are merged, and your files are not changed. With force=true, engine files with
local changes are replaced too. With dry_run=true, the changes are only printed. Standard library only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from json_output import run_script, update_result
from manifest import MANIFEST, normalize_line_endings
from project import ENGINE_DIRS, TEMPLATE_TABLE, list_packages, suggest_name
from update_plan import Inputs, Plan, find_deleted_commands, find_unlisted_files, plan_update
from update_record import extract_template_table, insert_table, read_removed_commands, read_value, set_value
from update_source import Manifest, Template, Tree, UpdateError, get_git_error, parse_manifest, redact_urls, run_git

ROOT = Path(__file__).resolve().parents[1]
ARGUMENTS = ("from", "ref", "force", "dry_run")


@dataclass(frozen=True)
class Arguments:
    """The arguments of `make update`."""

    url: str
    ref: str
    force: bool
    dry_run: bool


def parse_arguments(arguments: list[str], recorded_url: str) -> Arguments:
    """Parse the arguments; `from` defaults to the recorded URL, and `ref` to the default branch of the template.

    Raises:
        UpdateError: If an argument is unknown or invalid.
    """
    values = dict(argument.partition("=")[::2] for argument in arguments)
    for name in values:
        if name not in ARGUMENTS:
            raise UpdateError(f"Unknown option '{name}'. {suggest_name(name, ARGUMENTS, suffix='=')}")
    for name in ("force", "dry_run"):
        if values.get(name, "true") not in ("true", "false"):
            raise UpdateError(
                f"Invalid value for {name}: expected true or false, got '{values[name]}'. Use {name}=true."
            )
    url, ref = values.get("from", recorded_url), values.get("ref", "HEAD")
    if not url:
        raise UpdateError("The template's URL is missing. Pass from=<git URL or path>.")
    for name, value, expected in (("from", url, "URL or path"), ("ref", ref, "branch or tag")):
        if not value or value.startswith("-"):
            raise UpdateError(
                f"Invalid value for {name}: expected a {expected}, got '{value}'. Pass {name}=<{expected}>."
            )
    return Arguments(url, ref, values.get("force") == "true", values.get("dry_run") == "true")


def read_template_table() -> tuple[str, str]:
    """Return the template's table of pyproject.toml, and the first line after it.

    Raises:
        UpdateError: If pyproject.toml cannot be read.
    """
    try:
        text = (ROOT / "pyproject.toml").read_bytes().decode().replace("\r\n", "\n")
    except OSError as error:
        raise UpdateError(f"Cannot read pyproject.toml: {error.strerror}. Restore it with git.") from None
    return extract_template_table(text)[1:]


def read_normalized_project_file(path: str) -> bytes | None:
    """Return a file of the project with LF line endings and without the template's table; None if it does not exist."""
    if not (ROOT / path).is_file():
        return None
    content = normalize_line_endings((ROOT / path).read_bytes())
    return extract_template_table(content.decode())[0].encode() if path == "pyproject.toml" else content


def pick_primary_package() -> str:
    """Return the package of the project; if there are several, the first one in configs/trusted.yaml."""
    names = list_packages(path.relative_to(ROOT).as_posix() for path in ROOT.glob("src/*/__init__.py"))
    trusted = (read_normalized_project_file("configs/trusted.yaml") or b"").decode()
    listed = re.findall(r"^- *([\w.]+)", trusted, flags=re.MULTILINE)
    return min(names, key=lambda name: listed.index(name) if name in listed else len(listed), default="")


def validate_clean_worktree() -> None:
    """Check that the update can be undone with git.

    Raises:
        UpdateError: If the project is not a git repository, or has uncommitted changes.
    """
    tracked = run_git(ROOT, "ls-files", "--error-unmatch", "pyproject.toml")
    if tracked.returncode:
        raise UpdateError(
            f"{ROOT} is not a git repository, so an update could not be undone ({get_git_error(tracked)})."
            " Run `git init && git add . && git commit -m 'Start'`."
        )
    status = run_git(ROOT, "status", "--porcelain", "--", ".")
    changed = status.stdout.decode("utf-8", "replace").splitlines()
    if status.returncode or changed:
        first = f"{changed[0][3:]} and {len(changed) - 1} more" if len(changed) > 1 else "".join(changed)[3:]
        raise UpdateError(f"Uncommitted changes: {first or get_git_error(status)}. Commit them, or run `git stash -u`.")


def read_inputs(
    base: Tree | None, new: Tree, old_manifest: Manifest, new_manifest: Manifest, recorded: list[str]
) -> Inputs:
    """Read everything that the plan depends on."""
    old_paths = [*old_manifest["engine"], *old_manifest["shared"]]
    new_files = new.read([*new_manifest["engine"], *new_manifest["shared"]])
    removed = find_deleted_commands(recorded, old_manifest["engine"], lambda path: (ROOT / path).is_file())
    return Inputs(
        read=read_normalized_project_file,
        package=pick_primary_package(),
        old=old_manifest,
        new=new_manifest,
        base_files=convert_files_to_lf(base.read(old_paths)) if base else None,
        new_files=convert_files_to_lf(new_files),
        new_paths=frozenset(new.blobs),
        base_package=next(iter(list_packages(base.blobs)), "") if base else "",
        new_package=next(iter(list_packages(new.blobs)), ""),
        removed=tuple(removed),
    )


def convert_files_to_lf(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files with LF line endings."""
    return {path: normalize_line_endings(content) for path, content in files.items()}


def write_files(plan: Plan, modes: dict[str, str]) -> None:
    """Write and delete the planned files; `modes` are the git modes of the template's files.

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
            for directory in (ROOT / path).parents:
                if directory == ROOT or any(entry.name != "__pycache__" for entry in directory.iterdir()):
                    break
                shutil.rmtree(directory)
    except (OSError, KeyboardInterrupt) as error:
        reason = error.strerror if isinstance(error, OSError) else "interrupted"
        raise UpdateError(
            f"Cannot write {path}: {reason}. To undo the update, run `git checkout . && git clean -fd`."
        ) from error


def add_notices(plan: Plan, inputs: Inputs, base: Tree | None, source: str) -> None:
    """Add the messages that do not belong to the change of a single file."""
    plan.attention += [f"{path}: your changes are discarded (force=true)." for path in plan.modified]
    for path in find_unlisted_files(inputs, ENGINE_DIRS):
        plan.attention.append(f"{path}: not listed in the new manifest. Skipped.")
    if base is None:
        plan.attention.append(f"The base commit of this project was not found in {source}. No SHARED file was merged.")
    plan.changes += [f"Not restored: {name} (deleted in this project)" for name in inputs.removed]


def plan_template_record(plan: Plan, arguments: Arguments, commit: str, version: str, removed: list[str]) -> None:
    """Plan to record the new commit and version in pyproject.toml."""
    path = "pyproject.toml"
    table, following = read_template_table()
    table = table or f"{TEMPLATE_TABLE}\n"
    values = {"url": redact_urls(arguments.url), "commit": commit, "version": version}
    for name, value in values.items():
        table = set_value(table, name, json.dumps(value))
    table = set_value(table, "removed", json.dumps(removed))
    text = plan.writes.get(path, read_normalized_project_file(path) or b"").decode()
    plan.writes[path] = insert_table(text, table, following).encode()


def validate_engine_unmodified(plan: Plan, package: str) -> None:
    """Check that the update does not discard local changes of engine files.

    Raises:
        UpdateError: If an engine file has local changes.
    """
    for path in plan.modified:
        print(f"{path}: engine file with local changes")
    if plan.modified:
        raise UpdateError(
            f"{len(plan.modified)} engine files have local changes, so nothing was updated."
            f" Move the changes to src/{package or '<your package>'}/, or pass force=true to discard them."
        )


def update(command_line: list[str]) -> int:
    """Update the project, print a summary, and return the exit code.

    Raises:
        UpdateError: If the update is rejected.
    """
    table, _ = read_template_table()
    arguments = parse_arguments(command_line, read_value(table, "url"))
    validate_clean_worktree()
    manifest = read_normalized_project_file(MANIFEST)
    old_manifest, old_version = parse_manifest(manifest, "This project", "Restore it with git.")
    local = ROOT / os.path.expanduser(arguments.url)
    source = f"{arguments.ref} of {redact_urls(arguments.url)}"
    with tempfile.TemporaryDirectory() as temporary:
        template = Template(str(local) if local.exists() else arguments.url, Path(temporary))
        new = template.fetch_ref(arguments.ref)
        new_text = new.read([MANIFEST]).get(MANIFEST)
        if TEMPLATE_TABLE.encode() in new.read(["pyproject.toml"]).get("pyproject.toml", b""):
            raise UpdateError(f"{source} is a project made from the template. Pass from=<URL of the template>.")
        new_manifest, new_version = parse_manifest(new_text, source, "Pass a later ref.")
        base = template.find_base(read_value(table, "commit"), manifest or b"")
        inputs = read_inputs(base, new, old_manifest, new_manifest, read_removed_commands(table))
    plan = plan_update(inputs)
    plan.writes[MANIFEST] = new_text or b""
    if not arguments.force:
        validate_engine_unmodified(plan, inputs.package)
    add_notices(plan, inputs, base, redact_urls(arguments.url))
    plan_template_record(plan, arguments, new.commit, new_version, list(inputs.removed))
    if not arguments.dry_run:
        write_files(plan, new.modes)
    update_result(changes=plan.changes, attention=plan.attention, from_version=old_version, to_version=new_version)
    update_result(commit=new.commit, dry_run=arguments.dry_run)
    print("\n".join(plan.changes))
    versions = f"{old_version} ({base.commit[:7] if base else 'unknown commit'}) to {new_version} ({new.commit[:7]})"
    print(f"{'Would update' if arguments.dry_run else 'Updated'} firstlight from {versions}")
    if plan.attention:
        print("Needs attention:", *plan.attention, sep="\n  ")
    print("Next: make setup check test")
    return 0 if plan.complete else 1


if __name__ == "__main__":
    run_script("update", update)
