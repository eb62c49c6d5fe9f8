"""`make update`: a newer version of the template reaches a renamed project without a common history."""

import shutil
import subprocess
from pathlib import Path

import pytest

from support.checkout import ROOT
from support.updated import TRAINER, commit, git, make_project, make_template, release, update, write

if "[tool.firstlight.template]" in (ROOT / "pyproject.toml").read_text():
    pytest.skip("tests of the template itself", allow_module_level=True)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Return a folder with a template and a project made from its version v1."""
    folder = tmp_path_factory.mktemp("originals")
    first = make_template(folder / "template")
    make_project(folder / "project", folder / "template", first)
    return folder


@pytest.fixture
def template(originals, tmp_path):
    """Return a template of the test's own."""
    return Path(shutil.copytree(originals / "template", tmp_path / "template"))


@pytest.fixture
def project(originals, tmp_path):
    """Return a project of the test's own."""
    return Path(shutil.copytree(originals / "project", tmp_path / "project"))


def succeed(project, template, *words, ref="v2"):
    done = update(project, f"from={template}", f"ref={ref}", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fail(project, *words):
    """Return the one line on stderr of an update that was rejected, after which nothing has changed."""
    done = update(project, *words)
    assert done.returncode == 1
    assert (project / ".git").exists() is False or git(project, "status", "--porcelain") in ("", UNCOMMITTED)
    (line,) = done.stderr.splitlines()
    return line


UNCOMMITTED = "?? notes.txt"


def test_engine_files_are_changed_added_and_deleted(project, template):
    write(project, {"src/firstlight/own.py": "OWN = 1\n", "docs/own.md": "# Own\n"})
    commit(project)

    printed = succeed(project, template)

    assert (project / "src/firstlight/core.py").read_text() == "CORE = 2\n"
    assert (project / "src/firstlight/fresh/module.py").read_text() == "FRESH = 1\n"
    assert (project / "src/firstlight/export/onnx.py").exists()
    assert not (project / "src/firstlight/old").exists()
    assert (project / "src/firstlight/own.py").read_text() == "OWN = 1\n"
    assert (project / "docs/own.md").exists()
    assert "Engine files: 2 changed, 2 added, 1 deleted" in printed
    listed = git(template, "show", "v2:src/firstlight/manifest.json")
    assert (project / "src/firstlight/manifest.json").read_text().strip() == listed


def test_shared_files_are_merged_with_the_project_s_names(project, template):
    write(project, {"configs/trainer/auto.yaml": TRAINER.replace("precision: 32", "precision: 16")})
    commit(project)

    printed = succeed(project, template)

    merged = (project / "configs/trainer/auto.yaml").read_text()
    assert merged == TRAINER.replace("epochs: 4", "epochs: 8").replace("precision: 32", "precision: 16")
    assert "Merged configs/trainer/auto.yaml" in printed
    assert (project / "configs/trusted.yaml").read_text() == "- firstlight\n- zephyr\n- lightning\n- torchmetrics\n"
    assert (project / "configs/logger/wandb.yaml").read_text() == "project: zephyr\n\n\nmode: online\n"
    assert (project / "environment.yml").read_text().startswith("# conda activate zephyr\nname: zephyr\nchannels")
    assert (project / "configs/trainer/mps.yaml").exists()
    assert not (project / "configs/trainer/cpu.yaml").exists()
    assert (project / "configs/train.yaml").read_text().endswith("  - model: net\n\n\nseed: 1\n")


def test_pyproject_keeps_its_name_and_version_and_records_the_template_s(project, template):
    write(project, {"pyproject.toml": (project / "pyproject.toml").read_text().replace('"0.1.0"\ndep', '"3.1.0"\ndep')})
    commit(project)

    succeed(project, template)

    text = (project / "pyproject.toml").read_text()
    assert text.startswith('[project]\nname = "zephyr"\nversion = "3.1.0"\ndependencies = [\n    "torch>=2.11",\n')
    assert 'packages = ["src/firstlight", "src/zephyr"]' in text
    table = f'[tool.firstlight.template]\nurl = "{template}"\ncommit = "{git(template, "rev-parse", "v2")}"\n'
    assert text.endswith(f'\n\n{table}version = "0.2.0"\nremoved = []\n')


def test_the_record_stays_where_it_is_in_pyproject(project, template):
    text = (project / "pyproject.toml").read_text()
    table = text[text.index("[tool.firstlight.template]") :]
    moved = text.replace(table, "").rstrip("\n") + "\n"
    write(project, {"pyproject.toml": moved.replace("[tool.ruff]", f"{table}\n[tool.ruff]")})
    commit(project)

    succeed(project, template)

    updated = (project / "pyproject.toml").read_text()
    assert "removed = []\n\n[tool.ruff]\nline-length" in updated
    assert updated.count("[tool.firstlight.template]") == 1


def test_what_is_yours_is_not_touched_even_if_the_template_drops_the_example(project, template):
    write(project, {"src/zephyr/net.py": "class Net: wide = True\n", "src/zephyr/mine.py": "class Mine: pass\n"})
    commit(project)

    succeed(project, template)

    changed = git(project, "diff", "--name-only", "HEAD").splitlines()
    assert not [path for path in changed if path.startswith(("src/zephyr", "tests/zephyr", "configs/model", "README"))]
    assert not (project / "configs/model/wide.yaml").exists()
    assert (project / "src/zephyr/net.py").read_text() == "class Net: wide = True\n"


def test_a_conflict_is_marked_listed_and_fails_after_all_the_rest_is_done(project, template):
    write(project, {"configs/trainer/auto.yaml": TRAINER.replace("max_epochs: 4", "max_epochs: 5")})
    commit(project)

    done = update(project, f"from={template}", "ref=v2")

    assert done.returncode == 1
    assert "configs/trainer/auto.yaml: conflicts with your changes: 1. Edit the lines between <<<<<<<" in done.stdout
    merged = (project / "configs/trainer/auto.yaml").read_text()
    assert "<<<<<<< yours\nmax_epochs: 5\n=======\nmax_epochs: 8\n>>>>>>> template\n" in merged
    assert (project / "src/firstlight/core.py").read_text() == "CORE = 2\n"
    assert 'version = "0.2.0"' in (project / "pyproject.toml").read_text()


def test_deleted_shared_files_do_not_come_back_and_edited_ones_stay(project, template):
    write(project, {"configs/trainer/tpu.yaml": None, "configs/trainer/auto.yaml": None})
    write(project, {"configs/trainer/cpu.yaml": "accelerator: cpu\nprecision: 64\n"})
    commit(project)

    printed = succeed(project, template)

    assert not (project / "configs/trainer/auto.yaml").exists()
    assert not (project / "configs/trainer/tpu.yaml").exists()
    assert (project / "configs/trainer/cpu.yaml").exists()
    assert "configs/trainer/cpu.yaml: deleted in the template, kept with your changes" in printed


def test_a_new_shared_file_does_not_replace_one_of_yours(project, template):
    write(project, {"configs/trainer/mps.yaml": "accelerator: mps\nprecision: 16\n"})
    commit(project)

    done = update(project, f"from={template}", "ref=v2")

    assert done.returncode == 1
    assert "configs/trainer/mps.yaml: new in the template, and you have such a file" in done.stdout
    assert "16" in (project / "configs/trainer/mps.yaml").read_text()
    assert (project / "configs/trainer/mps.yaml.new").read_text() == "accelerator: mps\n"


def test_modified_engine_files_are_listed_and_replaced_only_by_force(project, template):
    write(project, {"src/firstlight/core.py": "CORE = 3\n", "src/firstlight/fresh/module.py": "MINE = 1\n"})
    (project / "src/firstlight/__init__.py").unlink()
    write(project, {"scripts/update_record.py": (project / "scripts/update_record.py").read_text() + "# mine\n"})
    commit(project)

    done = update(project, f"from={template}", "ref=v2")

    assert done.returncode == 1
    paths = ["scripts/update_record.py", "src/firstlight/__init__.py"]
    paths += ["src/firstlight/core.py", "src/firstlight/fresh/module.py"]
    assert done.stdout.splitlines() == [f"{path}: engine file with local changes" for path in paths]
    assert "4 engine files have local changes, so nothing was updated. Move the changes to src/zephyr/" in done.stderr
    assert git(project, "status", "--porcelain") == ""

    printed = succeed(project, template, "force=true")

    assert (project / "src/firstlight/core.py").read_text() == "CORE = 2\n"
    assert all(f"{path}: your changes are replaced (force=true)" in printed for path in paths)


def test_a_removed_command_is_recorded_and_does_not_come_back(project, template):
    for path in ("src/firstlight/export", "tests/firstlight/export"):
        shutil.rmtree(project / path)
    write(project, {"docs/export.md": None, "configs/export.yaml": None})
    commit(project)

    printed = succeed(project, template)
    commit(project)

    assert "Not restored: export" in printed
    assert 'removed = ["export"]' in (project / "pyproject.toml").read_text()
    release(template, {"src/firstlight/export/coreml.py": "A = 1\n", "tests/firstlight/export/test_b.py": ""}, "v3")
    succeed(project, template, ref="v3")
    assert 'removed = ["export"]' in (project / "pyproject.toml").read_text()
    assert not [path for path in project.rglob("*export*") if ".git" not in path.parts]


def test_without_a_recorded_commit_the_manifest_finds_it(project, template):
    text = (project / "pyproject.toml").read_text()
    write(project, {"pyproject.toml": text[: text.index("\n[tool.firstlight.template]")]})
    write(project, {"configs/trainer/auto.yaml": TRAINER.replace("precision: 32", "precision: 16")})
    commit(project)

    printed = succeed(project, template)

    assert "Merged configs/trainer/auto.yaml" in printed
    assert f"0.1.0 ({git(template, 'rev-parse', '--short=7', 'v1')}) to 0.2.0" in printed
    assert "[tool.firstlight.template]\nurl = " in (project / "pyproject.toml").read_text()


def test_without_the_base_new_versions_are_written_beside(project, tmp_path, template):
    write(project, {"configs/trainer/auto.yaml": TRAINER.replace("precision: 32", "precision: 16")})
    commit(project)
    shutil.rmtree(template / ".git")
    git(template, "init", "-q", "-b", "main", ".")
    commit(template)

    done = update(project, f"from={template}", "ref=main")

    assert done.returncode == 1
    assert "configs/trainer/auto.yaml: not merged. Copy what you need from configs/trainer/auto.yaml.new" in done.stdout
    assert "commit of this project was not found" in done.stdout
    assert "max_epochs: 8" in (project / "configs/trainer/auto.yaml.new").read_text()
    assert "max_epochs: 4" in (project / "configs/trainer/auto.yaml").read_text()
    assert (project / "configs/export.yaml").read_text() == "format: onnx\n"  # its checksum says that nobody edited it
    assert (project / "src/firstlight/core.py").read_text() == "CORE = 2\n"


def test_the_recorded_commit_is_found_on_another_branch(project, template):
    git(template, "branch", "old", "v1")
    git(template, "checkout", "-q", "--orphan", "fresh")
    commit(template)
    git(template, "tag", "-d", "v1", "v2")
    git(template, "branch", "-D", "main")

    succeed(project, template, ref="fresh")

    assert "max_epochs: 8" in (project / "configs/trainer/auto.yaml").read_text()


def test_a_directory_without_git_is_rejected(project, template):
    shutil.rmtree(project / ".git")

    assert "is not under git, so that an update could not be undone. Run: git init" in fail(project, f"from={template}")
    assert (project / "src/firstlight/core.py").read_text() == "CORE = 1\n"


def test_uncommitted_changes_are_rejected(project, template):
    (project / "notes.txt").write_text("")

    line = fail(project, f"from={template}", "ref=v2", "force=true")

    assert line == "update: Uncommitted changes: notes.txt. Commit them, or run: git stash -u"


def test_dry_run_prints_the_same_and_changes_nothing(project, template):
    write(project, {"configs/trainer/auto.yaml": TRAINER.replace("max_epochs: 4", "max_epochs: 5")})
    commit(project)
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file() and ".git" not in path.parts}

    dry = update(project, f"from={template}", "ref=v2", "dry_run=true")

    after = {path: path.read_bytes() for path in project.rglob("*") if path.is_file() and ".git" not in path.parts}
    assert before == after
    real = update(project, f"from={template}", "ref=v2")
    assert dry.stdout.replace("Would update", "Updated") == real.stdout
    assert dry.returncode == real.returncode == 1


