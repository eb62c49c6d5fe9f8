"""What every classifier does in a step, whatever its network."""

import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from firstlight.config.instantiate import call_class, locate
from firstlight.model.metrics import ClassificationMetrics

Settings = dict[str, Any]

AVERAGED_METRICS = ("train/loss", "train/accuracy")

# The optimizers whose fused kernels CUDA and MPS both have (torch 2.15).
FUSED_OPTIMIZERS = (SGD, Adam, AdamW)


class Classifier(LightningModule, ABC):
    """Map inputs to one logit per class, and learn by cross-entropy.

    A final class says what it reads ("images" or "text"), builds `network` and fills in `forward`.

    Args:
        class_names: name of each class, in the order of the logits.
        label_smoothing: share of the target spread over all classes, 0 to 1 (Szegedy et al. 2016, section 7).
        optimizer: `_target_`, the path of a torch.optim class, and its arguments.
        scheduler: `_target_`, the path of a schedule's class, its arguments, `interval` and `monitor`.

    Raises:
        ValueError: there are fewer than two classes.
    """

    modality: ClassVar[str]
    # An nn.Module; torch's own types hide what torchvision and transformers put inside.
    network: Any

    def __init__(
        self, class_names: list[str], label_smoothing: float, optimizer: Settings | None, scheduler: Settings | None
    ) -> None:
        super().__init__()
        if len(class_names) < 2:
            raise ValueError(f"A classifier tells two classes or more apart, but the data has {class_names}")
        self.class_names = class_names
        self.label_smoothing = label_smoothing
        # Plain values, built in configure_optimizers: an object made by Hydra's `_partial_` could not be loaded from a
        # checkpoint with weights_only=True, and Hydra 1.4 refuses to pickle it.
        self.optimizer_settings = dict(optimizer or {"_target_": "torch.optim.AdamW", "lr": 1e-3})
        self.scheduler_settings = dict(scheduler or {})
        # Figures of the step that is logged next, and those logged in this epoch.
        self.step_metrics: dict[str, Any] = {}
        self.epoch_log: list[dict[str, float]] = []
        self.val_metrics = ClassificationMetrics(len(class_names))
        self.test_metrics = ClassificationMetrics(len(class_names))

    @abstractmethod
    def forward(self, inputs: Any) -> Tensor:
        """Return the logits, shape (batch, classes), of a batch's "inputs": as `Images` or `Text` gives them."""

    @property
    def tokenizer(self) -> Any:
        """What cuts text for this model; None for a model of images."""
        return None

    @property
    def max_tokens(self) -> int | None:
        """Longest text that the model can read, in tokens; None if there is no limit."""
        return None

    def rebuild_kwargs(self) -> Settings:
        """Return the arguments that build this network again without fetching pretrained weights."""
        return {"weights": None} if "weights" in self.hparams else {}

    def configure_model(self) -> None:
        """Spread the network over the devices, where the trainer does that."""
        if self._device_mesh is not None:
            from firstlight.distributed.strategies import apply_fsdp

            apply_fsdp(self.network, self._device_mesh["data_parallel"])

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the mean loss of a batch, a scalar; every `log_every_n_steps` optimizer steps, note its figures."""
        logits = self(batch["inputs"])
        loss = functional.cross_entropy(logits, batch["labels"], label_smoothing=self.label_smoothing)
        steps = (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0
        if steps and (self.trainer.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            correct = (logits.detach().argmax(1) == batch["labels"]).float().mean()
            rate = self.trainer.optimizers[0].param_groups[0]["lr"]
            self.step_metrics = {"train/loss": loss.detach(), "train/accuracy": correct, "train/lr": rate}
        return loss

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the figures of the step, what callbacks added to them included.

        Not by `self.log`, whose bookkeeping costs more than a small model's step; and not before the step is under way,
        since the device is waited for.
        """
        # Three calls of self.log cost as much as 1.5 steps of a tiny model. BERT on an H200 reached 95 % of a plain
        # PyTorch loop with self.log, and 98 % without it.
        if self.step_metrics:
            self.epoch_log.append({name: float(self._reduce_mean(value)) for name, value in self.step_metrics.items()})
            self.step_metrics = {}
            for logger in self.trainer.loggers:
                logger.log_metrics(self.epoch_log[-1], step=self.trainer.global_step - 1)
        if self.trainer.is_last_batch:
            self._log_train_means()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Add a batch to the validation scores."""
        self._update_metrics(self.val_metrics, batch)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Add a batch to the test scores; return its logits to the callbacks, shape (batch, classes)."""
        return self._update_metrics(self.test_metrics, batch)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Return the "ids" of a batch and the "probabilities", shape (batch, classes)."""
        return {"ids": batch["ids"], "probabilities": self(batch["inputs"]).float().softmax(1)}

    def on_train_epoch_start(self) -> None:
        """Begin the means of an epoch."""
        self.epoch_log = []

    def on_validation_epoch_end(self) -> None:
        """Log the validation scores of the epoch."""
        self._log_epoch_metrics("val", self.val_metrics)
        # Once more: a run that goes on inside a validation has no training batch in this epoch.
        self._log_train_means()

    def on_test_epoch_end(self) -> None:
        """Log the test scores."""
        self._log_epoch_metrics("test", self.test_metrics)

    def _update_metrics(self, scores: ClassificationMetrics, batch: dict[str, Any]) -> Tensor:
        logits, labels = self(batch["inputs"]).float(), batch["labels"]
        # Sums of integers came out wrong on MPS (torchmetrics' issues 1727, 2383, 2955); "meta" stands for it in a dry
        # run.
        if logits.device.type in ("mps", "meta"):
            logits, labels = logits.cpu(), labels.cpu()
            scores.cpu()
        scores.update(logits, labels)
        return logits

    def _reduce_mean(self, value: Any) -> Any:
        """Return the mean of a figure over the devices; a plain number is the same on all."""
        return self.trainer.strategy.reduce(value.clone(), reduce_op="mean") if isinstance(value, Tensor) else value

    def _log_train_means(self) -> None:
        """Give callbacks the means of the epoch, over the steps that were logged."""
        if self.epoch_log:
            means = {
                name: sum(each[name] for each in self.epoch_log) / len(self.epoch_log) for name in AVERAGED_METRICS
            }
            self.log_dict(means, on_step=False, on_epoch=True, logger=False)

    def _log_epoch_metrics(self, split: str, scores: ClassificationMetrics) -> None:
        values = scores.compute()
        # A matrix is no curve: the confusion-matrix callback draws it.
        self.confusion_matrix = values.pop("confusion_matrix")
        self.log_dict({f"{split}/{name}": value for name, value in values.items()})
        scores.reset()

    def configure_optimizers(self) -> Any:
        """Build optimizer and schedule from their settings.

        Raises:
            ValueError: one of them refuses its settings, or the schedule needs an end that the training has not.
        """
        # Lightning's own Trainer has no such setting.
        optimizer = self.build_optimizer(
            fused=self.should_fuse_optimizer(getattr(self.trainer, "fused_optimizer", False))
        )
        if self.trainer.gradient_clip_val:
            # A fused step could undo the loss scaling by itself, so Lightning 2.6 refuses to clip before it. Without
            # that offer the scaling is undone first, and the clipped gradients reach the same fused step.
            optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        settings = dict(self.scheduler_settings)
        if not settings:
            return optimizer
        interval, monitor = settings.pop("interval", "step"), settings.pop("monitor", None)
        schedule = locate(settings.pop("_target_"))
        steps = self.trainer.estimated_stepping_batches
        total = steps if interval == "step" else self.trainer.max_epochs
        # What is known only now, by the names that torch's schedules use.
        known: Settings = {"total_steps": total, "T_max": total, "max_lr": self.optimizer_settings.get("lr")}
        accepted = inspect.signature(schedule).parameters
        known = {name: value for name, value in known.items() if name in accepted and settings.get(name) is None}
        if total in (-1, None, float("inf")) and known.keys() & {"total_steps", "T_max"}:
            raise ValueError(
                f"{schedule.__name__} needs to know the end, but trainer.max_epochs={self.trainer.max_epochs}: give a "
                "number of epochs, trainer.max_steps, or scheduler=constant"
            )
        scheduler: LRScheduler = call_class(schedule, optimizer, **{**settings, **known})
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": interval, "monitor": monitor},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the figures of the epoch so far."""
        checkpoint["epoch_log"] = self.epoch_log

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a resumed run stretch its schedule to a new end."""
        self.epoch_log = checkpoint.get("epoch_log", [])
        for state in checkpoint.get("lr_schedulers", []):
            for name in ("total_steps", "T_max", "_schedule_phases"):
                state.pop(name, None)

    def should_fuse_optimizer(self, offered: bool) -> bool:
        """Say whether one kernel updates all weights: as the settings say, else as the trainer offers."""
        settings = self.optimizer_settings
        able = issubclass(locate(settings["_target_"]), FUSED_OPTIMIZERS) and not settings.get("foreach")
        return bool(settings.get("fused", offered and able))

    def build_optimizer(self, fused: bool = False) -> Optimizer:
        """Build the optimizer from its settings; weight decay spares biases and norms.

        Raises:
            ValueError: it refuses its settings.
        """
        settings = dict(self.optimizer_settings)
        optimizer = locate(settings.pop("_target_"))
        if fused:
            settings["fused"] = True
        decay = settings.pop("weight_decay", 0.0)
        weights = [each for each in self.parameters() if each.requires_grad]
        groups = [
            {"params": [each for each in weights if each.ndim > 1], "weight_decay": decay},
            {"params": [each for each in weights if each.ndim <= 1], "weight_decay": 0.0},
        ]
        made: Optimizer = call_class(optimizer, [group for group in groups if group["params"]], **settings)
        return made


def freeze_first(parts: list[nn.Module], count: int) -> None:
    """Keep the first parts of a network as they are: no gradients, and batch statistics and dropout off.

    Raises:
        ValueError: there are not so many parts.
    """
    if not 0 <= count <= len(parts):
        raise ValueError(f"model.freeze_layers is 0 to {len(parts)} here, but it is {count}")
    for module in parts[:count]:
        module.requires_grad_(False)
        # Lightning keeps each module's mode, so eval() outlives the start of training.
        module.eval()
