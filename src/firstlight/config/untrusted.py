"""What a saved config must not state, because the run may come from a stranger."""

from typing import Any

from omegaconf import DictConfig, OmegaConf


def strip_unsafe_keys(saved: DictConfig) -> DictConfig:
    """Remove the keys of a saved config that could execute code, since the config may come from a stranger.

    These are the `hydra` section, whose callbacks Hydra instantiates, and each `trust_remote_code`.
    """
    for name in ("hydra", "defaults"):
        saved.pop(name, None)
    config: Any = OmegaConf.to_container(saved)
    return OmegaConf.create(deny_remote_code(config))


def deny_remote_code(value: Any) -> Any:
    """Return a copy of plain config values in which each `trust_remote_code`, at any depth, is False."""
    if isinstance(value, dict):
        return {name: name != "trust_remote_code" and deny_remote_code(item) for name, item in value.items()}
    return [deny_remote_code(item) for item in value] if isinstance(value, list) else value
