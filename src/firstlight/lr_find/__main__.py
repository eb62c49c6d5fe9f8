"""Find a learning rate:  python -m firstlight.lr_find model=bert optimizer=adamw"""

from typing import Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config
from firstlight.run.errors import ConfigError, invalid_value
from firstlight.run.output_path import validate_new_dir

# A slope is fitted to a fifth of the steps, and fewer than 10 losses hardly ever exceed their noise.
MIN_STEPS = 50


@command("lr_find")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Train a few steps with an increasing learning rate, write the losses, and print a suggestion.

    Returns:
        The suggested learning rate, its config key, the files, and the command that trains with it.

    Raises:
        ConfigError: If the config is invalid, or the optimizer of the model has no single learning rate.
        TrainingError: If the losses show no learning rate that trains the model.
        HardwareError: If this machine lacks the accelerator.
    """
    validate_config(cfg)
    validate_range_test(cfg)
    validate_new_dir(str(cfg.output_dir), "output_dir")
    # Imported here so that configuration errors are reported before torch is imported.
    from firstlight.lr_find.session import find_lr

    return find_lr(cfg)


def validate_range_test(cfg: DictConfig) -> None:
    """Check the learning rates and the number of steps.

    Raises:
        ConfigError: If one of them is out of range.
    """
    if not cfg.min_lr > 0:
        raise ConfigError(invalid_value("min_lr", cfg.min_lr, "a positive number", "Use e.g. min_lr=1e-8."))
    if not cfg.min_lr < cfg.max_lr:
        expected = f"a number greater than min_lr={cfg.min_lr:g}"
        raise ConfigError(invalid_value("max_lr", cfg.max_lr, expected, f"Use e.g. max_lr={10 * cfg.min_lr:g}."))
    if not isinstance(cfg.num_steps, int) or cfg.num_steps < MIN_STEPS:
        expected = f"an integer of at least {MIN_STEPS}"
        raise ConfigError(invalid_value("num_steps", cfg.num_steps, expected, "Use e.g. num_steps=100."))
    if not cfg.stop_factor > 1:
        expected, fix = "a number greater than 1", "Use e.g. stop_factor=4."
        raise ConfigError(invalid_value("stop_factor", cfg.stop_factor, expected, fix))


if __name__ == "__main__":
    main()