def test_a_wrong_checksum_is_reported_and_the_file_taken_as_it_is(project, template):
    write(template, {"src/firstlight/core.py": "CORE = 9\n", "docs/forgotten.md": "# New\n"})
    commit(template)

    printed = succeed(project, template, ref="main")
    commit(project)

    assert "src/firstlight/core.py: checksum differs from the new manifest" in printed
    assert "docs/forgotten.md: not listed in the new manifest" in printed
    assert (project / "src/firstlight/core.py").read_text() == "CORE = 9\n"
    succeed(project, template, ref="v2")  # the file that was taken is no local change


def test_the_end_names_both_versions_and_the_next_command(project, template):
    first, second = (git(template, "rev-parse", "--short=7", tag) for tag in ("v1", "v2"))

    lines = succeed(project, template).splitlines()

    assert lines[-2] == f"Updated firstlight 0.1.0 ({first}) to 0.2.0 ({second})"
    assert lines[-1] == "Next: make setup check test"
    assert git(project, "remote") == ""
    commit(project)
    assert succeed(project, template).startswith("Engine files: 0 changed, 0 added, 0 deleted")
    assert git(project, "status", "--porcelain") == ""


def test_line_endings_of_the_project_do_not_matter_and_stay(project, template):
    for path in ("src/firstlight/core.py", "configs/trainer/auto.yaml"):
        text = (project / path).read_text().replace("precision: 32", "precision: 16")
        (project / path).write_bytes(text.replace("\n", "\r\n").encode())
    commit(project)

    succeed(project, template)

    assert (project / "src/firstlight/core.py").read_bytes() == b"CORE = 2\r\n"
    expected = TRAINER.replace("epochs: 4", "epochs: 8").replace("precision: 32", "precision: 16")
    assert (project / "configs/trainer/auto.yaml").read_bytes() == expected.replace("\n", "\r\n").encode()


