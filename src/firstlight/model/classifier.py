"""Base class of all classifiers: the training, validation, test and prediction steps, whatever the network."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from firstlight.model.metrics import ClassificationMetrics
from firstlight.model.optimizer import build_lr_scheduler, build_optimizer, should_fuse
from firstlight.run.errors import ConfigError, DataError, invalid_value

AVERAGED_METRICS = ("train/loss", "train/accuracy")


class Classifier(LightningModule, ABC):
    """Map inputs to one logit per class. The loss is the cross-entropy.

    A subclass sets `modality`, builds `self.network` and implements `forward`.

    Args:
        class_names: Name of each class, in the order of the logits.
        label_smoothing: Fraction of the target that is spread evenly over all classes, 0 to 1
            (Szegedy et al. 2016, section 7).
        optimizer: `_target_`, the import path of a torch.optim class, and its arguments. If None, AdamW with lr 1e-3.
        scheduler: `_target_`, the import path of an LR scheduler class, its arguments, `interval` and `monitor`.
            If None, the learning rate is constant.

    Raises:
        DataError: If there are fewer than two classes.
    """

    # "images" or "text": the datasets that this model accepts.
    modality: ClassVar[str]
    # An nn.Module. Any, because torch's types hide the attributes of torchvision's and transformers' networks.
    network: Any

    def __init__(
        self,
        class_names: list[str],
        label_smoothing: float,
        optimizer: dict[str, Any] | None,
        scheduler: dict[str, Any] | None,
    ) -> None:
        super().__init__()
        if len(class_names) < 2:
            raise DataError(
                f"A classifier requires at least two classes, got {class_names}. Add samples of other classes."
            )
        self.class_names = class_names
        self.label_smoothing = label_smoothing
        # Plain values, instantiated in configure_optimizers: a checkpoint with an object that Hydra's `_partial_` made
        # could not be loaded with weights_only=True, and Hydra 1.4 cannot pickle it.
        self.optimizer_config = dict(optimizer or {"_target_": "torch.optim.AdamW", "lr": 1e-3})
        self.scheduler_config = dict(scheduler or {})
        # Training metrics of the step that is logged next, and of the steps logged in this epoch.
        self.step_metrics: dict[str, Any] = {}
        self.epoch_log: list[dict[str, float]] = []
        self.val_metrics = ClassificationMetrics(len(class_names))
        self.test_metrics = ClassificationMetrics(len(class_names))

    @abstractmethod
    def forward(self, inputs: Any) -> Tensor:
        """Return logits of shape (batch, classes).

        Args:
            inputs: The "inputs" of a batch, as `ImageDataModule` or `TextDataModule` provides them.
        """

    @property
    def tokenizer(self) -> Any:
        """Tokenizer of a text model; None for an image model."""
        return None

    @property
    def max_tokens(self) -> int | None:
        """Maximum length of a text in tokens; None if it is unlimited."""
        return None

    def get_load_overrides(self) -> dict[str, Any]:
        """Return the arguments that replace saved ones, so that a checkpoint loads without pretrained weights."""
        return {"weights": None} if "weights" in self.hparams else {}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the mean cross-entropy of a batch, a scalar.

        Every `log_every_n_steps` optimizer steps, also store the training metrics of the step.
        """
        logits = self(batch["inputs"])
        loss = functional.cross_entropy(logits, batch["labels"], label_smoothing=self.label_smoothing)
        step, log_every = self.trainer.global_step + 1, self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        is_optimizer_step = (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0
        if is_optimizer_step and step % log_every == 0:
            accuracy = (logits.detach().argmax(1) == batch["labels"]).float().mean()
            lr = self.trainer.optimizers[0].param_groups[0]["lr"]
            self.step_metrics = {"train/loss": loss.detach(), "train/accuracy": accuracy, "train/lr": lr}
        return loss

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the metrics of the step, including those that callbacks added.

        Reading their values synchronizes with the device, so it happens after the step has been launched.
        """
        # Not self.log: three calls of it cost as much as 1.5 steps of a tiny model. BERT on an H200 reached 95 % of a
        # plain PyTorch loop with self.log, and 98 % without it.
        if self.step_metrics:
            self.epoch_log.append({name: float(self._reduce_mean(value)) for name, value in self.step_metrics.items()})
            self.step_metrics = {}
            for logger in self.trainer.loggers:
                logger.log_metrics(self.epoch_log[-1], step=self.trainer.global_step - 1)
        if self.trainer.is_last_batch:
            self._log_train_means()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Add a batch to the validation metrics."""
        self._forward_and_update_metrics(self.val_metrics, batch)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Add a batch to the test metrics. Return its logits, shape (batch, classes), for callbacks."""
        return self._forward_and_update_metrics(self.test_metrics, batch)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Return the "ids" of a batch and the "probabilities", shape (batch, classes)."""
        return {"ids": batch["ids"], "probabilities": self(batch["inputs"]).float().softmax(1)}

    def on_train_epoch_start(self) -> None:
        """Clear the training metrics of the previous epoch."""
        self.epoch_log = []

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics of the epoch."""
        self._log_epoch_metrics("val", self.val_metrics)
        # Logged again here: a run that resumes inside validation has no training batch in this epoch.
        self._log_train_means()

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self._log_epoch_metrics("test", self.test_metrics)

    def _forward_and_update_metrics(self, metrics: ClassificationMetrics, batch: dict[str, Any]) -> Tensor:
        logits, labels = self(batch["inputs"]).float(), batch["labels"]
        # Integer sums are wrong on MPS (torchmetrics issues 1727, 2383, 2955), so metrics run on the CPU there. In a
        # dry run, the "meta" device stands in for MPS.
        if logits.device.type in ("mps", "meta"):
            logits, labels = logits.cpu(), labels.cpu()
            metrics.cpu()
        metrics.update(logits, labels)
        return logits

    def _reduce_mean(self, value: Any) -> Any:
        """Return the mean of a metric over all devices; a plain number is the same on each of them."""
        return self.trainer.strategy.reduce(value.clone(), reduce_op="mean") if isinstance(value, Tensor) else value

    def _log_train_means(self) -> None:
        """Provide the means over the logged steps of the epoch to callbacks."""
        if self.epoch_log:
            num_logged = len(self.epoch_log)
            means = {name: sum(step[name] for step in self.epoch_log) / num_logged for name in AVERAGED_METRICS}
            self.log_dict(means, on_step=False, on_epoch=True, logger=False)

    def _log_epoch_metrics(self, split: str, metrics: ClassificationMetrics) -> None:
        values = metrics.compute()
        # Loggers take scalars only; the ConfusionMatrixPlot callback plots the matrix.
        self.confusion_matrix = values.pop("confusion_matrix")
        self.log_dict({f"{split}/{name}": value for name, value in values.items()})
        metrics.reset()

    def configure_model(self) -> None:
        """Shard the network across devices if the strategy of the trainer does so."""
        if self._device_mesh is not None:
            from firstlight.distributed.strategies import apply_fsdp

            apply_fsdp(self.network, self._device_mesh["data_parallel"])

    def configure_optimizers(self) -> Any:
        """Build the optimizer and the LR scheduler.

        Raises:
            ConfigError: If one of them rejects its arguments, or the scheduler requires a finite run.
        """
        # Lightning's own Trainer has no `fused_optimizer`.
        default = getattr(self.trainer, "fused_optimizer", False)
        optimizer = self.build_optimizer(fused=self.should_fuse_optimizer(default))
        if self.trainer.gradient_clip_val:
            # A fused step can unscale the gradients itself, so Lightning 2.6 rejects gradient clipping with it. Without
            # this flag, the gradients are unscaled and clipped first, and then reach the same fused step.
            optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        if not self.scheduler_config:
            return optimizer
        peak_lr = self.optimizer_config.get("lr")
        scheduler = build_lr_scheduler(optimizer, self.scheduler_config, self.trainer, peak_lr)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def should_fuse_optimizer(self, default: bool) -> bool:
        """Return True if the optimizer's config, or else this default, selects a fused optimizer."""
        return should_fuse(self.optimizer_config, default)

    def build_optimizer(self, fused: bool = False) -> Optimizer:
        """Build the optimizer of all trainable weights.

        Raises:
            ConfigError: If it rejects its arguments.
        """
        return build_optimizer(self.parameters(), self.optimizer_config, fused)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the training metrics of the epoch so far."""
        checkpoint["epoch_log"] = self.epoch_log

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the training metrics of the epoch, and fit the LR schedule to the length of the resumed run."""
        self.epoch_log = checkpoint.get("epoch_log", [])
        for state in checkpoint.get("lr_schedulers", []):
            for name in ("total_steps", "T_max", "_schedule_phases"):
                state.pop(name, None)


def freeze_first(modules: list[nn.Module], count: int) -> None:
    """Freeze the first modules of a network: disable gradients and switch to eval mode.

    In eval mode, BatchNorm keeps its running statistics and dropout is off.

    Args:
        modules: Modules of the network, from input to output.
        count: Number of modules to freeze.

    Raises:
        ConfigError: If `count` exceeds the number of modules.
    """
    if not 0 <= count <= len(modules):
        expected, fix = f"an integer from 0 to {len(modules)}", f"Use e.g. model.freeze_layers={len(modules)}."
        raise ConfigError(invalid_value("model.freeze_layers", count, expected, fix))
    for module in modules[:count]:
        module.requires_grad_(False)
        # Lightning restores the mode of each module, so eval() outlives the start of training.
        module.eval()
