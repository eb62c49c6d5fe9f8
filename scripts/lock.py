"""Lock the dependencies in pyproject.toml for all platforms:  make lock  or  make lock ARGS=--upgrade

Writes requirements/base.lock and requirements/<extra>.lock for each extra. Locked versions are kept if possible;
--upgrade selects the newest versions. Requires uv. Standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pyproject
from json_output import ScriptError, run_script, update_result
from progress import show_status
from pyproject import ROOT

# Lock files contain no URLs or local paths: uv writes index URLs only on request, and --no-header omits the command.
COMPILE = ("uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header")


def split_entries(lock: str) -> dict[str, str]:
    """Return a dict from requirement, e.g. "torch==2.11.0 ; sys_platform == 'linux'", to its lines in the lock file."""
    blocks = [block.rstrip("\n") for block in re.split(r"\n(?=\S)", lock)]
    entries = [block for block in blocks if re.match(r"[\w.-]+(\[[\w,.-]+\])?==", block)]
    return {entry.partition("\n")[0].rstrip("\\ "): entry for entry in entries}


def read_previous_locks(directory: Path, names: tuple[str, ...]) -> str:
    """Return the entries of the existing lock files without duplicates; uv keeps the versions in its output file."""
    entries: dict[str, str] = {}
    for name in names:
        file = directory / f"{name}.lock"
        entries.update(split_entries(file.read_text(encoding="utf-8")) if file.exists() else {})
    return "".join(f"{entry}\n" for entry in entries.values())


def remove_constraints(lock: str) -> str:
    """Remove the constraint files and the name of the project from the `# via` lines of a lock file."""
    lock = re.sub(r"[\w.-]+ \(pyproject\.toml\)", "pyproject.toml", lock)
    return re.sub(r"(?m)^(    # via ).*$", _remove_constraint_sources, lock)


def _remove_constraint_sources(line: re.Match[str]) -> str:
    sources = line.group(0).partition("# via ")[2].split(", ")
    return f"    # via {', '.join(source for source in sources if not source.startswith('-c '))}"


def resolve(root: Path, extra: str, output: Path, constraints: list[Path]) -> str:
    """Return the lock file of the base and one extra, with the versions that the constraint files pin.

    Raises:
        ScriptError: If uv finds no compatible versions.
    """
    command = [*COMPILE, "--annotation-style=line", f"--python-version={pyproject.read_minimum_python(root)}"]
    command += ["pyproject.toml", "--output-file", str(output), *(["--extra", extra] if extra else [])]
    for constraint in constraints:
        command += ["--constraint", str(constraint)]
    with show_status(f"lock: resolving {extra or 'the base'}"):
        result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if result.returncode:
        subject = f"the extra {extra!r}" if extra else "the base dependencies"
        fix = "Change the requirements in pyproject.toml. Output of uv"
        raise ScriptError(f"uv cannot resolve {subject}. {fix}:\n{result.stderr.strip()}")
    return remove_constraints(output.read_text(encoding="utf-8"))


def lock(root: Path, upgrade: bool) -> list[str]:
    """Write all lock files, delete the lock files of removed extras, and return a description of the changes.

    Each lock file is constrained by the previous ones, so that all extras can be installed together.

    Raises:
        ScriptError: If an extra conflicts with the base or a previous extra. No file is written then.
    """
    directory = root / "requirements"
    written: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as temporary:
        base: dict[str, str] = {}
        for extra in ["", *pyproject.read_known_extras(root)]:
            name = extra or "base"
            file = Path(temporary) / f"{name}.lock"
            if not upgrade:
                file.write_text(read_previous_locks(directory, ("base", name)), encoding="utf-8")
            constraints = [Path(temporary) / f"{previous}.lock" for previous in written]
            entries = split_entries(resolve(root, extra, file, constraints))
            base = base or entries
            added = entries if not extra else {key: entry for key, entry in entries.items() if key not in base}
            written[name] = "".join(f"{entry}\n" for entry in added.values())
            file.write_text(written[name], encoding="utf-8")
    directory.mkdir(exist_ok=True)
    obsolete = [file for file in sorted(directory.glob("*.lock")) if file.stem not in written]
    for file in obsolete:
        file.unlink()
    num_packages = {name: len(split_entries(text)) for name, text in written.items()}
    update_result(num_packages=num_packages, deleted=[file.stem for file in obsolete])
    lines = [f"Deleted {file.relative_to(root).as_posix()}" for file in obsolete]
    for name, text in written.items():
        (directory / f"{name}.lock").write_text(text, encoding="utf-8")
        lines.append(f"Wrote requirements/{name}.lock: {num_packages[name]} packages")
    return lines


def main(arguments: list[str]) -> None:
    """Write all lock files, and print the changes.

    Raises:
        ScriptError: If uv is not installed, or finds no compatible versions.
    """
    parser = argparse.ArgumentParser(prog="make lock", description="Lock the dependencies in pyproject.toml.")
    parser.add_argument("--upgrade", action="store_true", help="select the newest versions that pyproject.toml allows")
    is_upgrade = parser.parse_args(arguments).upgrade
    if shutil.which("uv") is None:
        raise ScriptError("`make lock` requires uv. Install it with `pip install uv`.")
    print("\n".join(lock(ROOT, is_upgrade)))


if __name__ == "__main__":
    run_script("lock", main)
