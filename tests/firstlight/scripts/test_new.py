"""`make new`: two files that work as they are."""

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
import new  # noqa: E402
from mine import choices, tree  # noqa: E402

FILES = tree.present(ROOT)
PACKAGE = tree.package_of(list(FILES))
KINDS = sorted({new.kind_of(FILES, "model", name) for name in choices.offered(FILES, "model")})


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a copy of sources and configs, which `make new` writes to."""
    for folder in ("src", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(new, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("group", choices.GROUPS)
@pytest.mark.parametrize("kind", KINDS)
def test_two_files_are_written_and_named(project, group, kind):
    told = new.new([f"{group}=my_new_one", f"kind={kind}"])
    source = (project / f"src/{PACKAGE}/{group}/my_new_one.py").read_text()
    config = (project / f"configs/{group}/my_new_one.yaml").read_text()

    assert "class MyNewOne(" in source
    assert f"_target_: {PACKAGE}.{group}.my_new_one.MyNewOne" in config
    assert not any(mark in source + config for mark in ("PACKAGE", "MyChoice", "my_choice", "DEFAULTS"))
    assert f"src/{PACKAGE}/{group}/my_new_one.py" in told
    assert f"{group}=my_new_one" in told.splitlines()[-1]
    assert kind == new.kind_of(tree.present(project), group, "my_new_one")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "`make new` takes model= or data=, but neither came: type `make new model=my_net`"),
        (["model=a", "data=b"], "`make new` takes model= or data=, but both came"),
        (["modle=a"], "`make new` takes model= or data=, and kind=, but modle= came: did you mean model=?"),
        (["model=a", "kind=sound"], "kind= is images or text, but 'sound' came: type kind=images, for one"),
        (["model=MyNet"], "The name of a model is made of lower-case letters, digits and underscores"),
        (["data=class"], "The name of a data set is no word of Python's own, but class is a keyword"),
        (["model=classifier"], f"`make new` writes new files only, but there is src/{PACKAGE}/model/classifier.py"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_is(project, words, sentence):
    before = sorted(project.rglob("*"))

    with pytest.raises(ValueError) as refused:
        new.new(words)

    assert sentence in str(refused.value)
    assert before == sorted(project.rglob("*"))
