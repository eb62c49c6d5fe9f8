"""Pin the packages of pyproject.toml for every platform:  make lock  or  make lock ARGS=--upgrade

Writes requirements/base.lock and requirements/<extra>.lock for each extra. Pinned versions that still fit are kept;
--upgrade takes the newest ones. Standard library only, Python 3.9 or newer; uv resolves.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyproject
from pyproject import ROOT

# A lock holds no address: neither of a registry (uv writes none unless asked to) nor of this machine.
COMPILE = ("uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header")


def split_entries(lock: str) -> dict[str, str]:
    """Return requirement, such as "torch==2.11.0 ; sys_platform == 'linux'", -> its lines in the lock."""
    blocks = [block.rstrip("\n") for block in re.split(r"\n(?=\S)", lock)]
    entries = [block for block in blocks if re.match(r"[\w.-]+(\[[\w,.-]+\])?==", block)]
    return {entry.partition("\n")[0].rstrip("\\ "): entry for entry in entries}


def read_previous(directory: Path, names: tuple[str, ...]) -> str:
    """Return the entries of earlier locks, each once: uv keeps versions that it finds in its output file."""
    entries: dict[str, str] = {}
    for name in names:
        file = directory / f"{name}.lock"
        entries.update(split_entries(file.read_text(encoding="utf-8")) if file.exists() else {})
    return "".join(f"{entry}\n" for entry in entries.values())


def remove_constraints(lock: str) -> str:
    """Return a lock whose `# via` lines name neither the constraints nor the project."""
    lock = re.sub(r"[\w.-]+ \(pyproject\.toml\)", "pyproject.toml", lock)
    return re.sub(r"(?m)^(    # via ).*$", _without_constraints, lock)


def _without_constraints(line: re.Match[str]) -> str:
    sources = line.group(0).partition("# via ")[2].split(", ")
    return f"    # via {', '.join(source for source in sources if not source.startswith('-c '))}"


def resolve(root: Path, extra: str, output: Path, constraints: list[Path]) -> str:
    """Return the lock of the base and one extra, with the versions that the constraints pin.

    Raises:
        ValueError: If no set of versions fits.
    """
    command = [*COMPILE, "--annotation-style=line", f"--python-version={pyproject.read_minimum_python(root)}"]
    command += ["pyproject.toml", "--output-file", str(output), *(["--extra", extra] if extra else [])]
    for constraint in constraints:
        command += ["--constraint", str(constraint)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"uv cannot resolve {f'the extra {extra!r}' if extra else 'the base'}:\n{done.stderr.strip()}")
    return remove_constraints(output.read_text(encoding="utf-8"))


def lock(root: Path, upgrade: bool) -> list[str]:
    """Write all locks, each constrained by those before it, and delete those of former extras; return the changes.

    Raises:
        ValueError: If an extra does not fit to the base or to an earlier extra; nothing is written then.
    """
    directory = root / "requirements"
    written: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as temporary:
        base: dict[str, str] = {}
        for extra in ["", *pyproject.read_known_extras(root)]:
            name = extra or "base"
            file = Path(temporary) / f"{name}.lock"
            if not upgrade:
                file.write_text(read_previous(directory, ("base", name)), encoding="utf-8")
            constraints = [Path(temporary) / f"{earlier}.lock" for earlier in written]
            entries = split_entries(resolve(root, extra, file, constraints))
            base = base or entries
            own = entries if not extra else {key: entry for key, entry in entries.items() if key not in base}
            written[name] = "".join(f"{entry}\n" for entry in own.values())
            file.write_text(written[name], encoding="utf-8")
    directory.mkdir(exist_ok=True)
    former = [file for file in sorted(directory.glob("*.lock")) if file.stem not in written]
    for file in former:
        file.unlink()
    lines = [f"deleted {file.relative_to(root).as_posix()}" for file in former]
    for name, text in written.items():
        (directory / f"{name}.lock").write_text(text, encoding="utf-8")
        lines.append(f"requirements/{name}.lock: {len(split_entries(text))} packages")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make lock", description="Pin the packages of pyproject.toml.")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that pyproject.toml allows")
    arguments = parser.parse_args()
    if shutil.which("uv") is None:
        sys.exit("lock: `make lock` requires uv. Install it with: pip install uv")
    try:
        print("\n".join(f"lock: {line}" for line in lock(ROOT, arguments.upgrade)))
    except ValueError as error:
        sys.exit(f"lock: {error}")
