"""`make new` creates a source file and a config that work without changes."""

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
    """Return a copy of this checkout."""
    return copy_checkout(tmp_path_factory.mktemp("copy"))


@pytest.mark.parametrize("group", project.GROUPS)
@pytest.mark.parametrize("kind", new.KINDS)
def test_source_and_config_are_created(copy, group, kind):
    name = f"my_new_{kind}_{group}"
    output = new.new(copy, [f"{group}={name}", f"kind={kind}"])
    paths = [f"src/{PROJECT.name}/{group}/{name}.py", f"configs/{group}/{name}.yaml"]
    source, config = ((copy / path).read_text() for path in paths)
    class_name = f"MyNew{kind.title()}{group.title()}" + ("DataModule" if group == "data" else "")

    assert f"class {class_name}(" in source
    assert f"_target_: {PROJECT.name}.{group}.{name}.{class_name}" in config
    assert not any(placeholder in source + config for placeholder in ("PACKAGE", "MyOption", "my_option", "DATA"))
    assert all(f"Created {path}" in output for path in paths)
    assert f"{group}={name}" in output.splitlines()[-1]
    files = project.read_files(copy)
    assert project.find_modality(files, group, name) == kind
    if group == "model":
        assert project.find_modality(files, "data", project.find_default_dataset(files, name)) == kind


def test_kind_defaults_to_kind_of_default_model():
    default = project.find_default_option(FILES, "model")
    kind = project.find_modality(FILES, "model", default) if default != "???" else "images"

    assert new.parse_args(FILES, ["data=my_set"]) == ("data", "my_set", kind)


def delete_models(files):
    train = files["configs/train.yaml"].replace(
        f"- model: {project.find_default_option(files, 'model')}", "- model: ???"
    )
    rest = {path: text for path, text in files.items() if not path.startswith("configs/model/")}
    return {**rest, "configs/train.yaml": train}


def test_first_model_becomes_the_default():
    written, command = new.plan_files(delete_models(FILES), ["model=my_net", "kind=images"])

    assert project.find_default_option(written, "model") == "my_net"
    assert command == "make train model=my_net"


def test_dataset_without_model_suggests_new_model():
    _, command = new.plan_files(delete_models(FILES), ["data=my_set", "kind=text"])

    assert command == "make new model=my_net kind=text, then make train model=my_net data=my_set"


def test_text_option_adds_text_extra():
    pyproject = project.set_text_extra(FILES["pyproject.toml"], is_needed=False)
    written, _ = new.plan_files({**FILES, "pyproject.toml": pyproject}, ["data=my_set", "kind=text"])
    images, _ = new.plan_files({**FILES, "pyproject.toml": pyproject}, ["data=my_set", "kind=images"])

    assert '"text"' not in pyproject.partition("\nextras = ")[2].partition("]")[0]
    assert '"text"' in written["pyproject.toml"].partition("\nextras = ")[2].partition("]")[0]
    assert "pyproject.toml" not in images


def test_new_works_without_git(tmp_path):
    sources = project.read_sources(ROOT)
    project.write_files(tmp_path, {}, sources)
    new.new(tmp_path, ["data=my_set", "kind=images"])

    assert (tmp_path / f"src/{PROJECT.name}/data/my_set.py").is_file()
    assert sources.items() <= project.read_sources(tmp_path).items()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Expected model= or data=, got neither. Pass e.g. model=my_net."),
        (["model=a", "data=b"], "Expected model= or data=, got both."),
        (["modle=a"], "Unknown option 'modle=a'. Did you mean 'model='?"),
        (
            ["model=a", "kind=sound"],
            "Invalid value for kind: expected images or text, got 'sound'. Use",
        ),
        (["model=MyNet"], "starting with a letter, got 'MyNet'. Use e.g. model=mynet."),
        (["data=class"], "Invalid value for data: 'class' is a Python keyword. Use e.g. data=my_class."),
        (
            ["data=fake_text"],
            "configs/data/fake_text.yaml already exists. Choose another name, e.g. data=my_fake_text.",
        ),
    ],
)
def test_invalid_arguments_write_no_file(copy, arguments, message):
    before = git(copy, "status", "--porcelain")

    with pytest.raises(ValueError) as error:
        new.new(copy, arguments)

    assert message in str(error.value)
    assert git(copy, "status", "--porcelain") == before
