"""Differences between Hydra 1.3 and 1.4. Inline the values for 1.4 once pyproject.toml requires Hydra 1.4."""

from typing import Any

from hydra import __version__
from hydra.core.plugins import Plugins
from hydra.plugins.plugin import Plugin

IS_HYDRA_1_3 = __version__.startswith("1.3.")
# Hydra 1.3 assumes the defaults of 1.1 without it. Hydra 1.4 deprecates it.
VERSION_BASE: dict[str, Any] = {"version_base": "1.3"} if IS_HYDRA_1_3 else {}
# `ConfigStore.store` of Hydra 1.3 always replaces a config of the same name. Hydra 1.4 warns without this argument.
REPLACE: dict[str, Any] = {} if IS_HYDRA_1_3 else {"replace": True}
# The overrides of a sweep job as a directory name: a key in Hydra 1.3, which Hydra 1.4 replaces with a resolver.
OVERRIDE_DIRNAME = "${hydra.job.override_dirname}" if IS_HYDRA_1_3 else "${hydra_override_dirname:}"


def register_plugin(plugin: type[Plugin]) -> str:
    """Register a launcher or sweeper with Hydra, and return the `_target_` that selects it.

    Hydra 1.3 accepts only plugins from the package hydra_plugins, by any name. Hydra 1.4 accepts plugins from any
    package, by their own name only.
    """
    if not IS_HYDRA_1_3:
        Plugins.instance().register(plugin)
        return f"{plugin.__module__}.{plugin.__qualname__}"
    target = f"hydra_plugins.firstlight.{plugin.__qualname__}"
    Plugins.instance().class_name_to_class[target] = plugin
    return target
