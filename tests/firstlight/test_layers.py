"""Each module of the engine imports only from lower layers, and never from a project."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import firstlight
from support.deletable_commands import COMMANDS

ENGINE = Path(firstlight.__file__).parent
# The packages and modules of each layer, from bottom to top. `__init__` is src/firstlight/__init__.py.
LAYERS = [
    ["run"],
    ["hardware"],
    ["checkpoint", "data", "logger"],
    ["config", "distributed"],
    ["model"],
    ["run_data", "trainer"],
    ["callbacks", "mps", "page", "web"],
    ["build", "cli"],
    ["trial"],
    [
        "train",
        "evaluate",
        "predict",
        "api",
        "export",
        "report",
        "live",
        "demo",
        "runs",
        "benchmark",
        "check_gpu",
        "preflight",
        "prepare",
        "tune",
        "lr_find",
        "wandb_sync",
        "wandb_sweep",
    ],
    ["sweep", "__init__"],
]
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = {
    ".".join(path.relative_to(ENGINE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in ENGINE.rglob("*.py")
}


def get_top_level(module: str) -> str:
    """Return the top-level package or module of the engine that contains a module."""
    return module.split(".")[1] if "." in module else "__init__"


def iter_imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, at module level and inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: use absolute imports"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


IMPORTS = {module: sorted(set(iter_imports(path))) for module, path in MODULES.items()}


def test_every_module_has_a_layer():
    assert {get_top_level(module) for module in MODULES} == set(LEVELS)


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_lower_layers(module):
    others = [
        name
        for name in IMPORTS[module]
        if name.split(".")[0] == "firstlight" and get_top_level(name) != get_top_level(module)
    ]

    assert [name for name in others if LEVELS[get_top_level(name)] >= LEVELS[get_top_level(module)]] == []


def test_engine_does_not_import_the_project():
    packages = {path.name for path in ENGINE.parent.iterdir() if (path / "__init__.py").is_file()}
    if ENGINE.parent.name != "src":
        pytest.skip("the engine is installed as a wheel")

    imported = {name.split(".")[0] for names in IMPORTS.values() for name in names}
    assert imported & (packages - {"firstlight"}) == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_optional_commands_are_not_imported_elsewhere(command):
    others = [module for module in MODULES if get_top_level(module) != command]

    imports = {module: [name for name in IMPORTS[module] if name.startswith("firstlight.")] for module in others}
    assert [module for module, names in imports.items() if command in map(get_top_level, names)] == []


def test_init_files_are_empty_except_the_top_level():
    non_empty = [path for path in ENGINE.rglob("__init__.py") if path.read_text().strip()]

    assert non_empty == [ENGINE / "__init__.py"]
