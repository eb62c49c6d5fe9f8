"""Check a configuration against the classes it names, in milliseconds: nothing heavy is imported."""

import ast
from typing import Any

from omegaconf import DictConfig, OmegaConf

from firstlight.config import schema
from firstlight.config.options import (
    AUTO,
    format_unknown_key,
    iter_options,
    list_option_files,
    list_root_configs,
    load_yaml,
)
from firstlight.config.ranges import validate_range
from firstlight.config.schema import matches_annotation
from firstlight.run.errors import MissingPackageError, missing_package

# Keys of a schedule that Lightning reads, not the schedule's class.
LR_SCHEDULER_KEYS = ("interval", "monitor")
# Keys of Hydra's own.
HYDRA_KEYS = ("_target_", "_args_", "_convert_", "_partial_", "_recursive_")
# What a training is made of.
COMPONENTS = ("model", "data", "trainer", "optimizer", "scheduler")


def validate_config(cfg: DictConfig) -> None:
    """Refuse unknown settings, values of the wrong type, and a model that cannot read the data.

    Raises:
        ValueError: one sentence: the rule, what came, how to mend it.
    """
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    validate_root_keys(settings)
    is_training = any(name in settings for name in COMPONENTS)
    for name in (*COMPONENTS, "callbacks", "logger", "seed") if is_training else ():
        if name not in settings:
            raise ValueError(f"A training has a {name}, but the configuration has none: put it back")
        if name in COMPONENTS:
            validate_node(name, settings[name])
            validate_imports(str(settings[name]["_target_"]))
    for group in ("callbacks", "logger"):
        for name, node in (settings.get(group) or {}).items():
            validate_group_entry(group, name, node)
    if is_training:
        validate_model_data_match(settings["model"], settings["data"])
        validate_single_mps_device(settings["trainer"])


def validate_root_keys(settings: dict[str, Any]) -> None:
    """Refuse a key at the top that no command's configuration has, or a value of another type."""
    known: dict[str, Any] = {"model": {}, "data": {}, "resume": None}
    for file in list_root_configs():
        root = load_yaml(file)
        groups = [group for each in root.pop("defaults") if isinstance(each, dict) for group in each]
        known |= {group: {} for group in groups if " " not in group and group != "hydra"} | root
    for name, value in settings.items():
        if name not in known:
            raise ValueError(format_unknown_key(name, list(known)))
        default = known[name]
        if default is not None and (value is not None or default != {}) and not _is_compatible(value, default):
            raise ValueError(
                f"{name} is {_describe_type(default)}, but {name}={value!r}: give {_describe_type(default)}"
            )
        validate_range(name, value)


def validate_node(where: str, node: Any) -> None:
    """Hold one object's settings against the class that it names."""
    if not isinstance(node, dict) or "_target_" not in node:
        raise ValueError(f"{where} is a choice with a _target_, but it is {node!r}: choose one by {where}=<name>")
    schema.validate_trusted(str(node["_target_"]))
    found = schema.read_signature(str(node["_target_"]))
    extra = LR_SCHEDULER_KEYS if where == "scheduler" else ()
    for name, value in node.items():
        if name in HYDRA_KEYS or name in extra:
            continue
        if name not in found.parameters and not found.accepts_kwargs:
            raise ValueError(format_unknown_key(f"{where}.{name}", [*found.parameters, *extra]))
        annotation = found.parameters.get(name, "")
        known_later = value == AUTO and where == "trainer"
        if annotation and not known_later and not matches_annotation(ast.parse(annotation, mode="eval").body, value):
            raise ValueError(f"{where}.{name} is {annotation}, but {where}.{name}={value!r}: give a value of that type")
        validate_range(f"{where}.{name}", value)


def validate_imports(target: str) -> None:
    """Refuse a class whose module imports a package that is not installed: before data is read or downloaded."""
    if (package := schema.find_missing_import(target)) is not None:
        raise MissingPackageError(missing_package(target.rpartition(".")[2], package))


def validate_group_entry(group: str, name: str, node: Any) -> None:
    """Check one of the named callbacks or loggers; null switches one off that exists."""
    if isinstance(node, dict) and "_target_" in node:
        validate_node(f"{group}.{name}", node)
        return
    known = {key for file in list_option_files(group).values() for key in load_yaml(file) if key != "defaults"}
    if name not in known:
        raise ValueError(format_unknown_key(f"{group}.{name}", sorted(map(str, known))))
    if node is not None:
        raise ValueError(f"{group}.{name} has no _target_: its settings have no effect. Add the class, or leave it out")


def validate_model_data_match(model: dict[str, Any], data: dict[str, Any]) -> None:
    """Refuse data that the model cannot read."""
    reads, yields = _read_class_constant(model, "modality"), _read_class_constant(data, "modality")
    if reads != yields:
        names = [str(node["_target_"]).rpartition(".")[2] for node in (model, data)]
        fitting = [name for name, node in iter_options("data") if _read_class_constant(node, "modality") == reads]
        own = [name for name in describe_data_option(str(model["_target_"])) if name in fitting] or fitting
        raise ValueError(
            f"{names[0]} reads {reads}, but {names[1]} yields {yields}: choose another data=, e.g. data={own[0]} "
            f"(of {', '.join(fitting)})"
        )


def describe_data_option(target: str) -> list[str]:
    """Return the datasets that the options of a model's class name by `override /data`."""
    files = [load_yaml(file) for file in list_option_files("model").values()]
    entries = [each for file in files if file.get("model", {}).get("_target_") == target for each in file["defaults"]]
    return [str(each["override /data"]) for each in entries if isinstance(each, dict) and "override /data" in each]


def validate_single_mps_device(trainer: dict[str, Any]) -> None:
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


def _is_compatible(value: Any, default: Any) -> bool:
    if isinstance(default, str) and default.startswith("${"):
        return isinstance(value, str)
    if isinstance(default, int | float) and not isinstance(default, bool):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, type(default))


def _describe_type(default: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list [a,b]"}
    return names.get(type(default), "a group of settings")


def _read_class_constant(node: dict[str, Any], name: str) -> object:
    return schema.read_signature(str(node["_target_"])).constants.get(name) if "_target_" in node else None
