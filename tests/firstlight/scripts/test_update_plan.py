"""`make update` replaces engine files, merges SHARED files, and leaves yours alone."""

import shutil

from support.template_update import TRAINER, commit, git, release, run_update, update, write


def test_engine_files_are_changed_added_and_deleted(project, template):
    write(project, {"src/firstlight/own.py": "OWN = 1\n", "docs/own.md": "# Own\n"})
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


def test_shared_files_are_merged_with_the_project_s_names(project, template):
    write(project, {"configs/trainer/auto.yaml": TRAINER.replace("precision: 32", "precision: 16")})
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


def test_what_is_yours_is_not_touched_even_if_the_template_drops_the_example(project, template):
    write(project, {"src/zephyr/net.py": "class Net: wide = True\n", "src/zephyr/mine.py": "class Mine: pass\n"})
    commit(project)

    run_update(project, template)

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

    printed = run_update(project, template)

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
    assert (project / "configs/trainer/mps.yaml.new").read_text() == "accelerator: mps  # see src/zephyr\n"


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

    printed = run_update(project, template, "force=true")

    assert (project / "src/firstlight/core.py").read_text() == "CORE = 2\n"
    assert all(f"{path}: your changes are replaced (force=true)" in printed for path in paths)


def test_a_removed_command_is_recorded_and_does_not_come_back(project, template):
    for path in ("src/firstlight/export", "tests/firstlight/export"):
        shutil.rmtree(project / path)
    write(project, {"docs/export.md": None, "configs/export.yaml": None})
    commit(project)

    printed = run_update(project, template)
    commit(project)

    assert "Not restored: export" in printed
    assert 'removed = ["export"]' in (project / "pyproject.toml").read_text()
    release(template, {"src/firstlight/export/coreml.py": "A = 1\n", "tests/firstlight/export/test_b.py": ""}, "v3")
    run_update(project, template, ref="v3")
    assert 'removed = ["export"]' in (project / "pyproject.toml").read_text()
    assert not [path for path in project.rglob("*export*") if ".git" not in path.parts]


def test_a_wrong_checksum_is_reported_and_the_file_taken_as_it_is(project, template):
    write(template, {"src/firstlight/core.py": "CORE = 9\n", "docs/forgotten.md": "# New\n"})
    commit(template)

    printed = run_update(project, template, ref="main")
    commit(project)

    assert "src/firstlight/core.py: checksum differs from the new manifest" in printed
    assert "docs/forgotten.md: not listed in the new manifest" in printed
    assert (project / "src/firstlight/core.py").read_text() == "CORE = 9\n"
    run_update(project, template, ref="v2")  # the file that was taken is no local change


def test_a_file_that_is_no_longer_listed_but_still_exists_stays(project, template):
    release(template, {"configs/data/folder.yaml": "_target_: sample.folder.Folder\n"}, "v3")
    listed = template / "src/firstlight/manifest.json"
    lines = [line for line in listed.read_text().splitlines() if "docs/core.md" not in line]
    write(template, {"src/firstlight/manifest.json": "\n".join(lines) + "\n"})
    commit(template)

    printed = run_update(project, template, ref="main")

    assert (project / "configs/data/folder.yaml").read_text() == "_target_: firstlight.core.Folder\n"
    assert (project / "docs/core.md").read_text() == "# Core\n"
    assert "docs/core.md: not listed in the new manifest. Skipped." in printed


def test_a_new_program_can_be_run(project, template):
    write(template, {"scripts/start.sh": "#!/bin/sh\n"})
    (template / "scripts/start.sh").chmod(0o755)
    release(template, {}, "v3")

    run_update(project, template, ref="v3")

    assert (project / "scripts/start.sh").stat().st_mode & 0o111
