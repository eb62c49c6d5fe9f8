"""Read the constructor of a class from its source, because importing the class would import torch (seconds)."""

import ast
import inspect
import sys
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

from firstlight.config.options import list_config_targets, load_trusted_packages
from firstlight.run.errors import ConfigError
from firstlight.run.packages import is_installed

# Keys of hydra.utils.instantiate.
HYDRA_KEYS = ("_target_", "_args_", "_convert_", "_partial_", "_recursive_")
# Keys that are not arguments of the class: a scheduler's are for Lightning, an optimizer's for its parameter groups.
LR_SCHEDULER_KEYS = ("interval", "monitor")
OPTIMIZER_KEYS = ("layer_decay", "no_weight_decay")
EXTRA_KEYS = {"scheduler": LR_SCHEDULER_KEYS, "optimizer": OPTIMIZER_KEYS}
# Base classes without constructor arguments, whose source need not be found.
PLAIN_BASES = ("object", "ABC", "Generic", "Protocol")


# The constructor of a class is the schema of its config: dataclasses next to each class would repeat every signature,
# and the two lists would drift apart.
@dataclass(frozen=True)
class ClassSignature:
    """The constructor arguments and constants of a class.

    Attributes:
        parameters: Annotation of each argument as written, "" without one.
        constants: Plain values assigned in the class body, including inherited ones.
        accepts_kwargs: Whether the constructor has ``**kwargs``, so that any further name is accepted.
        forwarded: Annotations of the base class's arguments, which may be among ``**kwargs``.
    """

    parameters: dict[str, str] = field(default_factory=dict)
    constants: dict[str, object] = field(default_factory=dict)
    accepts_kwargs: bool = False
    forwarded: dict[str, str] = field(default_factory=dict)


@cache
def read_signature(target: str) -> ClassSignature:
    """Return the signature of the class or function with this import path.

    What the source text does not show, such as a function, or a class whose base class is not found, is imported.

    Raises:
        ConfigError: If there is nothing with this import path.
    """
    module, _, name = target.rpartition(".")
    definition = _find_class(module, name)
    if target in list_config_targets():
        return (definition and _parse_signature(*definition)) or _inspect_signature(target)
    # A function, or a class that is only imported there, must be named in a file of configs/.
    if definition is None:
        raise ConfigError(f"Cannot find class '{target}'. Set _target_ to the import path of an installed class.")
    source, node = definition
    validate_trusted(f"{source}.{node.name}")
    return _parse_signature(source, node) or _inspect_signature(target)


def validate_trusted(target: str) -> None:
    """Check that an import path starts with a package of configs/trusted.yaml.

    Raises:
        ConfigError: If the path is outside the trusted packages.
    """
    if not is_trusted(target):
        raise ConfigError(
            f"'{target}' is not from a trusted package ({', '.join(load_trusted_packages())}). To allow it, add its "
            "package to configs/trusted.yaml."
        )


def find_missing_import(target: str) -> str | None:
    """Return the first package that is imported by the module of a class and not installed, or None."""
    tree = _parse_module(target.rpartition(".")[0])
    names: list[str] = []
    # Imports under `if` or `try` are optional.
    for node in tree.body if tree else []:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.append(str(node.module))
    packages = dict.fromkeys(name.partition(".")[0] for name in names)
    return next((name for name in packages if name not in sys.modules and not is_installed(name)), None)


def is_trusted(path: str) -> bool:
    """Return True if an import path starts with a package of configs/trusted.yaml."""
    return path.partition(".")[0] in load_trusted_packages()


def _inspect_signature(target: str) -> ClassSignature:
    """Return the signature of an imported class or function. Annotations that are not text stay unknown."""
    from firstlight.config.instantiate import import_attribute  # imports torch

    found = import_attribute(target)
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):  # a built-in function
        return ClassSignature(accepts_kwargs=True)
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return ClassSignature(
        {parameter.name: "" for parameter in parameters if parameter.kind not in kinds},
        accepts_kwargs=any(parameter.kind == inspect.Parameter.VAR_KEYWORD for parameter in parameters),
    )


def _parse_signature(module: str, node: ast.ClassDef) -> ClassSignature | None:
    """Return the signature of a class definition, or None if a base class or decorator hides it."""
    found = [_find_class(module, ast.unparse(base)) for base in node.bases if not isinstance(base, ast.Subscript)]
    read = [_parse_signature(*base) if base is not None else None for base in found]
    bases = [base for base in read if base is not None]
    constants = {name: value for base in reversed(bases) for name, value in base.constants.items()}
    constants |= _read_class_constants(node)
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            more = _read_typed_dict_fields(module, item.args.kwarg)
            accepts_kwargs = item.args.kwarg is not None and not more
            # Untyped **kwargs usually reach the base class.
            forwarded = [base.parameters for base in bases if accepts_kwargs and base.parameters]
            parameters = _parse_init_arguments(item) | more
            return ClassSignature(parameters, constants, accepts_kwargs, (forwarded or [{}])[0])
    if node.decorator_list or (None in read and not _has_only_plain_bases(node)):
        return None
    inherited = next((base for base in bases if base.parameters or base.accepts_kwargs), ClassSignature())
    return ClassSignature(inherited.parameters, constants, inherited.accepts_kwargs)


