"""The commands, examples, links, config keys and files in README and docs/ are valid."""

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
from firstlight.run.errors import MissingPackageError
from firstlight.run.files import append_checksum
from support.checkout import IS_TEMPLATE, PROJECT, ROOT
from support.doc_commands import (
    CLONE,
    COMMANDS,
    EXAMPLE_FILES,
    FENCE,
    HELP,
    PAGES,
    SCRIPT_OPTIONS,
    iter_blocks,
    iter_commands,
    parse_command,
    pretend_cluster,
    skip_if_deleted,
    template_only,
    validate_command,
)

HELP_COMMANDS = re.findall(r"^make .*?(?=\s{2,}|;|$)", HELP, re.MULTILINE)
# Directories that the docs omit from the paths of source files.
SOURCE_DIRS = ("src/firstlight", "src/firstlight/data", "src")
# Files that `make export` writes.
EXPORTED_FILES = ("export/preprocess.py", "hub/preprocess.py", "hub/load.py", "hub/README.md")
PROSE = {page: FENCE.sub("", page.read_text()) for page in PAGES}
CODE = sorted({(page, code) for page, text in PROSE.items() for code in re.findall(r"`([^`\n]+)`", text)})


def format_page(page):
    """Return the path of a page relative to the root."""
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def config():
    """Return the config.yaml of a run."""
    return append_checksum(OmegaConf.to_yaml(compose_config("train", ["output_dir=logs/train/one"]), resolve=True))


@pytest.fixture
def run_dir(tmp_path, config):
    """Return a directory that looks like an interrupted run."""
    (tmp_path / "config.yaml").write_text(config)
    (tmp_path / "run.json").write_text(json.dumps({"loggers": {}, "status": "interrupted"}))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    return tmp_path


@pytest.mark.parametrize("line", [*iter_commands(), *HELP_COMMANDS])
@pytest.mark.slow
def test_command_is_valid(line, run_dir, monkeypatch):
    if line in CLONE:
        return
    pretend_cluster(monkeypatch)
    program, *arguments = parse_command(line)
    skip_if_deleted(arguments)
    arguments = [re.sub(r"logs/(train|sweep)/<\w+>", str(run_dir), argument) for argument in arguments]
    arguments = [f"resume={run_dir}" if argument == "resume=last" else argument for argument in arguments]
    if program == "make":
        targets = [argument for argument in arguments if "=" not in argument]
        assert targets
        assert set(targets) <= COMMANDS
        overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("ARGS=")]
        for target in targets:
            try:
                validate_command(target.replace("-", "_"), overrides)
            except MissingPackageError as error:  # of an extra that `make setup` does not install
                pytest.skip(str(error))
    elif arguments[:2] == ["-m", "pytest"]:
        assert all((ROOT / argument).exists() for argument in arguments if "/" in argument)
    elif [program, *arguments[:3]] == ["uv", "pip", "install", "-e"]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(re.fullmatch(r"\.\[([\w,]+)\]", arguments[3]).group(1).split(",")) <= set(extras)
    elif "-m" in arguments:
        module = arguments.index("-m") + 1
        validate_command(arguments[module].removeprefix("firstlight."), arguments[module + 1 :])
    else:
        assert program == "wandb" or program.startswith(".venv/bin/") or (ROOT / arguments[0]).is_file()


def test_commands_work_in_every_shell():
    unquoted = [re.sub(r"'[^']*'|\"[^\"]*\"", "", line) for line in [*iter_commands(), *HELP_COMMANDS]]

    # zsh, the default shell of macOS, expands brackets to file names, and passes comments as arguments.
    assert [line for line in unquoted if re.search(r"[\[\]()*?;#]", line)] == []


@pytest.mark.parametrize("block", iter_blocks("python"), ids=lambda block: block.splitlines()[0])
def test_python_block_compiles(block):
    compile(block, "page", "exec")


@template_only
@pytest.mark.parametrize("block", [block for block in iter_blocks("python") if block.startswith("# complete")])
def test_complete_example_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    exec(compile(block, "page", "exec"), {})


@pytest.mark.parametrize("block", iter_blocks("yaml"))
def test_yaml_block_is_a_mapping(block):
    assert isinstance(yaml.safe_load(block), dict)


@template_only
def test_quoted_configs_match_files():
    configs = {path: text for path, text in EXAMPLE_FILES.items() if path.endswith(".yaml") and (ROOT / path).is_file()}

    assert configs
    for path, text in configs.items():
        assert yaml.safe_load(text) == yaml.safe_load((ROOT / path).read_text()), path


