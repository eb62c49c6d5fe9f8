"""`make new` creates a source file and a config that work without changes."""

import os
import re
import subprocess
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


OPTIONS = [
    *(("model", kind, modality) for kind in ("classifier", "multilabel", "regressor") for modality in new.MODALITIES),
    ("model", "plain", ""),
    *(("data", kind, kind) for kind in new.MODALITIES),
    ("data", "plain", ""),
]
TASKS = {"images": "classification", "text": "classification", "plain": "", **new.TASKS}


def make_arguments(group, kind, modality):
    """Return the name of an option and the arguments that create it."""
    name = f"my_new_{kind}_{modality}_{group}"
    option = [f"modality={modality}"] if group == "model" and modality else []
    return name, [f"{group}={name}", f"kind={kind}", *option]


@pytest.mark.parametrize(("group", "kind", "modality"), OPTIONS)
def test_source_and_config_are_created(copy, group, kind, modality):
    name, arguments = make_arguments(group, kind, modality)
    output = new.new(copy, arguments)
    paths = [f"src/{PROJECT.name}/{group}/{name}.py", f"configs/{group}/{name}.yaml"]
    source, config = ((copy / path).read_text() for path in paths)
    class_name = "".join(part.title() for part in name.split("_")) + ("DataModule" if group == "data" else "")

    assert f"class {class_name}(" in source
    assert f"_target_: {PROJECT.name}.{group}.{name}.{class_name}" in config
    assert not re.search(r"\{[A-Z_]+\}", source + config)
    assert len(source.splitlines()) < 45
    assert all(f"Created {path}" in output for path in paths)
    assert f"{group}={name}" in output.splitlines()[-1]
    files = project.read_files(copy)
    assert (project.find_modality(files, group, name), project.find_task(files, group, name)) == (modality, TASKS[kind])
    assert ("firstlight" in source) == (kind != "plain")
    if group == "model":
        dataset = project.find_default_dataset(files, name)
        assert project.find_modality(files, "data", dataset) == modality
        assert (dataset == name) == (kind == "plain")


@pytest.mark.parametrize(("group", "kind", "modality"), OPTIONS)
def test_created_files_are_formatted(tmp_path, group, kind, modality):
    written, _ = new.plan_files(FILES, make_arguments(group, kind, modality)[1])
    for path, text in written.items():
        if path.startswith("src/"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
    settings = ["--no-cache", "--config", str(ROOT / "pyproject.toml")]
    for command in (["format", "--check"], ["check", "--ignore=INP"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *settings, str(tmp_path)], capture_output=True, text=True
        )
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("group", "kind", "modality"), OPTIONS)
def test_created_option_trains(copy, tmp_path, group, kind, modality):
    name, arguments = make_arguments(group, kind, modality)
    files = project.read_files(copy)
    if f"configs/{group}/{name}.yaml" not in files:
        new.new(copy, arguments)
    tiny = {"images": "tiny_images", "text": "tiny_text", "": "my_new_plain__model"}[modality]
    model = [f"model={name}"] if group == "model" else [f"model={tiny}", f"data={name}"]
    if (
        group == "data"
        and tiny not in ("tiny_images", "tiny_text")
        and "configs/model/my_new_plain__model.yaml" not in files
    ):
        new.new(copy, make_arguments("model", "plain", "")[1])
    search_path = os.pathsep.join([str(copy / "src"), str(ROOT / "tests" / "firstlight")])
    result = subprocess.run(
        [sys.executable, "-m", "firstlight.train", *model, "trainer=cpu", "trainer.max_epochs=1", "logger=none"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": search_path},
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert result.returncode == 0, result.stdout + result.stderr
    assert "\ntest/" in result.stdout


def test_modality_defaults_to_that_of_default_model():
    default = project.find_default_option(FILES, "model")
    modality = project.find_modality(FILES, "model", default) if default != "???" else "images"

    assert new.parse_args(FILES, ["data=my_set"]) == ("data", "my_set", modality, modality)
    assert new.parse_args(FILES, ["model=my_net"]) == ("model", "my_net", "classifier", modality)


def delete_models(files):
    train = files["configs/train.yaml"].replace(
        f"- model: {project.find_default_option(files, 'model')}", "- model: ???"
    )
    rest = {path: text for path, text in files.items() if not path.startswith("configs/model/")}
    return {**rest, "configs/train.yaml": train}


def test_first_model_becomes_the_default():
    written, command = new.plan_files(delete_models(FILES), ["model=my_net", "modality=images"])

    assert project.find_default_option(written, "model") == "my_net"
    assert command == "make train model=my_net"


def test_dataset_without_model_suggests_new_model():
    _, command = new.plan_files(delete_models(FILES), ["data=my_set", "kind=text"])

    assert command == "make new model=my_net modality=text, then make train model=my_net data=my_set"


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
            "Invalid value for kind: expected classifier, multilabel, regressor or plain, got 'sound'. Use e.g. ",
        ),
        (["data=a", "kind=sound"], "Invalid value for kind: expected images, text or plain, got 'sound'. Use"),
        (["model=a", "modality=sound"], "Invalid value for modality: expected images or text, got 'sound'. Use"),
        (["data=a", "modality=text"], "modality= has no effect for data= with kind="),
        (["model=a", "kind=plain", "modality=text"], "modality= has no effect for model= with kind=plain. Remove it."),
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
