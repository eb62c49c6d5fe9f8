"""The locks follow pyproject.toml, and can be installed together."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.checkout import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import lock
import pyproject

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = SETTINGS["project"]["optional-dependencies"]
LOCKS = {path.stem: path.read_text() for path in sorted((ROOT / "requirements").glob("*.lock"))}
PINS = {name: list(lock.split_entries(text)) for name, text in LOCKS.items()}


def package(requirement: str) -> str:
    return re.split(r"[\[=<>~! ]", requirement)[0].lower().replace("_", "-")


def test_every_extra_has_a_lock_and_no_other_is_there():
    assert set(LOCKS) == {"base", *EXTRAS}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_hashes_and_no_address(name):
    entries = re.split(r"\n(?=\S)", LOCKS[name].rstrip("\n"))

    assert entries
    assert all(re.match(r"[a-z0-9.-]+(\[[a-z,]+\])?==\S+ ", entry) and "--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"://|^-|--index|--find|^#", LOCKS[name], re.MULTILINE)
    # The name of the project is the user's.
    assert f"via {SETTINGS['project']['name']}" not in LOCKS[name]


@pytest.mark.parametrize("name", ["base", *EXTRAS])
def test_what_pyproject_names_is_pinned(name):
    pinned = {package(pin) for pin in [*PINS["base"], *PINS[name]]}
    named = SETTINGS["project"]["dependencies"] if name == "base" else EXTRAS[name]

    assert {package(requirement) for requirement in named} <= pinned


@pytest.mark.parametrize("name", EXTRAS)
def test_an_extra_holds_only_what_it_adds(name):
    assert not {package(pin) for pin in PINS[name]} & {package(pin) for pin in PINS["base"]}


def test_two_locks_pin_the_same_version_of_a_package():
    pins: dict[str, set[str]] = {}
    for each in PINS.values():
        for name in {package(pin) for pin in each}:
            # With its marker: a package may have one version for Python 3.11, and another for 3.12.
            pins.setdefault(name, set()).add("\n".join(sorted(pin for pin in each if package(pin) == name)))

    assert {name: found for name, found in pins.items() if len(found) > 1} == {}


def test_the_base_has_no_libraries_for_text():
    assert {"transformers", "tokenizers", "datasets"}.isdisjoint(map(package, PINS["base"]))
    assert {"transformers", "tokenizers"} <= set(map(package, PINS["text"]))


def test_the_scripts_read_pyproject_as_tomllib_does():
    assert pyproject.read_extras() == SETTINGS["tool"]["firstlight"]["extras"]
    assert pyproject.read_known_extras() == list(EXTRAS)
    assert SETTINGS["project"]["requires-python"].startswith(f">={pyproject.read_minimum_python()},")


@pytest.mark.parametrize(
    "text",
    [
        'extras = ["text", "dev"]\n[tool.firstlight.template]\nversion = "0.1.0"\n',
        'extras = [\n    \'text\',  # "hub" is not needed\n    "dev",\n]\n',
        '# extras = ["hub"]\nextras=["text","dev"]',
    ],
)
def test_a_list_of_extras_is_read_however_it_is_written(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(f'[tool.other]\nextras = ["no"]\n\n[tool.firstlight]\n{text}')

    assert pyproject.read_extras(tmp_path) == ["text", "dev"]


@pytest.mark.parametrize("extras", ["[]", ""])
def test_a_project_may_install_no_extra(tmp_path, extras):
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    (tmp_path / "pyproject.toml").write_text(f"[tool.firstlight]\nextras = {extras}\n" if extras else "")

    assert pyproject.list_lock_files(tmp_path) == [tmp_path / "requirements/base.lock"]


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        ('["txet"]', "Unknown extra 'txet' in `extras` of [tool.firstlight] in pyproject.toml. Use text, hub."),
        ('["text", "hub"]', "There is no requirements/hub.lock. Run `make lock`, which needs uv."),
    ],
)
def test_an_extra_that_cannot_be_installed_is_one_line(tmp_path, extras, message):
    (tmp_path / "requirements").mkdir()
    for name in ("base", "text"):
        (tmp_path / f"requirements/{name}.lock").touch()
    known = '[project.optional-dependencies]\ntext = ["a"]\nhub = ["b[c]>=1"]\n'
    (tmp_path / "pyproject.toml").write_text(f"{known}[tool.firstlight]\nextras = {extras}\n")

    with pytest.raises(ValueError, match=re.escape(message)):
        pyproject.list_lock_files(tmp_path)


def test_conda_installs_the_same_extras():
    listed = re.search(r"- -e \.\[(.*)\]", (ROOT / "environment.yml").read_text())

    assert listed is not None
    assert listed.group(1).split(",") == pyproject.read_extras()


def write_project(folder: Path, extra: str) -> None:
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "zephyr"\nversion = "1"\nrequires-python = ">=3.11,<3.14"\ndependencies = ["idna>=3"]\n'
        f"[project.optional-dependencies]\nmore = [{extra}]\n"
    )


@pytest.fixture
def resolved(tmp_path, monkeypatch):
    """Let a stand-in for uv resolve: it writes what lies beside it, and keeps its command line."""
    (tmp_path / "uv").write_text(
        f"#!{sys.executable}\nimport pathlib, sys\n"
        "words, here = sys.argv[1:], pathlib.Path(__file__).parent\n"
        "output = pathlib.Path(words[words.index('--output-file') + 1])\n"
        "(here / 'calls').open('a').write(' '.join(words) + '\\n')\n"
        "(here / 'kept').open('a').write(output.read_text() if output.exists() else 'nothing\\n')\n"
        "name = words[words.index('--extra') + 1] if '--extra' in words else 'base'\n"
        "sys.exit('no version fits') if not (here / name).exists() else output.write_text((here / name).read_text())\n"
    )
    (tmp_path / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    write_project(tmp_path, '"six"')
    base = "idna==3.10 \\\n    --hash=sha256:aa\n    # via zephyr (pyproject.toml)\n"
    (tmp_path / "base").write_text(base)
    (tmp_path / "more").write_text(
        base.replace("# via", "# via -c /tmp/x/base.lock,")
        + "six==1.17.0 ; sys_platform == 'linux' \\\n    --hash=sha256:bb\n"
        + "    # via -c x, idna, zephyr (pyproject.toml)\n"
    )
    return tmp_path


def test_an_extra_is_constrained_by_the_base_and_former_locks_go(resolved):
    (resolved / "requirements").mkdir()
    (resolved / "requirements/former.lock").touch()
    lines = lock.lock(resolved, upgrade=False)
    base, more = (resolved / "calls").read_text().splitlines()

    assert lines[0] == "deleted requirements/former.lock"
    assert {"--universal", "--generate-hashes", "--no-header", "--python-version=3.11"} <= set(base.split())
    assert "--constraint" not in base
    assert re.search(r"--extra more --constraint \S+/base.lock$", more)
    assert (resolved / "requirements/base.lock").read_text().endswith("    # via pyproject.toml\n")
    assert (resolved / "requirements/more.lock").read_text() == (
        "six==1.17.0 ; sys_platform == 'linux' \\\n    --hash=sha256:bb\n    # via idna, pyproject.toml\n"
    )


def test_versions_are_kept_until_an_upgrade(resolved):
    lock.lock(resolved, upgrade=False)
    (resolved / "kept").unlink()
    lock.lock(resolved, upgrade=False)
    assert "idna==3.10" in (resolved / "kept").read_text()

    (resolved / "kept").unlink()
    lock.lock(resolved, upgrade=True)
    assert (resolved / "kept").read_text() == "nothing\nnothing\n"


def test_if_an_extra_does_not_fit_nothing_is_written(resolved):
    (resolved / "more").unlink()

    with pytest.raises(ValueError, match="uv cannot resolve the extra 'more':\nno version fits"):
        lock.lock(resolved, upgrade=False)
    assert not (resolved / "requirements").exists()


def test_without_uv_a_line_says_how_to_get_it():
    command = [sys.executable, str(ROOT / "scripts/lock.py")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/nowhere"})

    assert (done.returncode, done.stderr) == (1, "lock: `make lock` requires uv. Install it with: pip install uv\n")
