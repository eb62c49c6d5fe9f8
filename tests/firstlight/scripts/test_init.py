"""`make init` edits the files of the project, does not change the engine, and rejects invalid arguments."""

import ast
import os
import re
import subprocess
import sys
import tomllib

import pytest

from support.checkout import IS_TEMPLATE, PROJECT, ROOT
from support.checkout_copy import COMPOSE, commit, copy_checkout, git

sys.path.insert(0, str(ROOT / "scripts"))
import init
import project

pytestmark = pytest.mark.skipif(not IS_TEMPLATE, reason="this checkout is a project")
# Value of keep= -> default model, dataset of each kept model, and whether text packages are installed.
KEEP_CASES = {
    "bert,bbc_news": ("bert", {"bert": "bbc_news"}, True),
    "resnet50,digits": ("resnet50", {"resnet50": "digits"}, False),
    "vgg16,bert,cifar10,text_file": ("vgg16", {"vgg16": "cifar10", "bert": "text_file"}, True),
    "none": ("???", {}, False),
    "vgg16": ("vgg16", {"vgg16": "image_folder"}, False),
    "bert": ("bert", {"bert": "text_file"}, True),
    "cifar10,resnet50": ("resnet50", {"resnet50": "cifar10"}, False),
    "resnet50,fake_text": ("resnet50", {"resnet50": "image_folder"}, True),
}
AG_NEWS = (ROOT / "configs/data/ag_news.yaml").read_text().partition("\n")[0]


@pytest.fixture(scope="module")
def plan_edits():
    """Return a function that plans the edits of this checkout."""
    return lambda *arguments: init.plan_edits(ROOT, [*arguments, "force=true", "holder=Ada Lovelace"])


@pytest.fixture(scope="module")
def shared_copy(tmp_path_factory):
    return copy_checkout(tmp_path_factory.mktemp("copy"))


# Options of the engine, which stay.
ENGINE_MODELS = {"text_classifier", "timm", "torchvision"}


@pytest.fixture
def copy(tmp_path):
    return copy_checkout(tmp_path)


def read_extras(files):
    return tomllib.loads(files["pyproject.toml"])["tool"]["firstlight"]["extras"]


@pytest.mark.parametrize("keep", KEEP_CASES)
def test_default_model_and_datasets(plan_edits, keep):
    _, after, _ = plan_edits("name=zephyr", f"keep={keep}")
    default, datasets, needs_text = KEEP_CASES[keep]

    assert project.find_default_option(after, "model") == default
    models = [name for name in project.list_options(after, "model") if name not in ENGINE_MODELS]
    assert {name: project.find_default_dataset(after, name) for name in models} == datasets
    assert ("text" in read_extras(after)) == needs_text
    assert "hub" in read_extras(after)


@pytest.mark.parametrize("keep", KEEP_CASES)
def test_example_files_are_kept_or_deleted_together(plan_edits, keep):
    before, after, _ = plan_edits("name=zephyr", f"keep={keep}")
    for group, name in project.list_models_and_datasets(before):
        paths = init.list_example_files(PROJECT.name, group, name)
        is_kept = name in keep.split(",")
        if set(paths) <= set(before):
            assert [path.replace(PROJECT.name, "zephyr") in after for path in paths] == [is_kept] * 3
        else:
            # The option belongs to the engine.
            assert paths[1] in after


@pytest.mark.parametrize("keep", KEEP_CASES)
def test_engine_files_do_not_change(plan_edits, keep):
    before, after, _ = plan_edits("name=zephyr", f"keep={keep}")

    assert all(after[path] == text for path, text in before.items() if path.startswith(project.ENGINE_DIRS))
    assert {path for path in after if path.startswith(project.ENGINE_DIRS)} <= set(before)


