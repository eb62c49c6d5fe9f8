"""`make update` replaces engine files, merges SHARED files, and does not change yours."""

import shutil

import pytest

from support.template_update import TRAINER, commit, git, release, run_update, try_update, write_files

# Each test runs git and `make update` several times.
pytestmark = pytest.mark.slow


def test_engine_files_are_changed_added_and_deleted(project, template):
    write_files(project, {"src/firstlight/own.py": "OWN = 1\n", "docs/own.md": "# Own\n"})
    commit(project)

    printed = run_update(project, template)

    assert (project / "src/firstlight/core.py").read_text() == "CORE = 2\n"
    assert (project / "src/firstlight/fresh/module.py").read_text() == "FRESH = 1\n"
    assert (project / "src/firstlight/export/onnx.py").exists()
    assert not (project / "src/firstlight/old").exists()
    assert (project / "src/firstlight/own.py").read_text() == "OWN = 1\n"
    assert (project / "docs/own.md").exists()
    assert "Engine files: 2 changed, 2 added, 1 deleted" in printed
    listed = git(template, "show", "v2:src/firstlight/manifest.json")
    assert (project / "src/firstlight/manifest.json").read_text().strip() == listed


def test_shared_files_are_merged_and_keep_project_names(project, template):
    write_files(project, {"configs/trainer/auto.yaml": TRAINER.replace("precision: 32", "precision: 16")})
    commit(project)

    printed = run_update(project, template)

    merged = (project / "configs/trainer/auto.yaml").read_text()
    assert merged == TRAINER.replace("epochs: 4", "epochs: 8").replace("precision: 32", "precision: 16")
    assert "Merged configs/trainer/auto.yaml" in printed
    assert (project / "configs/trusted.yaml").read_text() == "- firstlight\n- zephyr\n- torchmetrics\n- lightning\n"
    assert (project / "configs/logger/wandb.yaml").read_text() == "project: zephyr\n\n\nmode: online\n"
    assert (project / "environment.yml").read_text().startswith("# conda activate zephyr\nname: zephyr\nchannels")
    assert (project / "configs/trainer/mps.yaml").read_text() == "accelerator: mps  # see src/zephyr\n"
    assert not (project / "configs/trainer/cpu.yaml").exists()
    assert (project / "configs/train.yaml").read_text().endswith("  - model: net\n\n\nseed: 1\n")


def test_your_files_do_not_change_if_template_deletes_the_example(project, template):
    write_files(project, {"src/zephyr/net.py": "class Net: wide = True\n", "src/zephyr/mine.py": "class Mine: pass\n"})
    commit(project)

    run_update(project, template)

    changed = git(project, "diff", "--name-only", "HEAD").splitlines()
    assert not [path for path in changed if path.startswith(("src/zephyr", "tests/zephyr", "configs/model", "README"))]
    assert not (project / "configs/model/wide.yaml").exists()
    assert (project / "src/zephyr/net.py").read_text() == "class Net: wide = True\n"


def test_conflict_is_marked_and_other_files_are_updated(project, template):
    write_files(project, {"configs/trainer/auto.yaml": TRAINER.replace("max_epochs: 4", "max_epochs: 5")})
    commit(project)

    done = try_update(project, f"from={template}", "ref=v2")

    assert done.returncode == 1
    assert "configs/trainer/auto.yaml: merge conflicts: 1. Edit the lines between <<<<<<<" in done.stdout
    merged = (project / "configs/trainer/auto.yaml").read_text()
    assert "<<<<<<< yours\nmax_epochs: 5\n=======\nmax_epochs: 8\n>>>>>>> template\n" in merged
    assert (project / "src/firstlight/core.py").read_text() == "CORE = 2\n"
    assert 'version = "0.2.0"' in (project / "pyproject.toml").read_text()


def test_deleted_shared_files_are_not_restored_and_edited_ones_are_kept(project, template):
    write_files(project, {"configs/trainer/tpu.yaml": None, "configs/trainer/auto.yaml": None})
    write_files(project, {"configs/trainer/cpu.yaml": "accelerator: cpu\nprecision: 64\n"})
    commit(project)

    printed = run_update(project, template)

    assert not (project / "configs/trainer/auto.yaml").exists()
    assert not (project / "configs/trainer/tpu.yaml").exists()
    assert (project / "configs/trainer/cpu.yaml").exists()
    assert "configs/trainer/cpu.yaml: deleted in the template, kept with your changes" in printed


