"""Validate a config against the classes that it names, within milliseconds and without importing torch."""

import ast
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from firstlight.config import schema
from firstlight.config.annotations import TYPE_NAMES, describe_annotation, matches_annotation
from firstlight.config.data_settings import validate_data_settings
from firstlight.config.initial_weights import validate_initial_weights
from firstlight.config.options import (
    AUTO,
    COMPONENTS,
    format_unknown_key,
    iter_options,
    list_option_files,
    list_root_configs,
    load_option,
    load_yaml,
)
from firstlight.config.overrides import is_key_overridden
from firstlight.config.ranges import validate_optimizer_keys, validate_range
from firstlight.config.switches import find_switch, is_switched_off, validate_off_switch, validate_switches
from firstlight.run.errors import ConfigError, MissingPackageError, incompatible, invalid_value, missing_package
from firstlight.run.packages import is_installed

# A module may have its own dataloaders (data=none), and its own optimizer and scheduler.
OPTIONAL_COMPONENTS = ("data", "optimizer", "scheduler")
# The tasks of the engine's models and datasets.
TASKS = ("classification", "multilabel", "regression")


def validate_config(cfg: DictConfig) -> None:
    """Check the keys, the types and ranges of the values, and that the model fits the data.

    Raises:
        ConfigError: If the config is invalid.
        MissingPackageError: If a class of the config requires a package that is not installed.
    """
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    validate_root_keys(settings)
    is_training = any(name in settings for name in COMPONENTS)
    for name in (*COMPONENTS, "callbacks", "logger", "seed") if is_training else ():
        if name not in settings:
            fix = f"Use {name}=none" if name in ("callbacks", "logger") else "Add the section to the config"
            raise ConfigError(f"Missing config section '{name}'. {fix}.")
        if name in COMPONENTS and not (name in OPTIONAL_COMPONENTS and not settings[name]):
            validate_node(name, settings[name])
            validate_imports(str(settings[name]["_target_"]))
    for group in ("callbacks", "logger"):
        for name, node in (settings.get(group) or {}).items():
            validate_group_entry(group, name, node)
    if is_training:
        validate_model_data_match(settings["model"], settings["data"])
        validate_data_settings(settings)
        validate_optimizer_keys(settings["optimizer"] or {}, settings["command"])
        validate_single_mps_device(settings["trainer"])
        validate_initial_weights(settings)
        validate_switches(settings)


def validate_root_keys(settings: dict[str, Any]) -> None:
    """Check that each root key exists in the config of a command and that its value has the right type."""
    known: dict[str, Any] = {"model": {}, "data": {}, "resume": None}
    # The command's own config comes last: `compare` has another type in benchmark than in runs.
    for file in sorted(list_root_configs(), key=lambda file: file.stem == settings.get("command")):
        root = load_yaml(file)
        groups = [group for entry in root.pop("defaults") if isinstance(entry, dict) for group in entry]
        known |= {group: {} for group in groups if " " not in group and group != "hydra"} | root
    for name, value in settings.items():
        if name not in known:
            raise ConfigError(format_unknown_key(name, list(known)))
        default = known[name]
        if default is not None and (value is not None or default != {}) and not _is_compatible(value, default):
            raise ConfigError(invalid_value(name, value, TYPE_NAMES[type(default).__name__]))
        validate_range(name, value)
    if settings.get("experiment"):
        raise ConfigError(
            f"The keys of the experiment have no effect: {', '.join(map(str, settings['experiment']))}. Start its file "
            "with the line '# @package _global_'."
        )


def validate_node(where: str, node: Any) -> None:
    """Check the config of one object against the constructor of its class.

    Args:
        where: Config path of the object, such as "trainer".
        node: `_target_`, and keyword arguments of the class.
    """
    if not isinstance(node, dict) or "_target_" not in node:
        raise ConfigError(invalid_value(where, node, "a config with a _target_", f"Use {where}=<option>."))
    schema.validate_trusted(str(node["_target_"]))
    signature = schema.read_signature(str(node["_target_"]))
    extra = schema.EXTRA_KEYS.get(where, ())
    for name, value in node.items():
        if name in schema.HYDRA_KEYS or name in extra:
            continue
        validate_nested(f"{where}.{name}", value)
        if name not in signature.parameters and not signature.accepts_kwargs:
            raise ConfigError(format_unknown_key(f"{where}.{name}", [*signature.parameters, *extra]))
        annotation = ast.parse(signature.parameters.get(name) or "Any", mode="eval").body
        is_resolved_later = value == AUTO and (where == "trainer" or f"{where}.{name}" == "data.batch_size")
        is_object = isinstance(value, dict) and "_target_" in value
        if not is_resolved_later and not is_object and not matches_annotation(annotation, value):
            raise ConfigError(invalid_value(f"{where}.{name}", value, describe_annotation(annotation)))
        validate_range(f"{where}.{name}", value)


def validate_nested(where: str, value: Any) -> None:
    """Check each object inside a value, in lists and mappings too."""
    if isinstance(value, dict) and "_target_" in value:
        validate_node(where, value)
    elif isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            validate_nested(f"{where}.{name}", item)


def validate_imports(target: str, feature: str = "") -> None:
    """Check that the packages imported by the module of a class are installed, before any data is loaded.

    Args:
        target: Import path of the class.
        feature: What requires the packages; by default the name of the class.
    """
    package = schema.find_missing_import(target)
    if package is None:
        # A class that imports a package late names it in a constant.
        required = schema.read_signature(target).constants.get("required_package")
        package = required if isinstance(required, str) and not is_installed(required) else None
    if package is not None:
        raise MissingPackageError(missing_package(feature or target.rpartition(".")[2], package))