@pytest.mark.parametrize("keep", KEEP_CASES)
def test_old_name_is_replaced_everywhere(plan_edits, keep):
    _, after, _ = plan_edits("name=zephyr", f"keep={keep}")
    yours = {path: text for path, text in after.items() if not path.startswith(project.ENGINE_DIRS)}

    assert [path for path, text in yours.items() if PROJECT.name in path + text] == []


def test_without_keep_no_file_is_deleted(plan_edits):
    before, after, _ = plan_edits("name=zephyr")

    assert {path.replace(f"/{PROJECT.name}/", "/zephyr/") for path in before} == set(after)


def test_names_and_license_holder(plan_edits):
    _, after, _ = plan_edits("name=zephyr", "keep=none")
    pyproject = tomllib.loads(after["pyproject.toml"])

    assert (pyproject["project"]["name"], pyproject["project"]["version"]) == ("zephyr", "0.1.0")
    assert pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["src/firstlight", "src/zephyr"]
    assert re.search("^name: zephyr$", after["environment.yml"], re.MULTILINE)
    assert "  project: ${oc.env:WANDB_PROJECT,zephyr}\n" in after["configs/logger/wandb.yaml"]
    assert "\nproject: zephyr\n" in after["sweeps/optimizer.yaml"]
    assert "- firstlight\n" in after["configs/trusted.yaml"]
    assert re.search("^- zephyr\\b", after["configs/trusted.yaml"], re.MULTILINE)
    assert after["README.md"].startswith("# zephyr\n")
    holders = re.findall("^Copyright .*", after["LICENSE"], re.MULTILINE)
    assert [holder.rpartition("20")[2][3:] for holder in holders] == ["firstlight authors", "Ada Lovelace"]


def test_experiments_with_deleted_examples_are_deleted(copy):
    experiment = copy / "configs" / "experiment"
    (experiment / "long.yaml").write_text("# @package _global_\ndefaults:\n  - override /model: vgg16\n")
    (experiment / "wide.yaml").write_text(
        "# @package _global_\n# as model=vgg16\ndefaults:\n  - override /data: digits\n"
    )
    _, after, _ = init.plan_edits(copy, ["name=zephyr", "keep=resnet50,digits", "force=true"])

    assert "configs/experiment/long.yaml" not in after
    assert "configs/experiment/wide.yaml" in after


def test_template_is_recorded_without_password(copy):
    init.init(copy, ["name=zephyr", "keep=none"])
    table = tomllib.loads((copy / "pyproject.toml").read_text())["tool"]["firstlight"]["template"]

    assert table["url"] == "https://example.org/template.git"
    assert table["commit"] == git(copy, "rev-parse", "HEAD").strip()
    assert table["removed"] == []
    assert "Ada Lovelace" in (copy / "LICENSE").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("keep", [keep for keep in KEEP_CASES if "," in keep or keep == "none"])
