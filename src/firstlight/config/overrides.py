"""What the command line and the selected experiment override."""

import re

from hydra.core.hydra_config import HydraConfig

from firstlight.config.options import list_option_files


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
    if not HydraConfig.initialized():
        return []
    return [override.lstrip("+~").partition("=")[0] for override in HydraConfig.get().overrides.task]
