"""`make new`: two files that work as they are."""

import sys

import pytest

from support.checkout import PROJECT, ROOT
from support.checkout_copy import copy_checkout, git

sys.path.insert(0, str(ROOT / "scripts"))
import new
import project

FILES = project.read_files(ROOT)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Return a copy of this checkout, which `make new` writes to."""
    return copy_checkout(tmp_path_factory.mktemp("copy"))


@pytest.mark.parametrize("group", project.GROUPS)
@pytest.mark.parametrize("kind", new.KINDS)
def test_two_files_are_written_and_named(copy, group, kind):
    name = f"my_new_{kind}_{group}"
    told = new.new(copy, [f"{group}={name}", f"kind={kind}"])
    paths = [f"src/{PROJECT.name}/{group}/{name}.py", f"configs/{group}/{name}.yaml"]
    source, config = ((copy / path).read_text() for path in paths)
    class_name = f"MyNew{kind.title()}{group.title()}"

    assert f"class {class_name}(" in source
    assert f"_target_: {PROJECT.name}.{group}.{name}.{class_name}" in config
    assert not any(mark in source + config for mark in ("PACKAGE", "MyOption", "my_option", "DATA"))
    assert all(f"new: wrote {path}" in told for path in paths)
    assert f"{group}={name}" in told.splitlines()[-1]
    files = project.read_files(copy)
    assert project.find_kind(files, project.find_target(files, group, name)) == kind
    if group == "model":
        data = project.find_data(files, name)
        assert project.find_kind(files, project.find_target(files, "data", data)) == kind


def test_without_a_kind_it_is_that_of_the_default_model():
    default = project.find_default(FILES, "model")
    kind = project.find_kind(FILES, project.find_target(FILES, "model", default)) if default != "???" else "images"

    assert new.read_words(FILES, ["data=my_set"]) == ("data", "my_set", kind)


def without_models(files):
    train = files["configs/train.yaml"].replace(f"- model: {project.find_default(files, 'model')}", "- model: ???")
    left = {path: text for path, text in files.items() if not path.startswith("configs/model/")}
    return {**left, "configs/train.yaml": train}


def test_the_first_model_becomes_the_default():
    written, command = new.plan(without_models(FILES), ["model=my_net", "kind=images"])

    assert project.find_default(written, "model") == "my_net"
    assert command == "make train model=my_net"


def test_data_without_a_model_asks_for_one():
    _, command = new.plan(without_models(FILES), ["data=my_set", "kind=text"])

    assert command == "make new model=my_net kind=text, then make train model=my_net data=my_set"


def test_text_brings_its_packages():
    pyproject = project.set_extra_text(FILES["pyproject.toml"], needed=False)
    written, _ = new.plan({**FILES, "pyproject.toml": pyproject}, ["data=my_set", "kind=text"])
    images, _ = new.plan({**FILES, "pyproject.toml": pyproject}, ["data=my_set", "kind=images"])

    assert '"text"' not in pyproject.partition("\nextras = ")[2].partition("]")[0]
    assert '"text"' in written["pyproject.toml"].partition("\nextras = ")[2].partition("]")[0]
    assert "pyproject.toml" not in images


def test_it_works_without_git(tmp_path):
    sources = project.read_sources(ROOT)
    project.write_files(tmp_path, {}, sources)
    new.new(tmp_path, ["data=my_set", "kind=images"])

    assert (tmp_path / f"src/{PROJECT.name}/data/my_set.py").is_file()
    assert sources.items() <= project.read_sources(tmp_path).items()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Set either model or data, got neither. Use e.g. model=my_net."),
        (["model=a", "data=b"], "Set either model or data, got both."),
        (["modle=a"], "Unknown option 'modle=a'. Did you mean 'model='?"),
        (
            ["model=a", "kind=sound"],
            "Invalid value for kind: expected images or text, got sound. Use",
        ),
        (["model=MyNet"], "'MyNet' is not made of lower-case letters, digits and underscores. Use e.g. model=mynet."),
        (["data=class"], "Invalid value for data: 'class' is a Python keyword. Use e.g. data=my_class."),
        (["data=fake_text"], "configs/data/fake_text.yaml exists. Use another name, e.g. data=my_fake_text."),
    ],
)
def test_what_is_invalid_is_rejected_and_nothing_is_written(copy, words, message):
    before = git(copy, "status", "--porcelain")

    with pytest.raises(ValueError) as error:
        new.new(copy, words)

    assert message in str(error.value)
    assert git(copy, "status", "--porcelain") == before
