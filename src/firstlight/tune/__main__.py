"""Find the fastest trainer settings of this machine:  python -m firstlight.tune model=resnet50 minutes=2"""

from typing import Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config
from firstlight.run.errors import ConfigError, invalid_value


@command("tune")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Time trainer settings, print the results, and write the fastest correct ones to the file that trainer=auto reads.

    Returns:
        The path of the file, None if it cannot be written, and its entry.

    Raises:
        ConfigError: If the config is invalid, or leaves nothing to choose.
        HardwareError: If this machine lacks the accelerator.
    """
    validate_config(cfg)
    if isinstance(cfg.minutes, bool) or not isinstance(cfg.minutes, int | float) or cfg.minutes <= 0:
        raise ConfigError(invalid_value("minutes", cfg.minutes, "a positive number", "Use e.g. minutes=2."))
    # Imported here so that configuration errors are reported before torch is imported.
    from firstlight.tune.session import tune

    return tune(cfg)


if __name__ == "__main__":
    main()
