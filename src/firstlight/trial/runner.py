"""Run a few training steps of a copy of the model, to compare trainer settings or batch sizes."""

import contextlib
import copy
import io
import warnings
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, seed_everything
from lightning.pytorch.loggers.logger import DummyLogger
from omegaconf import OmegaConf
from torch.utils._pytree import tree_map_only

from firstlight.build import Settings, build, resolve_module_settings
from firstlight.config.instantiate import instantiate, instantiate_entries
from firstlight.config.switches import find_active, get_accumulated_batches
from firstlight.data.batch import list_shapes
from firstlight.data.datamodule import LabeledDataModule
from firstlight.hardware.device import release_memory
from firstlight.model.load import build_datamodule
from firstlight.mps.sample_batch import load_plain_batch, shallow_copy_datamodule
from firstlight.run.errors import TrainingError
from firstlight.trial.recorders import RepeatedBatches

# Settings of the trainer without which no loop ends early, and no validation interrupts the steps of an epoch.
UNLIMITED: Settings = {"max_steps": -1, "max_time": None, "min_epochs": None, "min_steps": None, "fast_dev_run": False}
UNLIMITED |= {f"limit_{name}_batches": None for name in ("train", "val", "test", "predict")}
UNLIMITED |= {"overfit_batches": 0, "val_check_interval": None, "check_val_every_n_epoch": 1}
# A trial ends by itself, writes nothing and validates nothing.
TRIAL_SETTINGS = {"max_epochs": 1_000, "limit_val_batches": 0, "profiler": None, "compile_min_steps": 0}
TRIAL_STEPS = 100_000
FAILED_COMPILATION = "torch.compile failed"


class TrialRunner:
    """The model, the data and the settings of a training run, of which each trial trains a copy.

    Args:
        settings: Resolved config of a training run as plain values.
    """

    def __init__(self, settings: Settings) -> None:
        # Another command than `train`: nothing is recorded, and one device is used.
        # Among the callbacks of the config, only an average of the weights needs memory on the device.
        callbacks = {"ema": find_active(settings, "ema")}
        self.settings = copy.deepcopy(settings) | {"command": "tune", "callbacks": callbacks, "logger": None}
        self.settings["trainer"]["accumulate_grad_batches"] = get_accumulated_batches(settings)
        # Each trial converts its copy to its own memory format.
        plain = {**self.settings, "trainer": {**self.settings["trainer"], "channels_last": False}}
        self.model, self.data, trainer = build(OmegaConf.create(plain))
        self.device: torch.device = trainer.strategy.root_device
        self.trainer = trainer
        resolve_module_settings(self.settings, self.model)

    def load_batches(self, max_batches: int = 4) -> list[Any]:
        """Return the first training batches of one shape, so that a compiled network is compiled once."""
        if not isinstance(self.data, LabeledDataModule):
            return [load_plain_batch(copy.deepcopy(self.model), self.data, "training")[0]]
        loader = iter(shallow_copy_datamodule(self.data).train_dataloader())
        batches = [batch for _, batch in zip(range(max_batches), loader, strict=False)]
        batches = [batch for batch in batches if list_shapes(batch) == list_shapes(batches[0])]
        return tree_map_only(torch.Tensor, lambda tensor: tensor.to(self.device), batches)  # type: ignore[no-any-return]

    def rebuild_data(self, batch_size: int) -> None:
        """Build a datamodule that is not of the engine again, with another batch size."""
        settings = {**self.settings, "data": {**self.settings["data"], "batch_size": batch_size}}
        self.data = build_datamodule(settings)

    def run(
        self,
        recorder: Callback,
        batches: list[Any] | None = None,
        values: Settings | None = None,
        without_dropout: bool = False,
    ) -> None:
        """Train a copy of the model until the recorder stops it.

        Args:
            recorder: Callback that measures the steps and stops the training.
            batches: Batches to repeat. If None, the training batches of the dataloader, with its workers.
            values: Trainer settings of this trial.
            without_dropout: Whether to set the probabilities of dropout to zero.

        Raises:
            TrainingError: If the network cannot be compiled.
            Exception: Whatever the model raises, also if memory runs out.
        """
        settings = self.settings["trainer"] | UNLIMITED | TRIAL_SETTINGS | (values or {})
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", message=FAILED_COMPILATION)
            try:
                self._fit(recorder, batches, settings, without_dropout)
            finally:
                self._reset(settings)
        if failures := [str(warning.message) for warning in caught if FAILED_COMPILATION in str(warning.message)]:
            raise TrainingError(failures[0].partition(". Continuing")[0])

    def _fit(self, recorder: Callback, batches: list[Any] | None, settings: Settings, without_dropout: bool) -> None:
        model = copy.deepcopy(self.model)
        # Own callbacks of the module may stop the training or write files.
        vars(model)["configure_callbacks"] = list
        if without_dropout:
            disable_dropout(model)
        callbacks = [*instantiate_entries(self.settings["callbacks"]), recorder]
        trainer = instantiate(settings, callbacks=callbacks, logger=[DummyLogger()], default_root_dir=None)
        trainer.apply_memory_settings(model)
        owner: Any = model if self.data is None else self.data
        original, hooks = owner.train_dataloader, vars(owner)
        replaced = hooks.get("train_dataloader")
        if batches is not None:
            owner.train_dataloader = lambda: self._replace_loader(original, batches)
        seed_everything(self.settings["seed"], workers=True, verbose=False)
        try:
            trainer.fit(model, self.data)
        finally:
            hooks.pop("train_dataloader", None)
            hooks |= {"train_dataloader": replaced} if replaced is not None else {}

    def _replace_loader(self, original: Any, batches: list[Any]) -> RepeatedBatches:
        if isinstance(self.data, LabeledDataModule):
            original()  # may move the dataset to the memory of the GPU, as the training run does
        return RepeatedBatches(batches, TRIAL_STEPS)

    def _reset(self, settings: Settings) -> None:
        if settings["compile"] is not False:
            torch._dynamo.reset()
        release_memory()


def disable_dropout(model: LightningModule) -> None:
    """Set the probability of each dropout layer, and each attribute with "drop" in its name, to zero."""
    for module in model.modules():
        is_dropout = "Drop" in type(module).__name__ or type(module).__name__ == "StochasticDepth"
        names = [name for name in vars(module) if "drop" in name or (is_dropout and name == "p")]
        for name in names:
            if isinstance(getattr(module, name), float):
                setattr(module, name, 0.0)
