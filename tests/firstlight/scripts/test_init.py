"""`make init`: what it changes, what it leaves alone, and what it rejects. Tests of the template itself."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.checkout import IS_TEMPLATE, PROJECT, ROOT
from support.checkout_copy import commit, copy_checkout, git

sys.path.insert(0, str(ROOT / "scripts"))
import init
import project

pytestmark = pytest.mark.skipif(not IS_TEMPLATE, reason="this checkout is a project")
# keep=, the default model, the dataset of each model that stays, and whether text packages are installed.
CHOICES = {
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
# Compose each root, model and dataset of a checkout, and check it against the sources.
COMPOSE = """
import sys
from firstlight.config import options
from firstlight.config.compose import composed
from firstlight.config.validate import check
models = list(options.option_files("model"))
for root in ("benchmark", "report", "wandb_sync", "wandb_sweep"):
    check(composed(root, []))
for model in models:
    for root in ("train", "preflight"):
        check(composed(root, [f"model={model}", "output_dir=x"]))
for name in options.option_files("experiment"):
    models and check(composed("train", [f"experiment={name}", "output_dir=x"]))
models and check(composed("train", ["output_dir=x"]))
print(*models)
assert "torch" not in sys.modules
"""


@pytest.fixture(scope="module")
def plans():
    """Return a function that plans with the files of this checkout."""
    return lambda *words: init.plan(ROOT, [*words, "force=true", "holder=Ada Lovelace"])


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    return copy_checkout(tmp_path_factory.mktemp("untouched"))


@pytest.fixture
def copy(tmp_path):
    return copy_checkout(tmp_path)


def extras(files):
    return tomllib.loads(files["pyproject.toml"])["tool"]["firstlight"]["extras"]


@pytest.mark.parametrize("keep", CHOICES)
def test_a_kept_model_is_the_default_and_every_model_has_a_dataset(plans, keep):
    _, after, _ = plans("name=zephyr", f"keep={keep}")
    default, datasets, needs_text = CHOICES[keep]

    assert project.find_default(after, "model") == default
    assert {name: project.find_data(after, name) for name in project.list_options(after, "model")} == datasets
    assert ("text" in extras(after)) == needs_text
    assert "hub" in extras(after)


@pytest.mark.parametrize("keep", CHOICES)
def test_an_example_is_three_files(plans, keep):
    before, after, _ = plans("name=zephyr", f"keep={keep}")
    for group, name in project.list_all(before):
        paths = init.three_files(PROJECT.name, group, name)
        stays = name in keep.split(",")
        if set(paths) <= set(before):
            assert [path.replace(PROJECT.name, "zephyr") in after for path in paths] == [stays] * 3
        else:
            # The option is the engine's.
            assert paths[1] in after


@pytest.mark.parametrize("keep", CHOICES)
def test_no_file_of_the_engine_changes(plans, keep):
    before, after, _ = plans("name=zephyr", f"keep={keep}")

    assert all(after[path] == text for path, text in before.items() if path.startswith(project.ENGINE_DIRS))
    assert {path for path in after if path.startswith(project.ENGINE_DIRS)} <= set(before)


@pytest.mark.parametrize("keep", CHOICES)
def test_the_old_name_is_gone(plans, keep):
    _, after, _ = plans("name=zephyr", f"keep={keep}")
    yours = {path: text for path, text in after.items() if not path.startswith(project.ENGINE_DIRS)}

    assert [path for path, text in yours.items() if PROJECT.name in path + text] == []


def test_nothing_is_deleted_without_keep(plans):
    before, after, _ = plans("name=zephyr")

    assert {path.replace(f"/{PROJECT.name}/", "/zephyr/") for path in before} == set(after)


def test_the_project_gets_its_names(plans):
    _, after, _ = plans("name=zephyr", "keep=none")
    pyproject = tomllib.loads(after["pyproject.toml"])

    assert (pyproject["project"]["name"], pyproject["project"]["version"]) == ("zephyr", "0.1.0")
    assert pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["src/firstlight", "src/zephyr"]
    assert re.search("^name: zephyr$", after["environment.yml"], re.MULTILINE)
    assert "  project: zephyr\n" in after["configs/logger/wandb.yaml"]
    assert "\nproject: zephyr\n" in after["sweeps/optimizer.yaml"]
    assert "- firstlight\n" in after["configs/trusted.yaml"]
    assert re.search("^- zephyr\\b", after["configs/trusted.yaml"], re.MULTILINE)
    assert after["README.md"].startswith("# zephyr\n")
    holders = re.findall("^Copyright .*", after["LICENSE"], re.MULTILINE)
    assert [holder.rpartition("20")[2][3:] for holder in holders] == ["firstlight authors", "Ada Lovelace"]


def test_an_experiment_that_names_a_deleted_example_is_deleted(copy):
    experiment = copy / "configs" / "experiment"
    (experiment / "long.yaml").write_text("# @package _global_\ndefaults:\n  - override /model: vgg16\n")
    (experiment / "wide.yaml").write_text(
        "# @package _global_\n# as model=vgg16\ndefaults:\n  - override /data: digits\n"
    )
    _, after, _ = init.plan(copy, ["name=zephyr", "keep=resnet50,digits", "force=true"])

    assert {f"configs/experiment/{path.name}" for path in experiment.iterdir()} - set(after) == {
        "configs/experiment/long.yaml"
    }


def test_the_template_is_recorded_without_a_password(copy):
    init.init(copy, ["name=zephyr", "keep=none"])
    table = tomllib.loads((copy / "pyproject.toml").read_text())["tool"]["firstlight"]["template"]

    assert table["url"] == "https://example.org/template.git"
    assert table["commit"] == git(copy, "rev-parse", "HEAD").strip()
    assert table["removed"] == []
    assert "Ada Lovelace" in (copy / "LICENSE").read_text()


@pytest.mark.parametrize("keep", [keep for keep in CHOICES if "," in keep or keep == "none"])
def test_what_stays_composes(copy, keep):
    init.init(copy, ["name=zephyr", f"keep={keep}"])
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "FIRSTLIGHT_CONFIG_PATH": ""}
    done = subprocess.run([sys.executable, "-c", COMPOSE], cwd=copy, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == sorted(CHOICES[keep][1])


@pytest.mark.parametrize("name", ["a", "zephyr", "a_rather_long_name_for_a_small_project"])
def test_style_holds_under_any_name(copy, name):
    init.init(copy, [f"name={name}", "keep=bert,bbc_news,digits"])
    for words in (["check", "--quiet"], ["format", "--check", "--quiet"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, f"src/{name}", f"tests/{name}"], cwd=copy, capture_output=True
        )
        assert done.returncode == 0, done.stdout.decode()


def test_it_runs_again_with_another_name_and_fewer_examples(copy):
    init.init(copy, ["name=news", "keep=bert,resnet50,bbc_news"])
    (copy / "README.md").write_text("# news\n\nIt reads news.\n")
    commit(copy)
    recorded = (copy / "pyproject.toml").read_text().partition("[tool.firstlight.template]")[2]
    init.init(copy, ["name=zephyr", "keep=resnet50"])
    git(copy, "add", "-A")

    assert (copy / "README.md").read_text() == "# zephyr\n\nIt reads news.\n"
    assert not (copy / "src" / "news").exists()
    assert recorded == (copy / "pyproject.toml").read_text().partition("[tool.firstlight.template]")[2]
    assert "- override /data: image_folder" in (copy / "configs/model/resnet50.yaml").read_text()
    assert not (copy / "configs/model/bert.yaml").exists()
    engine = [folder.rstrip("/") for folder in project.ENGINE_DIRS]
    assert git(copy, "grep", "-n", r"\bnews\b", "--", ".", *(f":!{folder}" for folder in engine)) == (
        f"README.md:3:It reads news.\nconfigs/data/ag_news.yaml:1:{AG_NEWS}\n"
    )
    assert git(copy, "diff", "--cached", "--stat", "--", *engine) == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Option 'name' is missing. Use e.g. make init name=zephyr keep=none."),
        (["keep=bert"], "Option 'name' is missing."),
        (["nmae=x"], "Unknown option 'nmae=x'. Did you mean 'name='?"),
        (["name="], "Option 'name' has no value. Use name=<value>."),
        (["name=zephyr", "keep=brt"], "Unknown model or dataset 'brt' in keep=. Did you mean 'bert'?"),
        (["name=zephyr", "keep=foo"], "Unknown model or dataset 'foo' in keep=. Use one of: bert, "),
        (["name=zephyr", "keep=none,bert"], "keep=none deletes all examples, got keep=none,bert."),
        (["name=zephyr", "force=yes"], "Invalid value for force: expected true or false, got yes."),
        (["name=My-Net"], "'My-Net' is not made of lower-case letters, digits and underscores. Use e.g. name=my_net."),
        (["name=3d"], "Use e.g. name=my_3d."),
        (["name=net_"], "Use e.g. name=net."),
        (["name=class"], "Invalid value for name: 'class' is a Python keyword. Use e.g. name=my_class."),
        (["name=json"], "Invalid value for name: 'json' is a module of the standard library."),
        (["name=torch"], "Invalid value for name: 'torch' is a dependency."),
        (["name=hydra"], "Invalid value for name: 'hydra' is a dependency."),
        (["name=firstlight"], "Invalid value for name: 'firstlight' is "),
        (["name=configs"], "Invalid value for name: 'configs' is the name of a directory, a config group or an option"),
        (["name=bert"], "Invalid value for name: 'bert' is the name of a directory, a config group or an option"),
    ],
)
def test_what_is_invalid_is_one_line_and_changes_nothing(untouched, words, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        init.init(untouched, words)

    assert "\n" not in str(error.value)
    assert git(untouched, "status", "--porcelain") == ""


def test_uncommitted_changes_are_rejected_without_force(copy):
    (copy / "notes.txt").write_text("a thought")

    with pytest.raises(ValueError, match="notes.txt has uncommitted changes, which could get lost. Commit them, or"):
        init.init(copy, ["name=zephyr", "keep=none"])
    assert (copy / "src" / PROJECT.name).is_dir()
    init.init(copy, ["name=zephyr", "keep=none", "force=true"])
    assert (copy / "src" / "zephyr").is_dir()
    assert (copy / "notes.txt").is_file()


def test_a_directory_without_git_is_rejected(tmp_path):
    with pytest.raises(ValueError, match="is not under git, so nothing could be undone. Run: git init"):
        init.init(tmp_path, ["name=zephyr"])


@pytest.mark.parametrize("script", ["init", "new", "project"])
def test_the_python_of_macos_reads_the_scripts(script):
    source = Path(ROOT / "scripts" / f"{script}.py").read_text()

    ast.parse(source, feature_version=(3, 9))
    assert "from __future__ import annotations" in source
