"""The list of installed packages, as `pip freeze` prints it, without importing or parsing their metadata."""

import json
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from firstlight.run.redaction import redact_text

# Name and version in the name of the metadata directory or file of a package (PEP 376, PEP 427).
METADATA_NAME = re.compile(r"([A-Za-z0-9][\w.]*?)-([^-]+)(?:-py[\d.]+)?\.(?:dist-info|egg-info)")
# A line of `format_packages`: name==version, name @ URL # version, -e URL # name==version.
LINE = re.compile(
    r"(?P<name>[\w.-]+)==(?P<version>\S+)|(?P<direct>[\w.-]+) @ (?P<url>.+)|-e (?P<path>.+) # (?P<own>[\w.-]+)==.*"
)


def list_installed_packages() -> list[str]:
    """Return a line for each package that Python imports from, sorted by name.

    The names of the directories are enough: parsing the metadata of 200 packages takes ten times as long.
    """
    lines: dict[str, str] = {}
    for directory in dict.fromkeys(sys.path):
        with suppress(OSError), os.scandir(directory or ".") as entries:
            for entry in entries:
                if match := METADATA_NAME.fullmatch(entry.name):
                    name = normalize_name(match[1])
                    # Python imports the first one.
                    lines.setdefault(name, format_package(name, match[2], Path(entry.path)))
    return [lines[name] for name in sorted(lines)]


def normalize_name(name: str) -> str:
    """Return a package name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def format_package(name: str, version: str, metadata_dir: Path) -> str:
    """Return the line of a package; one that was installed from a URL or a directory names its source (PEP 610)."""
    origin: Any = None
    with suppress(OSError, ValueError, RecursionError):
        origin = json.loads((metadata_dir / "direct_url.json").read_text(encoding="utf-8"))
    if not isinstance(origin, dict) or not isinstance(origin.get("url"), str):
        return f"{name}=={version}"
    url = redact_url(origin["url"])
    details = {key: value if isinstance(value := origin.get(key), dict) else {} for key in ("vcs_info", "dir_info")}
    if details["dir_info"].get("editable"):
        return f"-e {url} # {name}=={version}"
    vcs, commit = (details["vcs_info"].get(key) for key in ("vcs", "commit_id"))
    return f"{name} @ {vcs}+{url}@{commit} # {version}" if vcs else f"{name} @ {url} # {version}"


def redact_url(url: str) -> str:
    """Return a URL without user, password and query, which may contain a token, and with other secrets masked."""
    return redact_text(re.sub(r"://[^/\s]*@", "://", url.partition("?")[0]))


def parse_packages(text: str) -> dict[str, str]:
    """Return the version or the source of each package by name, from the lines of `list_installed_packages`."""
    packages = {}
    for line in text.splitlines():
        if match := LINE.fullmatch(line):
            name = match["name"] or match["direct"] or match["own"]
            packages[name] = match["version"] or match["url"] or f"editable, {match['path']}"
    return packages
