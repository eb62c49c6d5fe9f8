"""`make update` records the template in pyproject.toml."""

from support.template_update import commit, git, run_update, write_files


def test_pyproject_keeps_name_and_version_and_records_template(project, template):
    write_files(
        project, {"pyproject.toml": (project / "pyproject.toml").read_text().replace('"0.1.0"\ndep', '"3.1.0"\ndep')}
    )
    commit(project)

    run_update(project, template)

    text = (project / "pyproject.toml").read_text()
    assert text.startswith('[project]\nname = "zephyr"\nversion = "3.1.0"\ndependencies = [\n    "torch>=2.11",\n')
    assert 'packages = ["src/firstlight", "src/zephyr"]' in text
    table = f'[tool.firstlight.template]\nurl = "{template}"\ncommit = "{git(template, "rev-parse", "v2")}"\n'
    assert text.endswith(f'\n\n{table}version = "0.2.0"\nremoved = []\n')


def test_table_keeps_its_position_in_pyproject(project, template):
    text = (project / "pyproject.toml").read_text()
    table = text[text.index("[tool.firstlight.template]") :]
    moved = text.replace(table, "").rstrip("\n") + "\n"
    write_files(project, {"pyproject.toml": moved.replace("[tool.ruff]", f"{table}\n[tool.ruff]")})
    commit(project)

    run_update(project, template)

    updated = (project / "pyproject.toml").read_text()
    assert "removed = []\n\n[tool.ruff]\nline-length" in updated
    assert updated.count("[tool.firstlight.template]") == 1