def test_new_shared_file_does_not_replace_yours(project, template):
    write_files(project, {"configs/trainer/mps.yaml": "accelerator: mps\nprecision: 16\n"})
    commit(project)

    done = try_update(project, f"from={template}", "ref=v2")

    assert done.returncode == 1
    assert "configs/trainer/mps.yaml: new in the template, but already exists in your project" in done.stdout
    assert "16" in (project / "configs/trainer/mps.yaml").read_text()
    assert (project / "configs/trainer/mps.yaml.new").read_text() == "accelerator: mps  # see src/zephyr\n"


def test_modified_engine_files_are_replaced_only_with_force(project, template):
    write_files(project, {"src/firstlight/core.py": "CORE = 3\n", "src/firstlight/fresh/module.py": "MINE = 1\n"})
    (project / "src/firstlight/__init__.py").unlink()
    write_files(project, {"scripts/update_record.py": (project / "scripts/update_record.py").read_text() + "# mine\n"})
    commit(project)

    done = try_update(project, f"from={template}", "ref=v2")

    assert done.returncode == 2
    paths = ["scripts/update_record.py", "src/firstlight/__init__.py"]
    paths += ["src/firstlight/core.py", "src/firstlight/fresh/module.py"]
    assert done.stdout.splitlines() == [f"{path}: engine file with local changes" for path in paths]
    assert "4 engine files have local changes, so nothing was updated. Move the changes to src/zephyr/" in done.stderr
    assert git(project, "status", "--porcelain") == ""

    printed = run_update(project, template, "force=true")

    assert (project / "src/firstlight/core.py").read_text() == "CORE = 2\n"
    assert all(f"{path}: your changes are discarded (force=true)" in printed for path in paths)


def test_deleted_command_is_recorded_and_not_restored(project, template):
    for path in ("src/firstlight/export", "tests/firstlight/export"):
        shutil.rmtree(project / path)
    write_files(project, {"docs/export.md": None, "configs/export.yaml": None})
    commit(project)

    printed = run_update(project, template)
    commit(project)

    assert "Not restored: export" in printed
    assert 'removed = ["export"]' in (project / "pyproject.toml").read_text()
    release(template, {"src/firstlight/export/coreml.py": "A = 1\n", "tests/firstlight/export/test_b.py": ""}, "v3")
    run_update(project, template, ref="v3")
    assert 'removed = ["export"]' in (project / "pyproject.toml").read_text()
    assert not [path for path in project.rglob("*export*") if ".git" not in path.parts]


def test_checksum_mismatch_is_reported_and_file_is_copied(project, template):
    write_files(template, {"src/firstlight/core.py": "CORE = 9\n", "docs/forgotten.md": "# New\n"})
    commit(template)

    printed = run_update(project, template, ref="main")
    commit(project)

    assert "src/firstlight/core.py: checksum differs from the new manifest" in printed
    assert "docs/forgotten.md: not listed in the new manifest" in printed
    assert (project / "src/firstlight/core.py").read_text() == "CORE = 9\n"
    run_update(project, template, ref="v2")  # The copied file does not count as a local change.


def test_unlisted_file_that_still_exists_is_kept(project, template):
    release(template, {"configs/data/folder.yaml": "_target_: sample.folder.Folder\n"}, "v3")
    listed = template / "src/firstlight/manifest.json"
    lines = [line for line in listed.read_text().splitlines() if "docs/core.md" not in line]
    write_files(template, {"src/firstlight/manifest.json": "\n".join(lines) + "\n"})
    commit(template)

    printed = run_update(project, template, ref="main")

    assert (project / "configs/data/folder.yaml").read_text() == "_target_: firstlight.core.Folder\n"
    assert (project / "docs/core.md").read_text() == "# Core\n"
    assert "docs/core.md: not listed in the new manifest. Skipped." in printed


def test_new_script_is_executable(project, template):
    write_files(template, {"scripts/start.sh": "#!/bin/sh\n"})
    (template / "scripts/start.sh").chmod(0o755)
    release(template, {}, "v3")

    run_update(project, template, ref="v3")

    assert (project / "scripts/start.sh").stat().st_mode & 0o111
