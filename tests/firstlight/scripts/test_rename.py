"""`make mine`: what it refuses, and what is left of a project afterwards."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
import rename  # noqa: E402
from mine import choices, names, tree  # noqa: E402

# Written behind name= everywhere: a name that stands elsewhere in the tree is refused.
WORDS = ("name=zephyr", "name=borealis", "name=halcyon", "name=meridian")
FILES = tree.texts(ROOT)
PACKAGE = tree.package_of(list(FILES))
NAME, NEXT, *_ = dict.fromkeys(word[len("name=") :] for word in WORDS if word != f"name={PACKAGE}")
MODEL, DATA = choices.offered(FILES, "model")[0], choices.default(FILES, "data")
IS_TEMPLATE = rename.is_template(FILES, PACKAGE)


def git(folder, *words):
    own = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", *own, *words], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def project(tmp_path):
    """Return a small project that is made like this one: its metadata, configs, models and data sets."""
    wanted = ["LICENSE", "README.md", "pyproject.toml", "requirements.lock", "environment.yml", "Makefile"]
    wanted += [path for path in FILES if path.startswith(("configs/", "scripts/")) or path.endswith("__init__.py")]
    wanted += [path for path in FILES if path.startswith((f"src/{PACKAGE}/model/", f"src/{PACKAGE}/data/"))]
    for path in wanted:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "all")
    return tmp_path


def traces(folder: Path, name: str) -> list[str]:
    """Return where a name stands: files by their name, lines by their text."""
    after = tree.texts(folder)
    found = [path for path in tree.paths(folder) if names.pattern(name).search(path)]
    return found + [
        f"{path}: {line}"
        for path, text in after.items()
        for line in text.splitlines()
        if names.pattern(name).search(line)
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "`make mine` needs the project's name, but none came: type `make mine name=my_project`"),
        (["nmae=x"], "`make mine` takes name=my_project keep=<models,data> force=true, but nmae=x came"),
        (["name=My-Net"], "a letter first, but 'My-Net' came: type my_net, for one"),
        (["name=3d"], "a letter first, but '3d' came: type my_3d, for one"),
        (["name=class"], "The project's name is no word of Python's own, but class is a keyword: type my_class"),
        (["name=match"], "is no word of Python's own, but match is a keyword"),
        (["name=json"], "The project's name hides no module, but json is one of Python's own: type my_json"),
        (["name=tomllib"], "hides no module, but tomllib is one of Python's own"),
        (["name=torch"], "The project's name is its own, but torch is a package that it needs (torch): type my_torch"),
        (["name=yaml"], "yaml is a package that it needs (pyyaml)"),
        (["name=pytest_timeout"], "pytest_timeout is a package that it needs (pytest_timeout)"),
        (["name=tests"], "The project's name is new to the tree, but there is tests/"),
        (["name=configs"], "The project's name is new to the tree, but there is configs/"),
        (["name=classifier"], "The project's name is new to the tree, but there is src/"),
        (["name=logits"], "The project's name is new to the tree, but line "),
        ([f"name={PACKAGE}"], f"The project is called {PACKAGE} already: type another name, or keep= alone"),
    ],
    ids=" ".join,
)
def test_a_name_is_refused_in_a_sentence(words, sentence):
    with pytest.raises(ValueError) as refused:
        names.require_free(rename.settings(words)["name"], PACKAGE, FILES)

    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("keep", "sentence"),
    [
        ([DATA[:-1]], f"keep= names models and data sets, but there is no {DATA[:-1]}: did you mean {DATA}?"),
        ([DATA], "keep= leaves a model, but names none of "),
        ([MODEL], "keep= leaves a data set, but names none of "),
    ],
    ids=["unknown", "no model", "no data"],
)
def test_a_keep_that_cannot_train_is_refused(keep, sentence):
    with pytest.raises(ValueError) as refused:
        choices.kept(FILES, keep)

    assert sentence in str(refused.value)


@pytest.mark.parametrize(("first", "second"), [("model", "data"), ("data", "model")])
def test_a_model_needs_data_of_its_kind_and_data_a_model(first, second):
    kinds = {"one": "images", "two": "text", "three": "images"}
    stay = {first: ["one"], second: ["two"]}
    known = {first: ["one", "two"], second: ["two", "three"]}

    with pytest.raises(ValueError, match="but keep= names no (data|model) for it: add one of"):
        choices.require_pairs(stay, known, kinds)


def test_changes_that_are_not_committed_are_refused_and_force_goes_on(project):
    (project / "notes.txt").write_text("mine")

    with pytest.raises(ValueError, match="could get lost, and notes.txt is not: commit it, or add force=true"):
        rename.mine(project, [f"name={NAME}"])

    assert git(project, "status", "--porcelain") == "?? notes.txt\n"
    rename.mine(project, [f"name={NAME}", "force=true"])
    assert (project / "notes.txt").read_text() == "mine"


def test_a_folder_without_git_is_refused(tmp_path):
    with pytest.raises(ValueError, match="git lists the files to edit, but says 'fatal: not a git repository"):
        rename.mine(tmp_path, [f"name={NAME}"])


def test_no_trace_of_the_old_name_is_left_but_its_licence(project):
    rename.mine(project, [f"name={NAME}"])
    left = traces(project, PACKAGE)

    assert all(each.startswith("LICENSE: Copyright") for each in left)
    assert (project / "src" / NAME / "__init__.py").exists()
    assert not (project / "src" / PACKAGE).exists()
    assert f"Copyright (c) {rename.date.today().year} {NAME} authors" in (project / "LICENSE").read_text()


def test_a_project_is_renamed_again(project):
    rename.mine(project, [f"name={NAME}"])
    git(project, "add", "-A")
    git(project, "commit", "-qm", "mine")
    (project / "README.md").write_text(f"# {NAME}\n\nIt tells fog from rain.\n")
    rename.mine(project, [f"name={NEXT}", "force=true"])

    assert traces(project, NAME) == []
    assert (project / "README.md").read_text() == f"# {NEXT}\n\nIt tells fog from rain.\n"


@pytest.mark.skipif(not IS_TEMPLATE, reason="this project has begun")
def test_a_project_begins_afresh(project):
    rename.mine(project, [f"name={NAME}"])
    project_file = (project / "pyproject.toml").read_text()

    assert (project / "README.md").read_text().startswith(f"# {NAME}\n\n{rename.PLACEHOLDER}\n\n| command |")
    assert (project / "CHANGELOG.md").read_text().startswith("# Changelog\n\n## 0.1.0\n")
    assert f'name = "{NAME}"\nversion = "0.1.0"\ndescription = "{rename.PLACEHOLDER}"' in project_file


def test_five_lines_tell_what_to_do_next(project):
    assert len(rename.mine(project, [f"name={NAME}"]).splitlines()) == 5


def test_an_error_on_the_way_changes_nothing(project, monkeypatch):
    monkeypatch.setattr(rename, "renamed", None)

    with pytest.raises(TypeError):
        rename.mine(project, [f"name={NAME}"])

    assert git(project, "status", "--porcelain") == ""


def test_the_name_is_replaced_in_every_casing_and_spelling():
    text = "my_net MY_NET My_net my-net.toml '\\nmy_net' my_network"

    assert rename.renamed(text, "my_net", "ours_x") == "ours_x OURS_X Ours_X ours-x.toml '\\nours_x' my_network"


def test_columns_stay_where_they_are():
    assert rename.renamed("src/long_name/   one\ntests/          two", "long_name", "abc").splitlines() == [
        "src/abc/         one",
        "tests/          two",
    ]


def test_the_first_commands_stay_in_readme():
    text = rename.head("# old\n\nWhat it was.\n\n| command | what it does |\n|---|---|\n\n```bash\nmake\n```\n", "new")

    assert text.splitlines()[0] == "# new"
    assert "What it was." not in text
    assert text.index("| command") < text.index("```")
