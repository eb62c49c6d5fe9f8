"""What the command line and the selected experiment override."""

import re
from collections.abc import Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from firstlight.config import schema
from firstlight.config.options import COMPONENTS, list_option_files, load_option
from firstlight.run.errors import ConfigError, invalid_value
from firstlight.run.overrides import list_overrides
from firstlight.run.text import quote_hydra

# Settings of Hydra that the commands set themselves, and what to use instead.
HYDRA_EQUIVALENTS = {
    "hydra/launcher": "Use launcher=<option> with `make sweep`.",
    "hydra.launcher": "Use launcher.<key>=<value> with `make sweep`.",
    "hydra/sweeper": "Use sweeper=<option> with `make sweep`.",
    "hydra.sweeper": "Use sweeper.<key>=<value> with `make sweep`.",
    "hydra.sweep": "A sweep is saved in logs/sweep/<time>, and each job in a directory named after its overrides.",
    "hydra.run": "Use output_dir=<directory>.",
    "hydra.job.chdir": "Paths are relative to the working directory. The run directory is output_dir=<directory>.",
    "hydra.mode": "Use `make sweep` for several values.",
}
# Config groups and other keys of `make train` that `make benchmark` passes on.
TRAIN_GROUPS = (*COMPONENTS, "callbacks", "logger", "experiment", "seed", "init_from", "freeze", "unfreeze")
# Names of the launcher and sweeper that `make sweep` registers with Hydra.
SELECTED_PREFIX = "selected_"


def validate_hydra_overrides(overrides: Sequence[str], is_sweep: bool = False) -> None:
    """Check that no override sets a part of Hydra's own config that the commands set themselves.

    Args:
        overrides: Command-line arguments.
        is_sweep: Whether the command is `make sweep`. Other commands follow Hydra's own `--multirun`.

    Raises:
        ConfigError: If one does; the message names the equivalent. Also if `json` is neither true nor false.
    """
    for override in overrides:
        name, _, value = override.lstrip("+~").partition("=")
        if name == "json":  # json=true and json=false were removed before
            raise ConfigError(invalid_value("json", value, "true or false", "Use json=true."))
        for key, equivalent in HYDRA_EQUIVALENTS.items():
            is_allowed = not is_sweep and (key in ("hydra.sweep", "hydra.mode") or value.startswith(SELECTED_PREFIX))
            if (name == key or name.startswith(f"{key}.")) and not is_allowed:
                raise ConfigError(f"{override} has no effect, because the commands set {key} themselves. {equivalent}")


def collect_train_overrides(overrides: list[str]) -> list[str]:
    """Return the overrides of `make benchmark`: overrides of `make train` become elements of its key `overrides`.

    `model=` and `trainer=` select the measurements, and become `models` and `accelerators`.

    Raises:
        ConfigError: If `overrides` is also set.
    """
    collected, others = [], []
    for override in overrides:
        if match := re.fullmatch(r"model=([\w,]+)", override):
            others.append(f"models=[{match[1]}]")
        elif match := re.fullmatch(r"trainer=((cpu|cuda|mps)(,(cpu|cuda|mps))*)", override):
            others.append(f"accelerators=[{match[1]}]")
        elif re.split("[=.]", override.lstrip("+~"), maxsplit=1)[0] in TRAIN_GROUPS:
            collected.append(override)
        else:
            others.append(override)
    if not collected:
        return others
    if any(override.partition("=")[0] == "overrides" for override in others):
        raise ConfigError(
            f"overrides= cannot be combined with {collected[0]}. Pass all overrides of `make train` directly."
        )
    return [*others, f"overrides=[{','.join(map(quote_hydra, collected))}]"]


def drop_keys_of_replaced_classes(cfg: DictConfig, hydra: Any) -> None:
    """Delete the keys of an option whose class an override has replaced, if the new class has no such arguments.

    Args:
        cfg: The composed config; changed in place.
        hydra: Hydra's own section of it.
    """
    overrides = [override.lstrip("+").partition("=")[0] for override in list_overrides(hydra)]
    for group in COMPONENTS:
        choice, node = str(hydra.runtime.choices.get(group)), cfg.get(group)
        if choice not in list_option_files(group) or not isinstance(node, DictConfig) or "_target_" not in node:
            continue
        option: dict[str, Any] = load_option(group, choice)
        option = option.get("model", {}) if group == "model" else option
        target = OmegaConf.to_container(node, resolve=False)["_target_"]  # type: ignore[index, call-overload]
        if not isinstance(target, str) or target == option.get("_target_"):
            continue
        try:
            signature = schema.read_signature(target)
        except ConfigError:
            continue  # the validation of the config reports it
        kept = {*schema.HYDRA_KEYS, *schema.EXTRA_KEYS.get(group, ()), *signature.parameters}
        with open_dict(cfg):
            for key in [key for key in option if key in node and f"{group}.{key}" not in overrides]:
                if key not in kept and not signature.accepts_kwargs:
                    del node[key]


def is_group_overridden(group: str) -> bool:
    """Return True if the command line or the selected experiment selects an option of a group, or sets a key of it."""
    if not HydraConfig.initialized():
        return False
    hydra = HydraConfig.get()
    names = list_overridden_keys()
    if any(name == group or name.startswith(f"{group}.") for name in names):
        return True
    file = list_option_files("experiment").get(str(hydra.runtime.choices.get("experiment")))
    text = file.read_text(encoding="utf-8") if file else ""
    return re.search(rf"(?m)^(- override /|  - override /)?{group}:", text) is not None


def is_key_overridden(key: str) -> bool:
    """Return True if the command line sets a config key, or a key below it."""
    return any(name == key or name.startswith(f"{key}.") for name in list_overridden_keys())


def list_overridden_keys() -> list[str]:
    """Return the config keys and groups that the command line sets."""
    return [override.lstrip("+~").partition("=")[0] for override in list_overrides()]