def test_remaining_configs_compose(copy, keep):
    init.init(copy, ["name=zephyr", f"keep={keep}"])
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "FIRSTLIGHT_CONFIG_PATH": ""}
    done = subprocess.run([sys.executable, "-c", COMPOSE], cwd=copy, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert sorted({*done.stdout.split()} - ENGINE_MODELS) == sorted(KEEP_CASES[keep][1])


@pytest.mark.parametrize("name", ["a", "zephyr", "a_rather_long_name_for_a_small_project"])
@pytest.mark.slow
def test_code_style_with_any_name(copy, name):
    init.init(copy, [f"name={name}", "keep=bert,bbc_news,digits"])
    for arguments in (["check", "--quiet"], ["format", "--check", "--quiet"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, f"src/{name}", f"tests/{name}"], cwd=copy, capture_output=True
        )
        assert done.returncode == 0, done.stdout.decode()


@pytest.mark.slow
def test_init_runs_again_with_another_name_and_fewer_examples(copy):
    init.init(copy, ["name=news", "keep=bert,resnet50,bbc_news"])
    (copy / "README.md").write_text("# news\n\nIt reads news.\n")
    commit(copy)
    table = (copy / "pyproject.toml").read_text().partition("[tool.firstlight.template]")[2]
    init.init(copy, ["name=zephyr", "keep=resnet50"])
    git(copy, "add", "-A")

    assert (copy / "README.md").read_text() == "# zephyr\n\nIt reads news.\n"
    assert not (copy / "src" / "news").exists()
    assert table == (copy / "pyproject.toml").read_text().partition("[tool.firstlight.template]")[2]
    assert "- override /data: image_folder" in (copy / "configs/model/resnet50.yaml").read_text()
    assert not (copy / "configs/model/bert.yaml").exists()
    engine = [directory.rstrip("/") for directory in project.ENGINE_DIRS]
    assert git(copy, "grep", "-n", r"\bnews\b", "--", ".", *(f":!{directory}" for directory in engine)) == (
        f"README.md:3:It reads news.\nconfigs/data/ag_news.yaml:1:{AG_NEWS}\n"
    )
    assert git(copy, "diff", "--cached", "--stat", "--", *engine) == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Option 'name' is missing. Run e.g. `make init name=zephyr keep=none`."),
        (["keep=bert"], "Option 'name' is missing."),
        (["nmae=x"], "Unknown option 'nmae=x'. Did you mean 'name='?"),
        (["name="], "Option 'name' has no value. Pass name=<value>."),
        (["name=zephyr", "keep=brt"], "Unknown model or dataset 'brt' in keep=. Did you mean 'bert'?"),
        (["name=zephyr", "keep=foo"], "Unknown model or dataset 'foo' in keep=. Available: bert, "),
        (["name=zephyr", "keep=none,bert"], "keep=none cannot be combined with names, got keep=none,bert."),
        (["name=zephyr", "force=yes"], "Invalid value for force: expected true or false, got 'yes'."),
        (["name=My-Net"], "starting with a letter, got 'My-Net'. Use e.g. name=my_net."),
        (["name=3d"], "Use e.g. name=my_3d."),
        (["name=net_"], "Use e.g. name=net."),
        (["name=class"], "Invalid value for name: 'class' is a Python keyword. Use e.g. name=my_class."),
        (["name=json"], "Invalid value for name: 'json' is a module of the Python standard library."),
        (["name=torch"], "Invalid value for name: 'torch' is a dependency."),
        (["name=hydra"], "Invalid value for name: 'hydra' is a dependency."),
        (["name=firstlight"], "Invalid value for name: 'firstlight' is "),
        (["name=configs"], "Invalid value for name: 'configs' is the name of a directory, a config group or an option"),
        (["name=bert"], "Invalid value for name: 'bert' is the name of a directory, a config group or an option"),
    ],
)
def test_invalid_arguments_are_rejected_in_one_line(shared_copy, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        init.init(shared_copy, arguments)

    assert "\n" not in str(error.value)
    assert git(shared_copy, "status", "--porcelain") == ""


def test_uncommitted_changes_are_rejected_without_force(copy):
    (copy / "notes.txt").write_text("a thought")

    with pytest.raises(ValueError, match="notes.txt has uncommitted changes, which could be lost. Commit them, or "):
        init.init(copy, ["name=zephyr", "keep=none"])
    assert (copy / "src" / PROJECT.name).is_dir()
    init.init(copy, ["name=zephyr", "keep=none", "force=true"])
    assert (copy / "src" / "zephyr").is_dir()
    assert (copy / "notes.txt").is_file()


def test_a_directory_without_git_is_rejected(tmp_path):
    with pytest.raises(ValueError, match="is not a git repository, so changes could not be undone. Run `git init"):
        init.init(tmp_path, ["name=zephyr"])


@pytest.mark.parametrize("script", ["init", "new", "project"])
def test_scripts_are_valid_python_3_9(script):
    source = (ROOT / "scripts" / f"{script}.py").read_text()

    ast.parse(source, feature_version=(3, 9))
    assert "from __future__ import annotations" in source
