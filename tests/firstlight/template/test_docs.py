"""What README and the pages of docs/ say is true: their commands, examples, links, settings and files."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator

import pytest
import yaml
from omegaconf import OmegaConf

from firstlight.config import options, schema
from firstlight.config.compose import compose_config
from firstlight.config.options import CONFIG_DIR, iter_options, load_yaml
from firstlight.run.files import append_checksum
from support.checkout import IS_TEMPLATE, PROJECT, ROOT
from support.doc_commands import (
    CLONE,
    COMMANDS,
    EXAMPLES,
    FENCE,
    HELP,
    PAGES,
    WORDS,
    iter_blocks,
    iter_commands,
    parse_command,
    pretend_cluster,
    skip_if_deleted,
    template_only,
    validate_command,
)

LISTED = re.findall(r"^make .*?(?=\s{2,}|;|$)", HELP, re.MULTILINE)
PROSE = {page: FENCE.sub("", page.read_text()) for page in PAGES}
CODE = sorted({(page, code) for page, text in PROSE.items() for code in re.findall(r"`([^`\n]+)`", text)})


def name(page):
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def config():
    """Return the configuration of a training as its folder keeps it."""
    return append_checksum(OmegaConf.to_yaml(compose_config("train", ["output_dir=logs/train/one"])))


@pytest.fixture
def run_folder(tmp_path, config):
    """Return a folder that looks like an interrupted run."""
    (tmp_path / "config.yaml").write_text(config)
    (tmp_path / "run.json").write_text(json.dumps({"loggers": {}, "status": "interrupted"}))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    return tmp_path


@pytest.mark.parametrize("line", [*iter_commands(), *LISTED])
def test_a_command_is_taken(line, run_folder, monkeypatch):
    if line in CLONE:
        return
    pretend_cluster(monkeypatch)
    program, *words = parse_command(line)
    skip_if_deleted(words)
    words = [re.sub(r"logs/(train|sweep)/<\w+>", str(run_folder), word) for word in words]
    words = [f"resume={run_folder}" if word == "resume=last" else word for word in words]
    if program == "make":
        goals = [word for word in words if "=" not in word]
        assert goals
        assert set(goals) <= COMMANDS
        settings = [word for word in words if "=" in word and not word.startswith("ARGS=")]
        for goal in goals:
            validate_command(goal.replace("-", "_"), settings)
    elif words[:2] == ["-m", "pytest"]:
        assert all((ROOT / word).exists() for word in words if "/" in word)
    elif "-m" in words:
        module = words.index("-m") + 1
        validate_command(words[module].removeprefix("firstlight."), words[module + 1 :])
    else:
        assert program == "wandb" or program.startswith(".venv/bin/") or (ROOT / words[0]).is_file()


def test_commands_are_typed_alike_in_every_shell():
    bare = [re.sub(r"'[^']*'|\"[^\"]*\"", "", line) for line in [*iter_commands(), *LISTED]]

    # zsh, the Mac's, looks for files where it reads a bracket, and takes a remark for words.
    assert [line for line in bare if re.search(r"[\[\]()*?;#]", line)] == []


@pytest.mark.parametrize("block", iter_blocks("python"), ids=lambda block: block.splitlines()[0])
def test_python_compiles(block):
    compile(block, "page", "exec")


@template_only
@pytest.mark.parametrize("block", [each for each in iter_blocks("python") if each.startswith("# complete")])
def test_a_complete_example_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    exec(compile(block, "page", "exec"), {})


@pytest.mark.parametrize("block", iter_blocks("yaml"))
def test_yaml_holds_settings(block):
    assert isinstance(yaml.safe_load(block), dict)


@template_only
def test_a_config_of_the_project_is_shown_as_it_is():
    shown = {path: text for path, text in EXAMPLES.items() if path.endswith(".yaml") and (ROOT / path).is_file()}

    assert shown
    for path, text in shown.items():
        assert yaml.safe_load(text) == yaml.safe_load((ROOT / path).read_text()), path


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)\s]+)\)|\b(?:href|src|srcset)=\"([^\"]+)\"", PROSE[page])
    for target in map("".join, targets):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if ":" not in path:
            # A project may have deleted the page of a command.
            assert file.exists() or not IS_TEMPLATE, target
            assert not anchor or anchor in anchors(file.read_text()), target


@template_only
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
        known = list(schema.read_signature(node["_target_"]).parameters) if "_target_" in node else []
        for key in {*node, *known}:
            yield f"{prefix}{key}"
            yield from settings(f"{prefix}{key}.", node.get(key))


def known_settings() -> set[str]:
    found = {"force"}.union(*WORDS.values())  # of `make sweep`, `make init` and the like
    for file in options.list_root_configs():
        found |= set(settings("", load_yaml(file)))
    for group in options.list_groups():
        found.add(group)
        for _, node in iter_options(group):
            found |= set(settings("" if group in ("model", "experiment") else f"{group}.", node))
    return found


@template_only
def test_settings_that_are_named_exist():
    known = known_settings()
    groups = set(options.list_groups())
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
                there = {file.stem for file in (CONFIG_DIR / path).glob("*.yaml")}
                stale += [(name(page), word) for each in chosen if each not in there and (path, each) not in own]

    assert stale == []


def test_a_common_change_is_made_where_the_page_says():
    table = (ROOT / "docs/how-it-works.md").read_text().partition("## Where to make common changes")[2]
    rows = re.findall(r"^\| (the .+?) \| (.+) \|$", table, re.MULTILINE)

    assert {"network", "data", "optimizer", "schedule", "loss", "metrics"} <= {row[0].split()[1] for row in rows}
    for change, where in rows:
        for name, file in re.findall(r"`(\w+)` of `(src/[\w/.]+)`", where):
            assert re.search(rf"^ +def {name}\(", (ROOT / file).read_text(), re.MULTILINE), change


def test_the_layers_are_those_of_the_page():
    tree = ast.parse((ROOT / "tests/firstlight/test_layers.py").read_text())
    layers = next(ast.literal_eval(node.value) for node in tree.body if "LAYERS =" in (ast.unparse(node)))
    page = (ROOT / "docs/how-it-works.md").read_text().partition("## Layers of the engine")[2]
    lines = re.findall(r"^(\d)  (.+)$", page, re.MULTILINE)

    assert [(int(level), set(names.split())) for level, names in reversed(lines)] == [
        (level, set(names)) for level, names in enumerate(layers, start=1)
    ]


def test_an_extra_that_is_to_be_installed_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    assert {each for _, code in CODE for each in re.findall(r"'\.\[(\w+)\]'", code)} <= set(extras)
