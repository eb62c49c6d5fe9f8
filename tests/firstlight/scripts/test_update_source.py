"""`make update` finds the template, and the commit that a project was made from."""

import shutil

from support.template_update import TRAINER, commit, git, run_failing_update, run_update, try_update, write_files


def test_base_commit_is_found_by_its_manifest(project, template):
    text = (project / "pyproject.toml").read_text()
    write_files(project, {"pyproject.toml": text[: text.index("\n[tool.firstlight.template]")]})
    write_files(project, {"configs/trainer/auto.yaml": TRAINER.replace("precision: 32", "precision: 16")})
    commit(project)

    printed = run_update(project, template)

    assert "Merged configs/trainer/auto.yaml" in printed
    assert f"0.1.0 ({git(template, 'rev-parse', '--short=7', 'v1')}) to 0.2.0" in printed
    assert "[tool.firstlight.template]\nurl = " in (project / "pyproject.toml").read_text()


def test_unknown_base_writes_new_versions_next_to_changed_files(project, tmp_path, template):
    write_files(project, {"configs/trainer/auto.yaml": TRAINER.replace("precision: 32", "precision: 16")})
    commit(project)
    shutil.rmtree(template / ".git")
    git(template, "init", "-q", "-b", "main", ".")
    commit(template)

    done = try_update(project, f"from={template}", "ref=main")

    assert done.returncode == 1
    assert "configs/trainer/auto.yaml: not merged. Copy what you need from configs/trainer/auto.yaml.new" in done.stdout
    assert "The base commit of this project was not found" in done.stdout
    assert "max_epochs: 8" in (project / "configs/trainer/auto.yaml.new").read_text()
    assert "max_epochs: 4" in (project / "configs/trainer/auto.yaml").read_text()
    assert (project / "configs/export.yaml").read_text() == "format: onnx\n"  # Not edited, according to its checksum.
    assert (project / "src/firstlight/core.py").read_text() == "CORE = 2\n"


def test_recorded_commit_is_found_on_another_branch(project, template):
    git(template, "branch", "old", "v1")
    git(template, "checkout", "-q", "--orphan", "fresh")
    commit(template)
    git(template, "tag", "-d", "v1", "v2")
    git(template, "branch", "-D", "main")

    run_update(project, template, ref="fresh")

    assert "max_epochs: 8" in (project / "configs/trainer/auto.yaml").read_text()


def test_path_without_repository_is_rejected(project, tmp_path):
    line = run_failing_update(project, f"from={tmp_path / 'nothing'}", "ref=main")

    assert line.startswith(f"update: Cannot read from={tmp_path / 'nothing'}: ")
    assert line.endswith("Pass the URL or path of the template's git repository.")


def test_updating_from_a_project_is_rejected(project, originals):
    line = run_failing_update(project, f"from={originals / 'project'}")

    assert line.endswith("is a project made from the template. Pass from=<URL of the template>.")


def test_ref_without_manifest_is_rejected(project, template):
    write_files(template, {"src/firstlight/manifest.json": None})
    commit(template)

    line = run_failing_update(project, f"from={template}", "ref=main")

    assert line == f"update: main of {template} has no src/firstlight/manifest.json. Pass a later ref."