def _has_only_plain_bases(node: ast.ClassDef) -> bool:
    """Return True if no base class has arguments of its own, as ABC and Generic do not."""
    return all(ast.unparse(base).partition("[")[0].rpartition(".")[2] in PLAIN_BASES for base in node.bases)


def _parse_init_arguments(function: ast.FunctionDef) -> dict[str, str]:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return {
        argument.arg: ast.unparse(argument.annotation) if argument.annotation else ""
        for argument in arguments
        if argument.arg != "self"
    }


def _read_typed_dict_fields(module: str, argument: ast.arg | None) -> dict[str, str]:
    """Return the fields of the TypedDict in ``**name: Unpack[Fields]``, with their annotations."""
    match argument:
        case ast.arg(annotation=ast.Subscript(value=ast.Name(id="Unpack"), slice=ast.Name(id=name))):
            return _read_annotated_fields(module, name)
    return {}


def _read_annotated_fields(module: str, name: str) -> dict[str, str]:
    """Return the annotated fields of a class, including inherited ones, with their annotations."""
    found = _find_class(module, name)
    if found is None:
        return {}
    source, node = found
    fields: dict[str, str] = {}
    for base in node.bases:
        fields |= _read_annotated_fields(source, ast.unparse(base))
    own = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    return fields | {ast.unparse(field.target): ast.unparse(field.annotation) for field in own}


def _read_class_constants(node: ast.ClassDef) -> dict[str, object]:
    constants: dict[str, object] = {}
    for item in node.body:
        target: ast.expr | None = item.target if isinstance(item, ast.AnnAssign) else None
        if isinstance(item, ast.Assign) and len(item.targets) == 1:
            target = item.targets[0]
        if isinstance(target, ast.Name) and isinstance(getattr(item, "value", None), ast.Constant):
            constants[target.id] = item.value.value  # type: ignore[attr-defined]
    return constants


def _find_class(module: str, name: str) -> tuple[str, ast.ClassDef] | None:
    """Return the module that defines a class, and its definition; follow imports and re-exports."""
    tree = _parse_module(module)
    if tree is None:
        return None
    first, _, rest = name.partition(".")
    stars = []
    for node in _iter_top_level_statements(tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom):
            source = _resolve_relative_import(module, node)
            for alias in node.names:
                if alias.name == "*":
                    stars.append(source)
                elif (alias.asname or alias.name) == first and rest:
                    return _find_class(*f"{source}.{alias.name}.{rest}".rsplit(".", 1))
                elif (alias.asname or alias.name) == name:
                    return _find_class(source, alias.name)
        if isinstance(node, ast.Import) and rest:
            for alias in node.names:
                if (alias.asname or alias.name.partition(".")[0]) == first:
                    dotted = f"{alias.name if alias.asname else first}.{rest}"
                    return _find_class(*dotted.rsplit(".", 1))
    return next((found for source in stars if (found := _find_class(source, name))), None)


def _iter_top_level_statements(tree: ast.Module) -> list[ast.stmt]:
    """Return the top-level statements, including those under `if` and `try`."""
    statements: list[ast.stmt] = []
    pending = list(tree.body)
    while pending:
        node = pending.pop(0)
        statements.append(node)
        if isinstance(node, ast.If | ast.Try):
            pending = [*node.body, *node.orelse, *pending]
    return statements


def _resolve_relative_import(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    source = _find_source(module)
    parts = module.split(".")
    keep = len(parts) - node.level + (source is not None and source.name == "__init__.py")
    return ".".join([*parts[:keep], *([node.module] if node.module else [])])


@cache
def _parse_module(module: str) -> ast.Module | None:
    source = _find_source(module)
    return ast.parse(source.read_text(encoding="utf-8")) if source else None


@cache
def _find_source(module: str) -> Path | None:
    """Return the source file of a module without importing its parent packages."""
    path: list[str] | None = None
    spec = None
    for depth, name in enumerate(parts := module.split(".")):
        loaded = sys.modules.get(".".join(parts[: depth + 1]))
        # Without the names of its parents, because a namespace package would look for them among imported packages.
        spec = getattr(loaded, "__spec__", None) or PathFinder.find_spec(name, path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or [])
    is_source = spec is not None and spec.origin is not None and spec.origin.endswith(".py")
    return Path(spec.origin) if is_source and spec and spec.origin else None