def list_anchors(text: str) -> set[str]:
    """Return the anchors that GitHub creates for the headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=format_page)
def test_links_are_valid(page):
    targets = re.findall(r"\]\(([^)\s]+)\)|\b(?:href|src|srcset)=\"([^\"]+)\"", PROSE[page])
    for target in map("".join, targets):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if ":" not in path:
            # A project may have deleted the page of a command.
            assert file.exists() or not IS_TEMPLATE, target
            assert not anchor or anchor in list_anchors(file.read_text()), target


@template_only
@pytest.mark.parametrize(("page", "code"), CODE, ids=lambda value: str(value).removeprefix(f"{ROOT}/"))
def test_mentioned_file_exists(page, code):
    for word in code.split():
        if re.fullmatch(r"[\w./]+\.(py|sh|md|lock|toml|yml)|(configs|src|scripts|tests|docs|sweeps)/[\w./]*", word):
            word = word.replace("<your package>", PROJECT.name)
            directories = (ROOT, page.parent, PROJECT, *(ROOT / path for path in SOURCE_DIRS))
            assert word in {*EXAMPLE_FILES, *EXPORTED_FILES} or any(
                (directory / word).exists() for directory in directories
            ), word


def iter_keys(prefix: str, node: object) -> Iterator[str]:
    """Yield the dotted keys below a config node, including the arguments of its class."""
    if isinstance(node, dict):
        parameters = list(schema.read_signature(node["_target_"]).parameters) if "_target_" in node else []
        for key in {*node, *parameters}:
            yield f"{prefix}{key}"
            yield from iter_keys(f"{prefix}{key}.", node.get(key))


def list_nested_keys(prefix: str, node: object) -> list[str]:
    """Return the keys of nested mappings, joined by dots."""
    items = node.items() if isinstance(node, dict) else ()
    return [key for name, value in items for key in (f"{prefix}{name}", *list_nested_keys(f"{prefix}{name}.", value))]


def list_known_keys() -> set[str]:
    keys = {"force"}.union(*SCRIPT_OPTIONS.values())  # options of `make sweep` and of the scripts
    for file in options.list_root_configs():
        keys |= set(iter_keys("", load_yaml(file)))
    for group in options.list_groups():
        keys.add(group)
        for _, node in iter_options(group):
            keys |= set(iter_keys("" if group in ("model", "experiment") else f"{group}.", node))
    for path, text in EXAMPLE_FILES.items():
        if path.startswith("configs/"):
            group = path.split("/")[1]
            keys |= set(list_nested_keys("" if group in ("model", "experiment") else f"{group}.", yaml.safe_load(text)))
    return keys


@template_only
def test_mentioned_keys_exist():
    known = list_known_keys()
    groups = set(options.list_groups())
    own = {tuple(path.removesuffix(".yaml").split("/")[1:]) for path in EXAMPLE_FILES if path.startswith("configs/")}
    unknown = []
    for page, code in CODE:
        for word in code.replace("'", "").split() if not code.startswith("make new ") else ():
            override = re.fullmatch(r"[+~]?([a-z_]\w*(?:\.[a-z_]\w*)*)=(.*)", word)
            if override and override.group(2) in ("True", "False"):  # a Python keyword argument
                continue
            path = override.group(1) if override else word
            is_file = word.endswith((".py", ".yaml", ".fit", ".safetensors", ".mlpackage", ".onnx", ".pt2", ".json"))
            is_path = override or (re.fullmatch(rf"({'|'.join(groups)})\.[\w.]+", word) and not is_file)
            if is_path and path not in known | {"name", "key", "group"}:
                unknown.append((format_page(page), word))
            if override and path in groups:
                names = [name for name in override.group(2).split(",") if re.fullmatch(r"\w+", name)]
                available = {file.stem for file in (CONFIG_DIR / path).glob("*.yaml")}
                unavailable = [name for name in names if name not in available and (path, name) not in own]
                unknown += [(format_page(page), word) for _ in unavailable]

    assert unknown == []


def test_common_changes_table_names_existing_methods():
    table = (ROOT / "docs/how-it-works.md").read_text().partition("## Where to make common changes")[2]
    rows = re.findall(r"^\| (the .+?) \| (.+) \|$", table, re.MULTILINE)

    assert {"network", "data", "optimizer", "schedule", "loss", "metrics"} <= {row[0].split()[1] for row in rows}
    for change, where in rows:
        for name, file in re.findall(r"`(\w+)` of `(src/[\w/.]+)`", where):
            assert re.search(rf"^ +def {name}\(", (ROOT / file).read_text(), re.MULTILINE), change


def test_documented_layers_match_test():
    tree = ast.parse((ROOT / "tests/firstlight/test_layers.py").read_text())
    layers = next(ast.literal_eval(node.value) for node in tree.body if "LAYERS =" in (ast.unparse(node)))
    page = (ROOT / "docs/how-it-works.md").read_text().partition("## Layers of the engine")[2]
    lines = re.findall(r"^(\d+)  (.+)$", page, re.MULTILINE)

    assert [(int(level), set(names.split())) for level, names in reversed(lines)] == [
        (level, set(names)) for level, names in enumerate(layers, start=1)
    ]


def test_mentioned_extras_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    assert {name for _, code in CODE for name in re.findall(r"'\.\[(\w+)\]'", code)} <= set(extras)
