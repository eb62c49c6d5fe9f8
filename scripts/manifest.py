"""Write the manifest: the files of the template and their checksums, in src/firstlight/manifest.json.

    python scripts/manifest.py             write the manifest
    python scripts/manifest.py --check     compare the manifest with the files

`make update` replaces ENGINE files and merges SHARED files. All other files are YOURS and are not listed.
Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from project import ENGINE_DIRS, TEMPLATE_TABLE, list_packages

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = "src/firstlight/manifest.json"
COMMAND = "python scripts/manifest.py"
YOURS = ("README.md", "LICENSE", "CHANGELOG.md", "data/", "logs/", "notebooks/")


def normalize_line_endings(content: bytes) -> bytes:
    """Convert the line endings of a text file to LF, whatever git checked out; binary files are not changed."""
    return content if b"\0" in content else content.replace(b"\r\n", b"\n")


def compute_checksum(content: bytes) -> str:
    """Return the SHA-256 of a file, independent of its line endings."""
    return hashlib.sha256(normalize_line_endings(content)).hexdigest()


def find_selected_options(text: str) -> dict[str, set[str]]:
    """Return the names that an experiment config assigns to `model` and `data`; comments are ignored."""
    selected: dict[str, set[str]] = {"model": set(), "data": set()}
    for line in text.splitlines():
        match = re.search(r"\b(model|data)\b(?:@[\w.]+)?\s*[:=]\s*([^#]+)", line.partition("#")[0])
        if match:
            selected[match.group(1)].update(re.findall(r"\w+", match.group(2)))
    return selected


def find_project_options(files: Mapping[str, bytes], packages: Iterable[str]) -> set[str]:
    """Return the paths of the options that belong to the project, in configs/{model,data,experiment}.

    An option belongs to the project if its config contains a class of the project.
    An experiment also belongs to the project if it selects such a model or dataset.
    """
    texts = {
        path: content.decode("utf-8", "replace")
        for path, content in files.items()
        if re.fullmatch(r"configs/(model|data|experiment)/.+\.yaml", path)
    }
    class_pattern = re.compile(r"\b(?:" + "|".join([*packages, r"(?!)"]) + r")\.\w")
    yours = {path for path, text in texts.items() if class_pattern.search(text)}
    options = {group: {Path(path).stem for path in yours if path.split("/")[1] == group} for group in ("model", "data")}
    for path, text in texts.items():
        if path.startswith("configs/experiment/"):
            selected = find_selected_options(text)
            if any(selected[group] & options[group] for group in options):
                yours.add(path)
    return yours


def build_manifest(files: Mapping[str, bytes], version: str) -> dict[str, object]:
    """Return the manifest of a template with these files."""
    packages = list_packages(files)
    yours = (*YOURS, *(f"{directory}/{package}/" for package in packages for directory in ("src", "tests")))
    options = find_project_options(files, packages)
    engine, shared = {}, {}
    for path, content in files.items():
        if path == MANIFEST:
            continue
        if path.startswith(ENGINE_DIRS):
            engine[path] = compute_checksum(content)
        elif path not in options and not path.startswith(yours):
            shared[path] = compute_checksum(content)
    return {"engine": engine, "shared": shared, "version": version}


def read_tracked_files() -> dict[str, bytes]:
    """Return the existing tracked files of this checkout as a dict from path to content."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    paths = (path for path in listed.decode("utf-8").split("\0") if path)
    return {path: (ROOT / path).read_bytes() for path in paths if (ROOT / path).is_file()}


def format_manifest() -> str:
    """Return the current manifest of this checkout as JSON.

    Raises:
        ValueError: If pyproject.toml has no version.
    """
    files = read_tracked_files()
    version = re.search(rb'^version = "([^"]*)"', files["pyproject.toml"], flags=re.MULTILINE)
    if not version:
        raise ValueError('pyproject.toml has no version. Add a line such as version = "0.1.0" to [project].')
    return json.dumps(build_manifest(files, version.group(1).decode()), indent=1, sort_keys=True) + "\n"


def find_difference() -> str:
    """Return a message about the first difference between the manifest and the files, or ""."""
    fix = f"Run `{COMMAND}`."
    try:
        written = json.loads((ROOT / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f"Cannot read {MANIFEST}: {error}. {fix}"
    current = json.loads(format_manifest())
    if written == current:
        return ""
    for kind in ("engine", "shared"):
        before, after = written.get(kind, {}), current[kind]
        for path in sorted({*before, *after}):
            if before.get(path) != after.get(path):
                problem = (
                    "is not listed" if path not in before else "is missing" if path not in after else "has changed"
                )
                return f"{MANIFEST} is out of date: the {kind} file {path} {problem}. {fix}"
    return f"{MANIFEST} is out of date: version {written.get('version')!r}, expected {current['version']!r}. {fix}"


def main(arguments: list[str]) -> str:
    """Write or check the manifest, and return the message to print.

    Raises:
        ValueError: If the manifest is out of date, or this checkout is a project.
    """
    if arguments not in ([], ["--check"]):
        raise ValueError(f"Unknown argument {arguments[-1]!r}. Pass --check, or no argument to write {MANIFEST}.")
    if TEMPLATE_TABLE in (ROOT / "pyproject.toml").read_text(encoding="utf-8"):
        raise ValueError(
            f"{MANIFEST} describes the template, but this checkout is a project. Run `make update` to replace the "
            "manifest."
        )
    if arguments:
        difference = find_difference()
        if difference:
            raise ValueError(difference)
        return f"{MANIFEST} is up to date"
    (ROOT / MANIFEST).write_bytes(format_manifest().encode())
    return f"Wrote {MANIFEST}"


if __name__ == "__main__":
    try:
        print(main(sys.argv[1:]))
    except ValueError as error:
        sys.exit(f"manifest: {error}")
