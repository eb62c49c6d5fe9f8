"""Files that Hydra writes itself: multirun.yaml of a sweep, and the directory hydra.output_subdir of a job."""

from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from firstlight.config.hydra_version import REPLACE, register_plugin
from firstlight.run.files import write_atomically
from firstlight.run.redaction import redact


class RedactedBasicSweeper(Sweeper):
    """Hydra's sweeper of a grid, which writes multirun.yaml without secrets.

    Args:
        max_batch_size: Number of jobs that are launched together. If None, all jobs.
        params: Overrides of an experiment config by key.
    """

    def __init__(self, max_batch_size: int | None, params: dict[str, str] | None = None) -> None:
        # Imported late: when Hydra looks for plugins, it executes the module again and replaces the class.
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        self.sweeper = BasicSweeper(max_batch_size, params)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Create the launcher with the config of the sweep, and keep a copy without secrets for multirun.yaml."""
        self.sweeper.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.sweeper.config = redact_unresolved(config)

    def sweep(self, arguments: list[str]) -> Any:
        """Run the jobs."""
        return self.sweeper.sweep(arguments)


def register_sweeper() -> None:
    """Make Hydra use `RedactedBasicSweeper` in place of its own sweeper."""
    target = register_plugin(RedactedBasicSweeper)
    # Imported late, as above. Processes of a sweep receive this node, and import the module of its class before they
    # look for plugins. Hydra 1.4 otherwise warns there that the name is taken.
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeperConf

    ConfigStore.instance().store("basic", BasicSweeperConf(_target_=target), "hydra/sweeper", **REPLACE)


def redact_hydra_files() -> None:
    """Mask the secrets in the files that Hydra has written for this job; by default, it writes none."""
    hydra = HydraConfig.get()
    if hydra.output_subdir is not None:
        for file in (Path(hydra.runtime.output_dir) / hydra.output_subdir).glob("*.yaml"):
            config = redact_unresolved(OmegaConf.load(file), file.stem)
            write_atomically(file, OmegaConf.to_yaml(config))


def redact_unresolved(config: Any, name: str = "") -> Any:
    """Return a config with secrets masked and interpolations unresolved.

    Args:
        config: The config.
        name: Name of the list, if the config is one.
    """
    plain: Any = OmegaConf.to_container(config, resolve=False)
    return OmegaConf.create(redact(plain) if isinstance(plain, dict) else redact({name: plain})[name])