def validate_group_entry(group: str, name: str, node: Any) -> None:
    """Check one entry of the callbacks or loggers; null disables an entry that exists."""
    if isinstance(node, dict) and "_target_" in node:
        if is_off := is_switched_off(node):
            validate_off_switch(f"{group}.{name}", node)
            node = {key: value for key, value in node.items() if key != find_switch(node)}
        validate_node(f"{group}.{name}", node)
        if is_off:
            return
        validate_imports(str(node["_target_"]), f"{group}.{name}")
        return
    known = {key for file in list_option_files(group).values() for key in load_yaml(file) if key != "defaults"}
    if name not in known:
        raise ConfigError(format_unknown_key(f"{group}.{name}", sorted(map(str, known))))
    # A model sets keys of callbacks that a command such as preflight, or callbacks=none, leaves out.
    is_left_out = isinstance(node, dict) and not is_key_overridden(f"{group}.{name}")
    if node is not None and not is_left_out:
        raise ConfigError(
            f"{group}.{name} has no _target_, so its keys have no effect. Add a _target_, or remove the entry."
        )


def validate_model_data_match(model: dict[str, Any], data: dict[str, Any]) -> None:
    """Check that the dataset provides what the model expects, if both state it.

    The modality is images or text; the task, which determines the labels, is classification, multilabel or regression.
    """
    if not data:
        return
    expected, provided = _read_class_constant(model, "modality"), _read_class_constant(data, "modality")
    if expected is not None and provided is not None and expected != provided:
        names = _list_matching_datasets(model)
        fix = f"Use another dataset, e.g. data={names[0]} (available: {', '.join(sorted(names))})."
        models, datasets = _describe_option("model", model), _describe_option("data", data)
        raise ConfigError(incompatible(models, str(expected), datasets, str(provided), fix))
    task, provided_task = _read_class_constant(model, "task"), _read_task(data)
    if task in TASKS and provided_task in TASKS and task != provided_task:
        fix = f"Set data.task={task}, or null."
        if "task" not in schema.read_signature(str(data["_target_"])).parameters:
            fix = f"Use another model, or a dataset with such labels, e.g. {_suggest_dataset(model, task)}."
        models, datasets = _describe_option("model", model), _describe_option("data", data)
        raise ConfigError(incompatible(models, f"{task} labels", datasets, f"{provided_task} labels", fix))


def _list_matching_datasets(model: dict[str, Any]) -> list[str]:
    """Return the datasets with the modality of a model; those that its options select come first."""
    expected = _read_class_constant(model, "modality")
    names = [name for name, node in iter_options("data") if _read_class_constant(node, "modality") == expected]
    preferred = [name for name in list_default_datasets(str(model["_target_"])) if name in names]
    return list(dict.fromkeys([*preferred, *names]))


def _read_task(data: dict[str, Any]) -> object:
    """Return the task of a dataset: the key `task` of its config, or else the constant of its class.

    Returns None if the key is null: the dataset then takes the task of the model.
    """
    is_key = data and "task" in schema.read_signature(str(data["_target_"])).parameters
    return data.get("task") if is_key else _read_class_constant(data, "task")


def _suggest_dataset(model: dict[str, Any], task: object) -> str:
    """Return the overrides that select a dataset with labels of a task for a model."""
    nodes = {name: load_option("data", name) for name in _list_matching_datasets(model)}
    fitting = [name for name, node in nodes.items() if _read_task(node) in (task, None)]
    return f"data={[*fitting, '<option>'][0]}"


def list_default_datasets(target: str) -> list[str]:
    """Return the datasets that the options with this model class select with `override /data`."""
    files = [load_yaml(file) for file in list_option_files("model").values()]
    entries = [entry for file in files if file.get("model", {}).get("_target_") == target for entry in file["defaults"]]
    return [str(entry["override /data"]) for entry in entries if isinstance(entry, dict) and "override /data" in entry]


def validate_single_mps_device(trainer: dict[str, Any]) -> None:
    """Check that a run on MPS uses one device, since a Mac has one GPU.

    Raises:
        ConfigError: If the config asks for several devices or a strategy for several devices.
    """
    devices, strategy, nodes = trainer.get("devices", 1), trainer.get("strategy", AUTO), trainer.get("num_nodes", 1)
    is_single = devices in (1, "1", AUTO) or (isinstance(devices, list) and len(devices) == 1)
    if trainer.get("accelerator") == "mps" and not (is_single and strategy == AUTO and nodes == 1):
        raise ConfigError(
            f"MPS supports a single device, but trainer.devices={devices}, trainer.num_nodes={nodes} and "
            f"trainer.strategy={strategy} request more. Use trainer=mps without these overrides, or "
            "trainer.accelerator=cpu."
        )


def _describe_option(group: str, node: dict[str, Any]) -> str:
    """Return the selected option, such as "model=bert", or the class name where no command line selected it."""
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    return f"{group}={choices[group]}" if group in choices else str(node["_target_"]).rpartition(".")[2]


def _is_compatible(value: Any, default: Any) -> bool:
    if isinstance(default, str) and default.startswith("${"):
        return isinstance(value, str)
    if isinstance(default, int | float) and not isinstance(default, bool):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, type(default))


def _read_class_constant(node: dict[str, Any], name: str) -> object:
    return schema.read_signature(str(node["_target_"])).constants.get(name) if node and "_target_" in node else None
