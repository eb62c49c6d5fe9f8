"""Check a configuration against the classes it names, in milliseconds: nothing heavy is imported."""

import ast
from typing import Any

from omegaconf import DictConfig, OmegaConf

from firstlight.config import schema
from firstlight.config.options import AUTO, choices, option_files, read, root_files, unknown
from firstlight.config.ranges import require_in_limits
from firstlight.config.schema import accepts
from firstlight.run.packages import describe_missing_package

# Keys of a schedule that Lightning reads, not the schedule's class.
SCHEDULE_KEYS = ("interval", "monitor")
# Keys of Hydra's own.
HYDRA_KEYS = ("_target_", "_args_", "_convert_", "_partial_", "_recursive_")
# What a training is made of.
PARTS = ("model", "data", "trainer", "optimizer", "scheduler")


def check(cfg: DictConfig) -> None:
    """Refuse unknown settings, values of the wrong type, and a model that cannot read the data.

    Raises:
        ValueError: one sentence: the rule, what came, how to mend it.
    """
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    check_root(settings)
    is_training = any(name in settings for name in PARTS)
    for name in (*PARTS, "callbacks", "logger", "seed") if is_training else ():
        if name not in settings:
            raise ValueError(f"A training has a {name}, but the configuration has none: put it back")
        if name in PARTS:
            check_node(name, settings[name])
            require_imports(str(settings[name]["_target_"]))
    for group in ("callbacks", "logger"):
        for name, node in (settings.get(group) or {}).items():
            check_entry(group, name, node)
    if is_training:
        check_pair(settings["model"], settings["data"])
        require_one_apple_gpu(settings["trainer"])


def check_root(settings: dict[str, Any]) -> None:
    """Refuse a key at the top that no command's configuration has, or a value of another type."""
    known: dict[str, Any] = {"model": {}, "data": {}, "resume": None}
    for file in root_files():
        root = read(file)
        groups = [group for each in root.pop("defaults") if isinstance(each, dict) for group in each]
        known |= {group: {} for group in groups if " " not in group and group != "hydra"} | root
    for name, value in settings.items():
        if name not in known:
            raise ValueError(unknown(name, list(known)))
        default = known[name]
        if default is not None and (value is not None or default != {}) and not _same_type(value, default):
            raise ValueError(f"{name} is {_kind(default)}, but {name}={value!r}: give {_kind(default)}")
        require_in_limits(name, value)


def check_node(where: str, node: Any) -> None:
    """Hold one object's settings against the class that it names."""
    if not isinstance(node, dict) or "_target_" not in node:
        raise ValueError(f"{where} is a choice with a _target_, but it is {node!r}: choose one by {where}=<name>")
    schema.require_trusted(str(node["_target_"]))
    found = schema.read(str(node["_target_"]))
    extra = SCHEDULE_KEYS if where == "scheduler" else ()
    for name, value in node.items():
        if name in HYDRA_KEYS or name in extra:
            continue
        if name not in found.parameters and not found.takes_any:
            raise ValueError(unknown(f"{where}.{name}", [*found.parameters, *extra]))
        annotation = found.parameters.get(name, "")
        known_later = value == AUTO and where == "trainer"
        if annotation and not known_later and not accepts(ast.parse(annotation, mode="eval").body, value):
            raise ValueError(f"{where}.{name} is {annotation}, but {where}.{name}={value!r}: give a value of that type")
        require_in_limits(f"{where}.{name}", value)


def require_imports(target: str) -> None:
    """Refuse a class whose module imports a package that is not installed: before data is read or downloaded."""
    if (package := schema.missing_import(target)) is not None:
        raise ValueError(describe_missing_package(target.rpartition(".")[2], package))


def check_entry(group: str, name: str, node: Any) -> None:
    """Check one of the named callbacks or loggers; null switches one off that exists."""
    if isinstance(node, dict) and "_target_" in node:
        check_node(f"{group}.{name}", node)
        return
    known = {key for file in option_files(group).values() for key in read(file) if key != "defaults"}
    if name not in known:
        raise ValueError(unknown(f"{group}.{name}", sorted(map(str, known))))
    if node is not None:
        raise ValueError(f"{group}.{name} has no _target_: its settings have no effect. Add the class, or leave it out")


def check_pair(model: dict[str, Any], data: dict[str, Any]) -> None:
    """Refuse data that the model cannot read."""
    reads, yields = _constant(model, "reads"), _constant(data, "yields")
    if reads != yields:
        names = [str(node["_target_"]).rpartition(".")[2] for node in (model, data)]
        fitting = [name for name, node in choices("data") if _constant(node, "yields") == reads]
        own = [name for name in named_data(str(model["_target_"])) if name in fitting] or fitting
        raise ValueError(
            f"{names[0]} reads {reads}, but {names[1]} yields {yields}: choose another data=, e.g. data={own[0]} "
            f"(of {', '.join(fitting)})"
        )


def named_data(target: str) -> list[str]:
    """Return the datasets that the options of a model's class name by `override /data`."""
    files = [read(file) for file in option_files("model").values()]
    entries = [each for file in files if file.get("model", {}).get("_target_") == target for each in file["defaults"]]
    return [str(each["override /data"]) for each in entries if isinstance(each, dict) and "override /data" in each]


def require_one_apple_gpu(trainer: dict[str, Any]) -> None:
    """Refuse to divide a training over the one GPU that a Mac has.

    Raises:
        ValueError: the settings ask for more than one device, or for a strategy of several.
    """
    devices, strategy = trainer.get("devices", 1), trainer.get("strategy", AUTO)
    one = devices in (1, "1", AUTO) or (isinstance(devices, list) and len(devices) == 1)
    if trainer.get("accelerator") == "mps" and not (one and strategy == AUTO and trainer.get("num_nodes", 1) == 1):
        raise ValueError(
            f"A Mac has one GPU, but trainer.devices={devices}, trainer.num_nodes={trainer.get('num_nodes', 1)} and "
            f"trainer.strategy={strategy} divide the training: type trainer=mps alone, or trainer.accelerator=cpu"
        )


def _same_type(value: Any, default: Any) -> bool:
    if isinstance(default, str) and default.startswith("${"):
        return isinstance(value, str)
    if isinstance(default, int | float) and not isinstance(default, bool):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, type(default))


def _kind(default: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list [a,b]"}
    return names.get(type(default), "a group of settings")


def _constant(node: dict[str, Any], name: str) -> object:
    return schema.read(str(node["_target_"])).constants.get(name) if "_target_" in node else None
