"""The git commit, the uncommitted changes and the installed packages of a run."""

import json
import re
import subprocess

import pytest

from firstlight.run import installed_packages, provenance, uncommitted
from firstlight.run.installed_packages import list_installed_packages, parse_packages
from firstlight.run.provenance import describe_source_changes, record_provenance
from firstlight.run.secret_values import is_distinctive
from firstlight.run.uncommitted import collect_uncommitted_changes
from support.fake_secrets import iter_secrets, make_random_text


def run_git(*args):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false", *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """Return the root of a repository with one commit; it is the working directory."""
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    (root / "src/model.py").write_text("a = 1\nb = 2\n")
    (root / ".gitignore").write_text("/run/\n/data/\n")
    monkeypatch.chdir(root)
    run_git("init", "--quiet")
    run_git("add", ".")
    run_git("commit", "--quiet", "--message=first")
    return root


def begin_attempts(run_dir, count=1, **fields):
    """Record the provenance of some attempts; return the last attempt."""
    attempts = []
    for _ in range(count):
        attempts.append({"git": provenance.get_git_info(), "versions": {}, **fields})
        record_provenance(run_dir, attempts)
    return attempts


def test_repository_of_another_user_is_reported_with_the_fix(monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise subprocess.CalledProcessError(128, "git", stderr="fatal: detected dubious ownership in repository at /x")

    monkeypatch.setattr(provenance.subprocess, "run", fail)

    assert provenance.get_git_info() is None
    assert "Run `git config --global --add safe.directory " in capsys.readouterr().out


def test_directory_without_repository_is_not_reported(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    attempts = begin_attempts(tmp_path)

    assert attempts[0]["git"] is None
    assert attempts[0]["provenance"] == {"packages": "provenance/packages.txt"}
    assert capsys.readouterr().out == ""


def test_clean_repository_has_no_diff(repository):
    attempts = begin_attempts(repository / "run")

    assert attempts[0]["git"] == {"commit": run_git("rev-parse", "HEAD").strip(), "dirty": False}
    assert not (repository / "run/provenance/uncommitted.diff").exists()


def test_stored_diff_reproduces_the_working_tree(repository):
    (repository / "src/model.py").write_text("a = 1\nb = 3")
    (repository / "src/new").mkdir()
    (repository / "src/new/net.py").write_text("c\x0c\u2028d\n\n")
    (repository / "src/new/empty.py").touch()
    (repository / "tool.py").write_text("no end of line")
    begin_attempts(repository / "run")
    contents = {path: path.read_text() for path in repository.rglob("*") if path.suffix == ".py"}
    run_git("stash", "--include-untracked", "--quiet")
    run_git("apply", "run/provenance/uncommitted.diff")

    assert {path: path.read_text() for path in contents} == contents


def test_files_that_are_no_source_code_are_named_only(repository):
    (repository / "photos").mkdir()
    (repository / "photos/1.py").write_text("private")
    (repository / "src/weights.bin").write_bytes(b"\0private")
    (repository / "src/large.yaml").write_text("private" * 200_000)
    (repository / "notes.txt").write_text("private")
    (repository / "src/.env").write_text("private")
    (repository / "src/link.py").symlink_to("/etc/hostname")
    (repository / "src/model.py").write_text("private\n" * 30_000)
    diff = collect_uncommitted_changes().diff

    assert re.findall(r"^(?!# untracked).*", diff, re.MULTILINE)[0].startswith("# changed, not stored: model.py (")
    assert "private" not in diff
    names = {line.rpartition(" ")[2] for line in diff.splitlines() if line.startswith("# untracked")}
    assert names == {"photos/", "src/weights.bin", "src/large.yaml", "notes.txt", "src/.env", "src/link.py"}


def test_tracked_file_with_a_secret_name_is_named_only(repository):
    (repository / "server.key").write_text("first")
    run_git("add", ".")
    run_git("commit", "--quiet", "--message=second")
    (repository / "server.key").write_text("second")

    assert collect_uncommitted_changes().diff == "# changed, not stored: server.key (its name suggests a secret)\n"


def test_total_size_is_bounded_and_the_digest_is_not(repository):
    for number in range(12):
        (repository / f"src/{number:02d}.py").write_text(f"# {number}\n" + "x = 1\n" * 20_000)
    (repository / "data").mkdir()
    first = collect_uncommitted_changes()
    (repository / "src/11.py").write_text("y = 1\n" * 20_000)
    second = collect_uncommitted_changes()

    assert len(first.diff) < uncommitted.MAX_DIFF_CHARACTERS + 1_000
    assert "# changed, not stored: 11.py (" in first.diff
    assert first.digest != second.digest


@pytest.mark.slow  # Making a secret of each format takes a second.
@pytest.mark.parametrize("is_tracked", [True, False])
def test_secrets_in_changes_are_masked(repository, monkeypatch, is_tracked):
    secret = make_random_text(24, 7)
    monkeypatch.setenv("DB_PASSWORD", secret)
    path = repository / ("src/model.py" if is_tracked else "src/new.py")
    formats = [(text, value) for text, value in iter_secrets() if is_distinctive(value)]
    path.write_text("\n".join([f"db = connect({secret!r})", *(text for text, _ in formats)]), newline="\n")
    begin_attempts(repository / "run")
    stored = (repository / "run/provenance/uncommitted.diff").read_text()

    assert len(formats) > 40
    assert [value for value in [secret, *(value for _, value in formats)] if value in stored] == []
    assert "+db = connect('***')" in stored


def test_bytes_that_are_not_utf8_are_stored(repository):
    (repository / "src/model.py").write_bytes(b"# caf\xe9\n")

    assert "+# caf\N{REPLACEMENT CHARACTER}\n" in collect_uncommitted_changes().diff


def test_equal_attempts_share_files_and_changed_ones_have_their_own(repository):
    (repository / "src/model.py").write_text("a = 2\n")
    attempts = begin_attempts(repository / "run", count=2)
    (repository / "src/model.py").write_text("a = 3\n")
    attempts.append({"git": provenance.get_git_info(), "versions": {}})
    record_provenance(repository / "run", attempts)

    assert [attempt["provenance"]["diff"] for attempt in attempts] == [
        "provenance/uncommitted.diff",
        "provenance/uncommitted.diff",
        "provenance/uncommitted_3.diff",
    ]
    assert {attempt["provenance"]["packages"] for attempt in attempts} == {"provenance/packages.txt"}
    assert describe_source_changes(*attempts[:2]) == []
    assert describe_source_changes(*attempts[1:])[0].startswith("commit ")
    assert "+a = 3" in (repository / "run/provenance/uncommitted_3.diff").read_text()


def test_changed_packages_are_counted(tmp_path, monkeypatch):
    lists = iter([["a==1", "b==1", "torch==2.14"], ["a==2", "c==1", "torch==2.15"]])
    monkeypatch.setattr(provenance, "list_installed_packages", lambda: next(lists))
    attempts = begin_attempts(tmp_path, count=2, git=None)

    assert describe_source_changes(*attempts) == ["3 other packages (provenance/packages_2.txt)"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("x")])
def test_failure_is_one_line_and_the_run_continues(repository, monkeypatch, capsys, error):
    def fail(*args):
        raise error

    (repository / "src/model.py").write_text("a = 2\n")
    monkeypatch.setattr(provenance, "write_atomically", fail)
    attempts = begin_attempts(repository / "run")

    assert attempts[0]["provenance"] == {}
    assert [line.partition(" failed (")[0] for line in capsys.readouterr().out.splitlines()] == [
        "Warning: the list of packages",
        "Warning: the record of uncommitted changes",
    ]


def test_slow_git_is_stopped(repository, monkeypatch, tmp_path):
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 20\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    with pytest.raises(subprocess.SubprocessError):
        uncommitted.read_git_output("diff", timeout_s=0.1)


def test_missing_git_is_not_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    assert provenance.get_git_info() is None


def write_package(directory, name, origin=None):
    (directory / name).mkdir(parents=True)
    if origin:
        (directory / name / "direct_url.json").write_text(json.dumps(origin))


def test_packages_are_listed_with_their_sources_and_without_tokens(tmp_path, monkeypatch):
    token = make_random_text(30, 3)
    first, second = tmp_path / "first", tmp_path / "second"
    write_package(first, "Ruamel.Yaml_x-1.0+cu1.dist-info")
    write_package(first, "old-2.1-py3.12.egg-info")
    write_package(first, "own-0.1.dist-info", {"url": "file:///work/own", "dir_info": {"editable": True}})
    vcs = {"vcs": "git", "commit_id": "abc123"}
    write_package(first, "net-3.dist-info", {"url": f"https://{token}@example.com/net.git", "vcs_info": vcs})
    write_package(first, "part-4.dist-info", {"url": f"https://u:{token}@example.com/p.whl?sig={token}"})
    write_package(first, "broken-5.dist-info", [1])
    write_package(second, "old-9.dist-info")
    monkeypatch.setattr(installed_packages.sys, "path", [str(first), str(tmp_path / "none"), str(second)])
    lines = list_installed_packages()

    assert lines == [
        "broken==5",
        "net @ git+https://example.com/net.git@abc123 # 3",
        "old==2.1",
        "-e file:///work/own # own==0.1",
        "part @ https://example.com/p.whl # 4",
        "ruamel-yaml-x==1.0+cu1",
    ]
    assert parse_packages("\n".join(lines)) == {
        "broken": "5",
        "net": "git+https://example.com/net.git@abc123 # 3",
        "old": "2.1",
        "own": "editable, file:///work/own",
        "part": "https://example.com/p.whl # 4",
        "ruamel-yaml-x": "1.0+cu1",
    }


@pytest.mark.slow
def test_packages_are_those_of_the_metadata():
    listed = parse_packages("\n".join(list_installed_packages()))
    metadata = {
        installed_packages.normalize_name(package.metadata["Name"]): package.version
        for package in provenance.importlib.metadata.distributions()
    }

    assert set(listed) == set(metadata)
    assert {name for name in listed if listed[name] != metadata[name] and "://" not in listed[name]} == set()
