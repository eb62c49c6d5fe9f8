"""Each module of the engine imports from layers below its own only, and nothing of a project."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import firstlight

ENGINE = Path(firstlight.__file__).parent
# From the ground up: a layer's packages and modules. `__init__` is the package's own file.
LAYERS = [
    ["run", "hardware"],
    ["checkpoint", "data", "logger"],
    ["config", "distributed"],
    ["model", "trainer"],
    ["callbacks", "mps"],
    ["build", "cli"],
    ["train", "evaluate", "predict", "api", "export", "report", "benchmark", "preflight", "wandb_sync", "wandb_sweep"],
    ["sweep", "__init__"],
]
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}
# Each can be deleted with `rm -r`.
COMMANDS = ["sweep", "export", "report", "benchmark", "preflight"]
MODULES = {
    ".".join(path.relative_to(ENGINE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in ENGINE.rglob("*.py")
}


def place(module: str) -> str:
    """Return the top-level package or module of the engine that a module belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def imported(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, at its top and inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: import by the whole path"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


IMPORTS = {module: sorted(set(imported(path))) for module, path in MODULES.items()}


def test_every_package_and_module_is_in_a_layer():
    assert {place(module) for module in MODULES} == set(LEVELS)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_layers_below_its_own(module):
    others = [name for name in IMPORTS[module] if name.split(".")[0] == "firstlight" and place(name) != place(module)]

    assert [name for name in others if LEVELS[place(name)] >= LEVELS[place(module)]] == []


def test_the_engine_imports_nothing_of_a_project():
    projects = {folder.name for folder in ENGINE.parent.iterdir() if (folder / "__init__.py").is_file()}
    if ENGINE.parent.name != "src":
        pytest.skip("the engine is installed")

    named = {name.split(".")[0] for names in IMPORTS.values() for name in names}
    assert named & (projects - {"firstlight"}) == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_else_imports_a_command(command):
    others = [module for module in MODULES if place(module) != command]

    named = {module: [name for name in IMPORTS[module] if name.startswith("firstlight.")] for module in others}
    assert [module for module, names in named.items() if command in map(place, names)] == []


def test_only_the_engine_s_own_init_holds_anything():
    filled = [path for path in ENGINE.rglob("__init__.py") if path.read_text().strip()]

    assert filled == [ENGINE / "__init__.py"]
