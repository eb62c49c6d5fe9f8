"""The lock files match pyproject.toml, and can be installed together."""

import os
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

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
LOCKS = {path.stem: path.read_text() for path in sorted((ROOT / "requirements").glob("*.lock"))}
PINS = {name: list(lock.split_entries(text)) for name, text in LOCKS.items()}


def parse_name(requirement: str) -> str:
    """Return the normalized name of the package in a requirement."""
    return re.split(r"[\[=<>~! ]", requirement)[0].lower().replace("_", "-")


def test_every_extra_has_a_lock_file():
    assert set(LOCKS) == {"base", *EXTRAS}


@pytest.mark.parametrize("name", LOCKS)
def test_lock_file_contains_hashes_and_no_urls(name):
    entries = re.split(r"\n(?=\S)", LOCKS[name].rstrip("\n"))

    assert entries
    assert all(re.match(r"[a-z0-9.-]+(\[[a-z,]+\])?==\S+ ", entry) and "--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"://|^-|--index|--find|^#", LOCKS[name], re.MULTILINE)
    # The name of the project changes with `make init`.
    assert f"via {PYPROJECT['project']['name']}" not in LOCKS[name]


@pytest.mark.parametrize("name", ["base", *EXTRAS])
def test_every_dependency_is_locked(name):
    locked = {parse_name(pin) for pin in [*PINS["base"], *PINS[name]]}
    required = PYPROJECT["project"]["dependencies"] if name == "base" else EXTRAS[name]

    assert {parse_name(requirement) for requirement in required} <= locked


@pytest.mark.parametrize("name", EXTRAS)
def test_extra_contains_no_package_of_the_base(name):
    assert not {parse_name(pin) for pin in PINS[name]} & {parse_name(pin) for pin in PINS["base"]}


def test_lock_files_agree_on_versions():
    versions: dict[str, set[str]] = {}
    for pins in PINS.values():
        for name in {parse_name(pin) for pin in pins}:
            # A package may have several versions, by Python version. Each lock file has its own markers for them.
            found = {pin.partition(";")[0].strip() for pin in pins if parse_name(pin) == name}
            versions.setdefault(name, set()).add("\n".join(sorted(found)))

    assert {name: pins for name, pins in versions.items() if len(pins) > 1} == {}


def test_base_contains_no_text_packages():
    assert {"transformers", "tokenizers", "datasets"}.isdisjoint(map(parse_name, PINS["base"]))
    assert {"transformers", "tokenizers"} <= set(map(parse_name, PINS["text"]))


def test_pyproject_parser_matches_tomllib():
    assert pyproject.read_selected_extras() == PYPROJECT["tool"]["firstlight"]["extras"]
    assert pyproject.read_known_extras() == list(EXTRAS)
    assert PYPROJECT["project"]["requires-python"].startswith(f">={pyproject.read_minimum_python()},")


@pytest.mark.parametrize(
    "text",
    [
        'extras = ["text", "dev"]\n[tool.firstlight.template]\nversion = "0.1.0"\n',
        'extras = [\n    \'text\',  # "hub" is not needed\n    "dev",\n]\n',
        '# extras = ["hub"]\nextras=["text","dev"]',
    ],
)
def test_read_extras_supports_toml_syntax(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(f'[tool.other]\nextras = ["no"]\n\n[tool.firstlight]\n{text}')

    assert pyproject.read_selected_extras(tmp_path) == ["text", "dev"]


@pytest.mark.parametrize("extras", ["[]", ""])
def test_project_without_extras(tmp_path, extras):
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    (tmp_path / "pyproject.toml").write_text(f"[tool.firstlight]\nextras = {extras}\n" if extras else "")

    assert pyproject.get_required_lock_files(tmp_path) == [tmp_path / "requirements/base.lock"]


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        ('["txet"]', "Unknown extra 'txet' in `extras` of [tool.firstlight] in pyproject.toml. Available: text, hub."),
        ('["text", "hub"]', "requirements/hub.lock does not exist. Run `make lock`, which requires uv."),
    ],
)
def test_unknown_or_unlocked_extra_is_rejected(tmp_path, extras, message):
    (tmp_path / "requirements").mkdir()
    for name in ("base", "text"):
        (tmp_path / f"requirements/{name}.lock").touch()
    known = '[project.optional-dependencies]\ntext = ["a"]\nhub = ["b[c]>=1"]\n'
    (tmp_path / "pyproject.toml").write_text(f"{known}[tool.firstlight]\nextras = {extras}\n")

    with pytest.raises(ValueError, match=re.escape(message)):
        pyproject.get_required_lock_files(tmp_path)


def test_conda_installs_the_same_extras():
    match = re.search(r"- -e \.\[(.*)\]", (ROOT / "environment.yml").read_text())

    assert match is not None
    assert match.group(1).split(",") == pyproject.read_selected_extras()


def write_pyproject(directory: Path, extra: str) -> None:
    (directory / "pyproject.toml").write_text(
        '[project]\nname = "zephyr"\nversion = "1"\nrequires-python = ">=3.11,<3.15"\ndependencies = ["idna>=3"]\n'
        f"[project.optional-dependencies]\nmore = [{extra}]\n"
    )


