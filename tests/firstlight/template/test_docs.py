"""What README and the pages of docs/ say is true: their commands, examples, links, settings and files."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator

import pytest
import yaml
from omegaconf import OmegaConf

from firstlight.config import options, schema
from firstlight.config.compose import composed
from firstlight.config.options import CONFIGS, choices, read
from firstlight.run.files import with_checksum
from support.checkout import PROJECT
from support.typed import FENCE, PAGES, ROOT, as_on_a_cluster, blocks, commands, hold, make, words_of

HELP = re.findall(r"^make .*?(?=\s{2,}|;|$)", (ROOT / "scripts/help.txt").read_text(), re.MULTILINE)
PROSE = {page: FENCE.sub("", page.read_text()) for page in PAGES}
CODE = sorted({(page, code) for page, text in PROSE.items() for code in re.findall(r"`([^`\n]+)`", text)})
# Files that the examples make.
EXAMPLES = {
    found.group(1): block
    for kind in ("python", "yaml")
    for block in (each.replace("<your package>", PROJECT.name) for each in blocks(kind))
    if (found := re.search(r"^# ((?:src|configs)/\S+)$", block, re.MULTILINE))
}


def name(page):
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def config():
    """Return the configuration of a training as its folder keeps it."""
    return with_checksum(OmegaConf.to_yaml(composed("train", ["output_dir=logs/train/one"])))


@pytest.fixture
def run_folder(tmp_path, config):
    """Return a folder that looks like an interrupted run."""
    (tmp_path / "config.yaml").write_text(config)
    (tmp_path / "run.json").write_text(json.dumps({"loggers": {}, "status": "interrupted"}))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    return tmp_path


@pytest.mark.parametrize("line", [*commands(), *HELP])
def test_a_command_is_taken(line, run_folder, monkeypatch):
    as_on_a_cluster(monkeypatch)
    program, *words = words_of(line)
    words = [re.sub("logs/(train/<run>|sweep/<folder>)", str(run_folder), word) for word in words]
    words = [f"resume={run_folder}" if word == "resume=last" else word for word in words]
    if program == "make":
        goals = [word for word in words if "=" not in word]
        assert goals
        assert set(goals) <= set(make.COMMANDS)
        settings = [word for word in words if "=" in word and not word.startswith("ARGS=")]
        for goal in goals:
            hold(goal.replace("-", "_"), settings)
    elif "-m" in words:
        module = words.index("-m") + 1
        hold(words[module].removeprefix("firstlight."), words[module + 1 :])
    else:
        assert program == "wandb" or (ROOT / words[0]).is_file()


def test_commands_are_typed_alike_in_every_shell():
    bare = [re.sub(r"'[^']*'|\"[^\"]*\"", "", line) for line in [*commands(), *HELP]]

    # zsh, the Mac's, looks for files where it reads a bracket, and takes a remark for words.
    assert [line for line in bare if re.search(r"[\[\]()*?;#]", line)] == []


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.splitlines()[0])
def test_python_compiles(block):
    compile(block, "page", "exec")


@pytest.mark.parametrize("block", [each for each in blocks("python") if each.startswith("# complete")])
def test_a_complete_example_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    exec(compile(block, "page", "exec"), {})


@pytest.mark.parametrize("block", blocks("yaml"))
def test_yaml_holds_settings(block):
    assert isinstance(yaml.safe_load(block), dict)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", PROSE[page]):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if ":" not in path:
            assert file.exists(), target
            assert not anchor or anchor in anchors(file.read_text()), target


@pytest.mark.parametrize(("page", "code"), CODE, ids=lambda each: each if isinstance(each, str) else name(each))
def test_a_file_that_is_named_exists(page, code):
    for word in code.split():
        if re.fullmatch(r"[\w./]+\.(py|sh|md|lock|toml|yml)|(configs|src|scripts|tests|docs|sweeps)/[\w./]*", word):
            word = word.replace("<your package>", PROJECT.name)
            places = (ROOT, page.parent, ROOT / "src/firstlight", ROOT / "src/firstlight/data", ROOT / "src", PROJECT)
            assert word in EXAMPLES or any((place / word).exists() for place in places), word


def settings(prefix: str, node: object) -> Iterator[str]:
    """Yield the paths of all settings below a node of configs/, those that a class would take included."""
    if isinstance(node, dict):
        known = list(schema.read(node["_target_"]).parameters) if "_target_" in node else []
        for key in {*node, *known}:
            yield f"{prefix}{key}"
            yield from settings(f"{prefix}{key}.", node.get(key))


def known_settings() -> set[str]:
    found = {"force", "keep"}  # of `make sweep` and `make init`
    for file in options.root_files():
        found |= set(settings("", read(file)))
    for group in options.groups():
        found.add(group)
        for _, node in choices(group):
            found |= set(settings("" if group in ("model", "experiment") else f"{group}.", node))
    return found


def test_settings_that_are_named_exist():
    known = known_settings()
    groups = set(options.groups())
    own = {tuple(path.removesuffix(".yaml").split("/")[1:]) for path in EXAMPLES if path.startswith("configs/")}
    stale = []
    for page, code in CODE:
        for word in code.replace("'", "").split() if not code.startswith("make new ") else ():
            found = re.fullmatch(r"[+~]?([a-z_]\w*(?:\.[a-z_]\w*)*)=(.*)", word)
            if found and found.group(2) in ("True", "False"):  # of Python
                continue
            path = found.group(1) if found else word
            is_file = word.endswith((".py", ".yaml", ".fit", ".safetensors", ".mlpackage", ".onnx", ".pt2", ".json"))
            is_path = found or (re.fullmatch(rf"({'|'.join(groups)})\.[\w.]+", word) and not is_file)
            if is_path and path not in known | {"name", "key", "group"}:
                stale.append((name(page), word))
            if found and path in groups:
                chosen = [each for each in found.group(2).split(",") if re.fullmatch(r"\w+", each)]
                there = {file.stem for file in (CONFIGS / path).glob("*.yaml")}
                stale += [(name(page), word) for each in chosen if each not in there and (path, each) not in own]

    assert stale == []


def test_what_is_to_be_read_before_a_change_is_as_little_as_it_says():
    rows = re.findall(r"^\| (the .+?) \| (.+?) \| (\d+) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)

    assert {"optimizer", "augmentation", "loss", "metric"} <= {re.findall(r"\w+", row[0])[1] for row in rows}
    for change, names, stated in rows:
        files = re.findall(r"`(.+?)`", names)
        lines = sum(len((ROOT / file).read_text().splitlines()) for file in files)
        assert 1 <= len(files) <= 2, change
        assert 0.75 * int(stated) <= lines <= int(stated), change


def test_an_extra_that_is_to_be_installed_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    assert {each for _, code in CODE for each in re.findall(r"'\.\[(\w+)\]'", code)} <= set(extras)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_needs_no_network(tmp_path):
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    command = ["-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-d", str(tmp_path / "kept")]
    done = subprocess.run(
        [sys.executable, *command, str(ROOT / "docs"), str(tmp_path / "site")], capture_output=True, text=True
    )
    pages = [file.read_text() for file in (tmp_path / "site").rglob("*.html")]

    assert done.returncode == 0, done.stderr
    assert len(pages) > 12
    assert not [each for page in pages for each in re.findall(r"<(?:script|link|img)[^>]+\"https?:[^>]+>", page)]


@pytest.mark.slow
def test_the_examples_train_and_the_model_is_tested_like_all(tmp_path):
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    for path, text in EXAMPLES.items():
        (tmp_path / path).write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}

    def python(*words: str) -> str:
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    told = python("firstlight.train", "model=linear", "logger=none")
    assert float(re.search(r"test/accuracy +([\d.]+)", told).group(1)) > 0.8

    told = python("firstlight.train", "model=linear", "data=stripes", "logger=none")
    assert float(re.search(r"test/accuracy +([\d.]+)", told).group(1)) > 0.8

    assert "max_epochs: 30" in python("firstlight.train", "experiment=mine", "--cfg", "job")

    tested = python(
        "pytest",
        "tests/my_project/test_every_model.py",
        "tests/firstlight/test_walk.py",
        "tests/my_project/test_every_option.py",
        "-k",
        "linear",
        "-p",
        "no:cacheprovider",
    )
    assert int(re.search(r"(\d+) passed", tested).group(1)) >= 10
