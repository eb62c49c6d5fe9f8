"""docs/dependencies.md lists each direct dependency, with the license in the metadata of the installed package."""

import importlib.metadata
import re
import tomllib

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.version import Version

from support.checkout import ROOT
from support.doc_commands import template_only

pytestmark = template_only

PAGE = ROOT / "docs" / "dependencies.md"
TEXT = PAGE.read_text() if PAGE.exists() else ""
# Package, group, use, reason, license, last release, without it.
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line.startswith("| `")]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LICENSES = {
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF",
}


def parse_names(requirements):
    return {Requirement(requirement).name for requirement in requirements}


def read_locked_versions():
    """Return the locked versions of this Python version and platform by package."""
    versions = {}
    for path in (ROOT / "requirements").glob("*.lock"):
        for line in re.findall(r"^\S+==[^\\\n]+", path.read_text(), re.MULTILINE):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate(default_environment()):
                versions[pin.name] = str(pin.specifier).removeprefix("==")
    return versions


def read_license(package):
    """Return the license in the metadata of an installed package."""
    metadata = importlib.metadata.metadata(package)
    if expression := metadata["License-Expression"]:
        return expression
    prefix = "License :: OSI Approved :: "
    classifiers = [text.removeprefix(prefix) for text in metadata.get_all("Classifier", []) if text.startswith(prefix)]
    name = classifiers[0] if classifiers else metadata["License"].splitlines()[0]
    return LICENSES.get(name, name)


def test_table_lists_every_direct_dependency():
    groups = {
        "base": parse_names(PYPROJECT["project"]["dependencies"]),
        "build": parse_names([*PYPROJECT["build-system"]["requires"], "uv"]),
        **{name: parse_names(extra) for name, extra in PYPROJECT["project"]["optional-dependencies"].items()},
    }
    listed = [(row[0].strip("`"), row[1].strip("`")) for row in ROWS]

    assert sorted(listed) == sorted((name, group) for group, names in groups.items() for name in names)


def test_rows_are_complete():
    (date,) = set(re.findall(r"read on (\d{4}-\d\d-\d\d)", TEXT))
    releases = [re.fullmatch(r"([\d.]+), (\d{4}-\d\d-\d\d)", row[5]) for row in ROWS]

    assert all(len(row) == 7 and all(row) for row in ROWS)
    assert [row[0] for row, release in zip(ROWS, releases, strict=True) if release is None] == []
    assert max(release[2] for release in releases) <= date


def test_last_release_is_not_older_than_lock():
    locked = read_locked_versions()
    last = {row[0].strip("`"): row[5].partition(",")[0] for row in ROWS}

    assert {name for name in last.keys() & locked.keys() if Version(last[name]) < Version(locked[name])} == set()


def test_licenses_agree_with_metadata():
    # A license may change between releases: only installed packages of the locked version are compared.
    installed = {dist.name.lower().replace("_", "-"): dist.version for dist in importlib.metadata.distributions()}
    locked = read_locked_versions().items()
    stated = {row[0].strip("`"): row[4] for row in ROWS}
    compared = [name for name, version in locked if name in stated and installed.get(name) == version]

    assert len(compared) > 10
    assert {name: read_license(name) for name in compared} == {name: stated[name] for name in compared}


def test_packages_excluded_by_pillow_are_stated():
    # After a lock with another Pillow, resolve gradio and trackio again, as the page describes.
    (major,) = re.findall(r"^The lock contains Pillow (\d+)\.", TEXT, re.MULTILINE)

    assert Version(read_locked_versions()["pillow"]).major == int(major)
