"""`make update`: output, rejected updates, and dry runs."""

import shutil
import subprocess
import sys

import pytest

from support.checkout import ROOT
from support.template_update import (
    TRAINER,
    commit,
    git,
    release,
    run_failing_update,
    run_update,
    try_update,
    write_files,
)


def test_directory_without_git_is_rejected(project, template):
    shutil.rmtree(project / ".git")

    line = run_failing_update(project, f"from={template}")

    assert line.startswith(f"update: {project} is not a git repository, so an update could not be undone (")
    assert line.endswith("Run `git init && git add . && git commit -m 'Start'`.")
    assert (project / "src/firstlight/core.py").read_text() == "CORE = 1\n"


def test_uncommitted_changes_are_rejected(project, template):
    (project / "notes.txt").write_text("")

    line = run_failing_update(project, f"from={template}", "ref=v2", "force=true")

    assert line == "update: Uncommitted changes: notes.txt. Commit them, or run `git stash -u`."


def test_dry_run_prints_the_same_without_changes(project, template):
    write_files(project, {"configs/trainer/auto.yaml": TRAINER.replace("max_epochs: 4", "max_epochs: 5")})
    commit(project)
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file() and ".git" not in path.parts}

    dry = try_update(project, f"from={template}", "ref=v2", "dry_run=true")

    after = {path: path.read_bytes() for path in project.rglob("*") if path.is_file() and ".git" not in path.parts}
    assert before == after
    real = try_update(project, f"from={template}", "ref=v2")
    assert dry.stdout.replace("Would update", "Updated") == real.stdout
    assert dry.returncode == real.returncode == 1


def test_output_ends_with_versions_and_next_command(project, template):
    first, second = (git(template, "rev-parse", "--short=7", tag) for tag in ("v1", "v2"))

    lines = run_update(project, template).splitlines()

    assert lines[-2] == f"Updated firstlight from 0.1.0 ({first}) to 0.2.0 ({second})"
    assert lines[-1] == "Next: make setup check test"
    assert git(project, "remote") == ""
    commit(project)
    assert run_update(project, template).startswith("Engine files: 0 changed, 0 added, 0 deleted")
    assert git(project, "status", "--porcelain") == ""


def test_crlf_line_endings_are_kept(project, template):
    for path in ("src/firstlight/core.py", "configs/trainer/auto.yaml"):
        text = (project / path).read_text().replace("precision: 32", "precision: 16")
        (project / path).write_bytes(text.replace("\n", "\r\n").encode())
    commit(project)

    run_update(project, template)

    assert (project / "src/firstlight/core.py").read_bytes() == b"CORE = 2\r\n"
    expected = TRAINER.replace("epochs: 4", "epochs: 8").replace("precision: 32", "precision: 16")
    assert (project / "configs/trainer/auto.yaml").read_bytes() == expected.replace("\n", "\r\n").encode()


def test_update_can_replace_its_own_scripts(project, template):
    release(template, {"scripts/update_source.py": "raise SystemExit('new')\n", "scripts/update.py": "\n"}, "v3")

    run_update(project, template, ref="v3")

    assert (project / "scripts/update_source.py").read_text() == "raise SystemExit('new')\n"


def test_write_error_suggests_how_to_restore(project, template):
    write_files(project, {"src/firstlight/fresh": "a file where the template has a directory\n"})
    commit(project)

    done = try_update(project, f"from={template}", "ref=v2")

    assert done.returncode == 1
    assert "Cannot write src/firstlight/fresh/module.py: " in done.stderr
    assert done.stderr.endswith("To undo the update, run `git checkout . && git clean -fd`.\n")
    subprocess.run("git checkout -q . && git clean -qfd", shell=True, cwd=project, check=True)
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["form={}"], "update: Unknown option 'form'. Did you mean 'from='?"),
        (["zzz=1"], "update: Unknown option 'zzz'. Available: from=, ref=, force=, dry_run=."),
        (
            ["from={}", "force=yes"],
            "update: Invalid value for force: expected true or false, got 'yes'. Use force=true.",
        ),
        (["from="], "update: The template's URL is missing. Pass from=<git URL or path>."),
        (
            ["from={}", "ref=--all"],
            "update: Invalid value for ref: expected a branch or tag, got '--all'. Pass ref=<branch or tag>.",
        ),
        (["from={}", "ref=v22"], "update: Unknown branch or tag ref=v22 in {}. Did you mean 'v2'?"),
        (["from={}", "ref=zzzzz"], "update: Unknown branch or tag ref=zzzzz in {}. Available: main, v1, v2."),
    ],
)
def test_invalid_arguments_are_rejected_in_one_line(project, template, arguments, line):
    arguments = [argument.format(template) for argument in arguments]

    assert run_failing_update(project, *arguments) == line.format(template)


def test_make_forwards_arguments():
    command = ["make", "-C", str(ROOT), f"PYTHON={sys.executable}", "update", "form=a;b"]

    done = subprocess.run(command, capture_output=True, text=True)

    assert done.stderr.splitlines()[0] == "update: Unknown option 'form'. Did you mean 'from='?"
