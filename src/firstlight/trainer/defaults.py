"""The `auto` values of configs/trainer/: they depend on the accelerator, its chip, and the kind of module."""

from typing import Any

from firstlight.config.options import AUTO, list_option_files, load_option
from firstlight.hardware.device import get_chip_defaults

# Planned steps from which compiling saves more time than it takes. See configs/trainer/cuda.yaml.
COMPILE_MIN_STEPS = 2_000
# Settings of modules that are not a `Task`: how they react to other values is unknown.
PLAIN_MODULE_DEFAULTS = {"compile": False, "channels_last": False}


def apply_trainer_defaults(trainer: dict[str, Any], accelerator: str, is_task: bool) -> None:
    """Replace `auto` values of the trainer by the values of configs/trainer/<accelerator>.yaml.

    Args:
        trainer: Settings of the trainer, changed in place.
        accelerator: "cuda", "mps" or "cpu".
        is_task: Whether the model is a `Task`.
    """
    defaults = load_option("trainer", accelerator) if accelerator in list_option_files("trainer") else {}
    min_steps = 0 if trainer.get("compile") is True else COMPILE_MIN_STEPS
    defaults |= {"accelerator": accelerator, "strategy": AUTO, "compile_min_steps": min_steps}
    chip_defaults = get_chip_defaults(accelerator) if is_task else {"precision": "32-true"}
    defaults |= {key: value for key, value in chip_defaults.items() if defaults.get(key) == AUTO}
    defaults |= {} if is_task else PLAIN_MODULE_DEFAULTS
    trainer |= {key: defaults[key] for key, value in trainer.items() if value == AUTO and key in defaults}
