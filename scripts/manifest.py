"""List the files that come with the template, with their checksums, in src/firstlight/manifest.json.

    python scripts/manifest.py             write the list
    python scripts/manifest.py --check     compare the list with the files

ENGINE files are replaced by `make update`, SHARED files are merged. All others are YOURS and are not listed.
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


def normalize(content: bytes) -> bytes:
    """Return a file's content with LF line endings, whatever git checked out; binary files stay as they are."""
    return content if b"\0" in content else content.replace(b"\r\n", b"\n")


def checksum(content: bytes) -> str:
    """Return the SHA-256 of a file's content, independent of line endings."""
    return hashlib.sha256(normalize(content)).hexdigest()


def named_options(text: str) -> dict[str, set[str]]:
    """Return the words that an experiment sets `model` and `data` to, by group; comments do not count."""
    named: dict[str, set[str]] = {"model": set(), "data": set()}
    for line in text.splitlines():
        match = re.search(r"\b(model|data)\b(?:@[\w.]+)?\s*[:=]\s*([^#]+)", line.partition("#")[0])
        if match:
            named[match.group(1)].update(re.findall(r"\w+", match.group(2)))
    return named


def options_of_project(files: Mapping[str, bytes], packages: Iterable[str]) -> set[str]:
    """Return the paths of the options that belong to the project.

    An option in configs/{model,data,experiment} is the project's if it names one of the project's classes.
    An experiment is also the project's if it names such a model or dataset.
    """
    texts = {
        path: content.decode("utf-8", "replace")
        for path, content in files.items()
        if re.fullmatch(r"configs/(model|data|experiment)/.+\.yaml", path)
    }
    names_class = re.compile(r"\b(?:" + "|".join([*packages, r"(?!)"]) + r")\.\w")
    yours = {path for path, text in texts.items() if names_class.search(text)}
    options = {group: {Path(path).stem for path in yours if path.split("/")[1] == group} for group in ("model", "data")}
    for path, text in texts.items():
        if path.startswith("configs/experiment/"):
            named = named_options(text)
            if any(named[group] & options[group] for group in options):
                yours.add(path)
    return yours


def build(files: Mapping[str, bytes], version: str) -> dict[str, object]:
    """Return the manifest of a template that consists of these files."""
    packages = list_packages(files)
    yours = (*YOURS, *(f"{folder}/{package}/" for package in packages for folder in ("src", "tests")))
    options = options_of_project(files, packages)
    engine, shared = {}, {}
    for path, content in files.items():
        if path == MANIFEST:
            continue
        if path.startswith(ENGINE_DIRS):
            engine[path] = checksum(content)
        elif path not in options and not path.startswith(yours):
            shared[path] = checksum(content)
    return {"engine": engine, "shared": shared, "version": version}


def read_files() -> dict[str, bytes]:
    """Return the tracked files of this checkout that exist, by path."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    paths = (path for path in listed.decode("utf-8").split("\0") if path)
    return {path: (ROOT / path).read_bytes() for path in paths if (ROOT / path).is_file()}


def format_manifest() -> str:
    """Return the text that the manifest of this checkout should have."""
    files = read_files()
    version = re.search(rb'^version = "([^"]*)"', files["pyproject.toml"], flags=re.MULTILINE)
    if not version:
        raise ValueError('pyproject.toml has no version. Add a line such as version = "0.1.0" to [project].')
    return json.dumps(build(files, version.group(1).decode()), indent=1, sort_keys=True) + "\n"


def find_difference() -> str:
    """Return one line about the first difference between manifest and files; empty if there is none."""
    fix = f"Run: {COMMAND}"
    try:
        written = json.loads((ROOT / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f"{MANIFEST} cannot be read: {error}. {fix}"
    current = json.loads(format_manifest())
    if written == current:
        return ""
    for kind in ("engine", "shared"):
        before, after = written.get(kind, {}), current[kind]
        for path in sorted({*before, *after}):
            if before.get(path) != after.get(path):
                problem = "is not listed" if path not in before else "is gone" if path not in after else "has changed"
                return f"{MANIFEST} is out of date: the {kind} file {path} {problem}. {fix}"
    return f"{MANIFEST} is out of date: version {written.get('version')!r}, not {current['version']!r}. {fix}"


def main(arguments: list[str]) -> str:
    """Write or compare the manifest, and return what was done.

    Raises:
        ValueError: If the manifest differs from the files, or this is not the template.
    """
    if arguments not in ([], ["--check"]):
        raise ValueError(f"Unknown argument {arguments[-1]!r}. Use --check, or nothing to write {MANIFEST}.")
    if TEMPLATE_TABLE in (ROOT / "pyproject.toml").read_text(encoding="utf-8"):
        raise ValueError(f"{MANIFEST} describes the template, and this is a project. Use `make update` to replace it.")
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
