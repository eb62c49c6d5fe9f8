"""Start a training run that ends before its first step, on the CPU: all hooks that fetch or compute files run."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig, OmegaConf

from firstlight.build import build
from firstlight.config.options import AUTO
from firstlight.data.text import TextDataModule
from firstlight.run.files import to_plain_dict
from firstlight.trainer.loops import find_missing_hooks

# The machine that prepares may have no accelerator, and other cores and nodes than the one that trains.
CPU_SETTINGS = {"accelerator": "cpu", "precision": "32-true", "compile": False, "deterministic": None, "profiler": None}
CPU_SETTINGS |= {"channels_last": False}


class StopBeforeFirstStep(Callback):
    """Skip the training loop, after model and data are set up and the optimizers are configured."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the number of batches to 0. Set earlier, a schedule would be planned for no steps."""
        trainer.limit_train_batches = 0


def run_hooks(cfg: DictConfig) -> Path | None:
    """Build model, data and trainer, and run the hooks up to the first training step and the first test step.

    Args:
        cfg: Config of a training run. Its callbacks and loggers are left out.

    Returns:
        The directory of the token cache if the data is a text dataset of the engine.

    Raises:
        UserError: If a training run with this config would raise it before its first step.
    """
    settings: dict[str, Any] = to_plain_dict(cfg)
    settings |= {"callbacks": {}, "logger": None}
    settings["trainer"] |= CPU_SETTINGS
    if (settings["data"] or {}).get("batch_size") == AUTO:
        settings["data"]["batch_size"] = 1  # no batch is trained
    model, data, trainer = build(OmegaConf.create(settings))
    trainer.callbacks.append(StopBeforeFirstStep())  # type: ignore[attr-defined]
    trainer.fit(model, data)
    if settings["test"] and not find_missing_hooks(model, data, "test"):
        trainer.limit_test_batches = 0
        trainer.test(model, data, verbose=False)
    return data.tokens_dir if isinstance(data, TextDataModule) else None
