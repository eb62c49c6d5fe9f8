"""The overrides of a command, as they were given, and their comparison between runs."""

from typing import Any


def list_overrides(hydra: Any = None) -> list[str]:
    """Return the command line's overrides, with their interpolations unresolved.

    Args:
        hydra: Hydra's own section of a config. If None, that of the running job; without one, there are no overrides.
    """
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    if hydra is None:
        if not HydraConfig.initialized():
            return []
        hydra = HydraConfig.get()
    overrides: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    return [str(override) for override in overrides]


def find_varying_overrides(runs: list[dict[str, str]]) -> list[str]:
    """Return the keys whose override differs between runs.

    Args:
        runs: Overrides of each run by key.
    """
    keys = dict.fromkeys(key for overrides in runs for key in overrides)
    return [key for key in keys if len({overrides.get(key) for overrides in runs}) > 1]