@pytest.fixture
def fake_uv_project(tmp_path, monkeypatch):
    """Return a project and put a fake uv on PATH, which copies prepared lock files and records its command lines."""
    (tmp_path / "uv").write_text(
        f"#!{sys.executable}\nimport pathlib, sys\n"
        "arguments, directory = sys.argv[1:], pathlib.Path(__file__).parent\n"
        "output = pathlib.Path(arguments[arguments.index('--output-file') + 1])\n"
        "(directory / 'calls').open('a').write(' '.join(arguments) + '\\n')\n"
        "(directory / 'previous').open('a').write(output.read_text() if output.exists() else 'nothing\\n')\n"
        "name = arguments[arguments.index('--extra') + 1] if '--extra' in arguments else 'base'\n"
        "prepared = directory / name\n"
        "sys.exit('no version fits') if not prepared.exists() else output.write_text(prepared.read_text())\n"
    )
    (tmp_path / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    write_pyproject(tmp_path, '"six"')
    base = "idna==3.10 \\\n    --hash=sha256:aa\n    # via zephyr (pyproject.toml)\n"
    (tmp_path / "base").write_text(base)
    (tmp_path / "more").write_text(
        base.replace("# via", "# via -c /tmp/x/base.lock,")
        + "six==1.17.0 ; sys_platform == 'linux' \\\n    --hash=sha256:bb\n"
        + "    # via -c x, idna, zephyr (pyproject.toml)\n"
    )
    return tmp_path


def test_extras_are_constrained_and_obsolete_locks_deleted(fake_uv_project):
    (fake_uv_project / "requirements").mkdir()
    (fake_uv_project / "requirements/obsolete.lock").touch()
    lines = lock.lock(fake_uv_project, upgrade=False)
    base, more = (fake_uv_project / "calls").read_text().splitlines()

    assert lines[0] == "Deleted requirements/obsolete.lock"
    assert {"--universal", "--generate-hashes", "--no-header", "--python-version=3.11"} <= set(base.split())
    assert "--constraint" not in base
    assert re.search(r"--extra more --constraint \S+/base.lock$", more)
    assert (fake_uv_project / "requirements/base.lock").read_text().endswith("    # via pyproject.toml\n")
    assert (fake_uv_project / "requirements/more.lock").read_text() == (
        "six==1.17.0 ; sys_platform == 'linux' \\\n    --hash=sha256:bb\n    # via idna, pyproject.toml\n"
    )


def test_versions_are_kept_without_upgrade(fake_uv_project):
    lock.lock(fake_uv_project, upgrade=False)
    (fake_uv_project / "previous").unlink()
    lock.lock(fake_uv_project, upgrade=False)
    assert "idna==3.10" in (fake_uv_project / "previous").read_text()

    (fake_uv_project / "previous").unlink()
    lock.lock(fake_uv_project, upgrade=True)
    assert (fake_uv_project / "previous").read_text() == "nothing\nnothing\n"


def test_conflicting_extra_writes_no_lock_file(fake_uv_project):
    (fake_uv_project / "more").unlink()

    with pytest.raises(ValueError, match="uv cannot resolve the extra 'more'. .* Output of uv:\nno version fits"):
        lock.lock(fake_uv_project, upgrade=False)
    assert not (fake_uv_project / "requirements").exists()


def test_missing_uv_error_includes_install_command():
    command = [sys.executable, str(ROOT / "scripts/lock.py")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/nowhere"})

    assert (done.returncode, done.stderr) == (1, "lock: `make lock` requires uv. Install it with `pip install uv`.\n")


# torch 2.15 is tagged for macOS 14, which is newer than uv's default.
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("uv") is None, reason="requires uv")
@pytest.mark.parametrize("platform", ["aarch64-apple-darwin", "x86_64-manylinux_2_28", "aarch64-manylinux_2_28"])
@pytest.mark.parametrize(
    "python", [*(pytest.param(python, marks=pytest.mark.exhaustive) for python in ("3.11", "3.12", "3.13")), "3.14"]
)
def test_locked_versions_have_wheels_for_each_python_and_platform(python, platform):
    # coremltools has no wheel for Linux on Arm.
    is_skipped = platform == "aarch64-manylinux_2_28"
    extras = [name for name in pyproject.read_known_extras(ROOT) if not (is_skipped and name == "coreml")]
    command = ["uv", "pip", "compile", "--quiet", "--python-version", python, "--python-platform", platform]
    command += ["--only-binary", ":all:", "--no-binary", "antlr4-python3-runtime"]  # pure Python, source only
    for extra in extras:
        command += ["--extra", extra]
    for lock_file in sorted((ROOT / "requirements").glob("*.lock")):
        command += ["--constraint", str(lock_file)]
    environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "15.0"}
    done = subprocess.run([*command, "pyproject.toml"], cwd=ROOT, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "torch==" in done.stdout
    assert ("coremltools==" in done.stdout) == (python != "3.14" and not is_skipped)
