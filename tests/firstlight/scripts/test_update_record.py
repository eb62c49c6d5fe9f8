"""`make update` records in pyproject.toml where the engine comes from."""

from support.template_update import commit, git, run_update, write


def test_pyproject_keeps_its_name_and_version_and_records_the_template_s(project, template):
    write(project, {"pyproject.toml": (project / "pyproject.toml").read_text().replace('"0.1.0"\ndep', '"3.1.0"\ndep')})
    commit(project)

    run_update(project, template)

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

    run_update(project, template)

    updated = (project / "pyproject.toml").read_text()
    assert "removed = []\n\n[tool.ruff]\nline-length" in updated
    assert updated.count("[tool.firstlight.template]") == 1