def test_the_update_may_replace_the_program_that_runs(project, template):
    release(template, {"scripts/update_source.py": "raise SystemExit('new')\n", "scripts/update.py": "\n"}, "v3")

    succeed(project, template, ref="v3")

    assert (project / "scripts/update_source.py").read_text() == "raise SystemExit('new')\n"


def test_a_failure_while_writing_says_how_to_restore_the_tree(project, template):
    write(project, {"src/firstlight/fresh": "a file where the template has a directory\n"})
    commit(project)

    done = update(project, f"from={template}", "ref=v2")

    assert done.returncode == 1
    assert "Cannot write src/firstlight/fresh/module.py: " in done.stderr
    assert done.stderr.endswith("Run: git checkout . && git clean -fd\n")
    subprocess.run("git checkout -q . && git clean -qfd", shell=True, cwd=project, check=True)
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["form={}"], "update: Unknown argument 'form'. Did you mean 'from'?"),
        (["zzz=1"], "update: Unknown argument 'zzz'. Arguments: from, ref, force, dry_run."),
        (["from={}", "force=yes"], "update: Invalid value force=yes. Use force=true."),
        (["from="], "update: The template's URL is missing. Pass from=<git URL or path>."),
        (["from={}", "ref=--all"], "update: Invalid value ref=--all. Use ref=main."),
        (["from={}", "ref=v22"], "update: Unknown branch or tag ref=v22 in {}. Did you mean 'v2'?"),
        (["from={}", "ref=zzzzz"], "update: Unknown branch or tag ref=zzzzz in {}. Branches and tags: main, v1, v2."),
    ],
)
def test_what_cannot_be_done_is_one_line(project, template, words, line):
    assert fail(project, *(word.format(template) for word in words)) == line.format(template)


def test_a_place_without_a_repository_is_rejected(project, tmp_path):
    line = fail(project, f"from={tmp_path / 'nothing'}", "ref=main")

    assert line.startswith(f"update: from={tmp_path / 'nothing'} cannot be read by git: ")
    assert line.endswith("Pass the URL or the path of the template's git repository.")


def test_a_version_without_a_manifest_is_rejected(project, template):
    write(template, {"src/firstlight/manifest.json": None})
    commit(template)

    line = fail(project, f"from={template}", "ref=main")

    assert line == f"update: main of {template} has no src/firstlight/manifest.json. Use a later ref."
