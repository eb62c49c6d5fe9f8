"""Base class of tasks: the training, validation and test steps of one network, for any loss and any metrics."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torchmetrics import Metric, MetricCollection

from firstlight.model.optimizer import DEFAULT_OPTIMIZER, build_optimizer, configure_from_config, should_fuse


class Task(LightningModule, ABC):
    """Train `self.network` with the optimizer of the config, and log loss and metrics with little overhead.

    A batch is a dictionary with the "inputs" of the network, the "labels" and the "ids" of the samples. A subclass
    builds `self.network`, and implements `loss` and `metrics`; `forward` calls the network by default.
    """

    # "images" or "text": the datasets that this model accepts. None: any.
    modality: ClassVar[str | None] = None
    # "classification", "multilabel" or "regression": the labels that the loss takes. None: any.
    task: ClassVar[str | None] = None
    # An nn.Module. Any, because torch's types hide the attributes of torchvision's and transformers' networks.
    network: Any

    def __init__(self) -> None:
        super().__init__()
        # `_target_` and arguments; the config groups `optimizer` and `scheduler` replace them. Plain values, because a
        # checkpoint with an object that Hydra's `_partial_` made could not be loaded with weights_only=True.
        self.optimizer_config: dict[str, Any] = dict(DEFAULT_OPTIMIZER)
        self.scheduler_config: dict[str, Any] = {}
        # Training metrics of the step that is logged next, and their sums over the steps of this epoch.
        self.step_metrics: dict[str, Any] = {}
        self.epoch_sums: dict[str, Any] = {}
        self.num_summed_steps = 0
        # One object per split, created with its first batch. Not submodules, because the weights do not include them.
        self.metrics_by_split: dict[str, Metric | MetricCollection] = {}

    @abstractmethod
    def loss(self, outputs: Any, batch: dict[str, Any]) -> Tensor:
        """Return the mean loss of a batch, a scalar.

        Args:
            outputs: Result of `forward`.
            batch: "inputs", "labels" and "ids".
        """

    @abstractmethod
    def metrics(self) -> Metric | MetricCollection:
        """Return the metrics of an evaluation split: `update` takes the outputs and the labels of a batch."""

    def prepare_for_metrics(self, outputs: Any, labels: Tensor) -> tuple[Any, Tensor]:
        """Return what the metrics take, from the outputs in float32 and the labels of a batch."""
        return outputs, labels

    def train_metrics(self, outputs: Any, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return further training metrics of a batch by name, as scalars on the device."""
        return {}

    def forward(self, inputs: Any) -> Any:
        """Return the outputs of the network.

        Args:
            inputs: The "inputs" of a batch, as the datamodule provides them.
        """
        return self.network(inputs)

    @property
    def tokenizer(self) -> Any:
        """Tokenizer of a text model; None for any other model."""
        return None

    @property
    def max_tokens(self) -> int | None:
        """Maximum length of a text in tokens; None if it is unlimited."""
        return None

    def get_load_overrides(self) -> dict[str, Any]:
        """Return the constructor arguments that replace keys of the config when a checkpoint is loaded.

        A model with pretrained weights replaces their name, so that loading its checkpoint downloads nothing.
        """
        return {}

    def prepare_for_export(self) -> dict[str, Any]:
        """Give the network the form that is exported; return the constructor arguments of a model of this form."""
        return {}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the loss of a batch, and add its training metrics to the sums of the epoch."""
        outputs = self(batch["inputs"])
        loss = self.loss(outputs, batch)
        metrics = {"loss": loss.detach(), **self.train_metrics(outputs, batch)}
        # On the device: reading the values would synchronize with it in every step.
        self.epoch_sums = {name: self.epoch_sums.get(name, 0) + value.float() for name, value in metrics.items()}
        self.num_summed_steps += 1
        step, log_every = self.trainer.global_step + 1, self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        # Lightning also steps after the last batch of an epoch.
        is_optimizer_step = (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0 or self.trainer.is_last_batch
        if is_optimizer_step and step % log_every == 0:
            groups = self.trainer.optimizers[0].param_groups
            self.step_metrics = {f"train/{name}": value for name, value in metrics.items()}
            self.step_metrics["train/lr"] = groups[0]["lr"]
            if self.optimizer_config.get("layer_decay") is not None:
                # The groups are sorted from the last layer to the first, and their ratios do not change.
                self.step_metrics["train/lr_first_layer"] = groups[-1]["lr"]
        return loss

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the metrics of the step, including those that callbacks added.

        Reading their values synchronizes with the device, so it happens after the step has been launched.
        """
        # Not self.log: three calls of it cost as much as 1.5 steps of a tiny model. BERT on an H200 reached 95 % of a
        # plain PyTorch loop with self.log, and 98 % without it.
        if self.step_metrics:
            values = {name: float(self._reduce_mean(value)) for name, value in self.step_metrics.items()}
            self.step_metrics = {}
            for logger in self.trainer.loggers:
                logger.log_metrics(values, step=self.trainer.global_step - 1)
        if self.trainer.is_last_batch:
            self._log_train_means()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Add a batch to the validation metrics."""
        self._forward_and_update_metrics("val", batch, batch_idx)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Any:
        """Add a batch to the test metrics. Return the outputs of the network in float32, for callbacks."""
        return self._forward_and_update_metrics("test", batch, batch_idx)

    def on_train_epoch_start(self) -> None:
        """Reset the sums of the previous epoch."""
        self.epoch_sums, self.num_summed_steps = {}, 0

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics of the epoch."""
        self._log_epoch_metrics("val")
        # Logged again here: a run that resumes inside validation has no training batch in this epoch.
        self._log_train_means()

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self._log_epoch_metrics("test")

    def _forward_and_update_metrics(self, split: str, batch: dict[str, Any], batch_idx: int) -> Any:
        # Copied, because metrics and callbacks keep the outputs, and a CUDA graph overwrites its own in the next batch.
        outputs, labels = self(batch["inputs"]).to(torch.float32, copy=True), batch["labels"]
        # Integer sums are wrong on MPS (torchmetrics issues 1727, 2383, 2955), so metrics run on the CPU there. In a
        # dry run, the "meta" device stands in for MPS.
        if outputs.device.type in ("mps", "meta"):
            outputs, labels = outputs.cpu(), labels.cpu()
        if split not in self.metrics_by_split:
            self.metrics_by_split[split] = self.metrics().to(outputs.device)
        metrics = self.metrics_by_split[split]
        if batch_idx == 0:
            metrics.to(outputs.device)  # An earlier trainer may have had another device.
        # On several devices, the last samples of a shard may be padding.
        num_samples = len(labels) - batch.get("num_padding", 0)
        prepared = self.prepare_for_metrics(outputs[:num_samples], labels[:num_samples])
        metrics.update(*prepared)
        return outputs

    def _reduce_mean(self, value: Any) -> Any:
        """Return the mean of a metric over all devices; a plain number is the same on each of them."""
        return self.trainer.strategy.reduce(value.clone(), reduce_op="mean") if isinstance(value, Tensor) else value

    def _log_train_means(self) -> None:
        """Provide the means over the steps of the epoch to callbacks."""
        if self.num_summed_steps:
            means = {
                f"train/{name}": self._reduce_mean(total) / self.num_summed_steps
                for name, total in self.epoch_sums.items()
            }
            self.log_dict(means, on_step=False, on_epoch=True, logger=False)

    def _log_epoch_metrics(self, split: str) -> None:
        metrics = self.metrics_by_split[split]
        values = self.finish_metrics(metrics.compute())
        self.log_dict({f"{split}/{name}": value for name, value in values.items()})
        metrics.reset()

    def finish_metrics(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the metrics that loggers take, which are scalars, from the computed metrics of a split."""
        return values

    def format_predictions(self, predictions: dict[str, Tensor]) -> list[dict[str, str]]:
        """Return a row of the table of predictions for each sample: its columns, without the ID of the sample.

        Args:
            predictions: Result of `predict_step`: "ids" and other tensors, each of shape (batch,) or (batch, columns).
        """
        values = {name: tensor for name, tensor in predictions.items() if name != "ids"}
        columns = {
            f"{name}_{index}" if tensor.ndim > 1 else name: column
            for name, tensor in values.items()
            for index, column in enumerate(tensor.flatten(1).T.tolist() if tensor.ndim > 1 else [tensor.tolist()])
        }
        return [dict(zip(columns, map(str, row), strict=True)) for row in zip(*columns.values(), strict=True)]

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        """Return the "ids" and the "outputs" of a batch."""
        return {"ids": batch["ids"], "outputs": self(batch["inputs"]).float()}

    def configure_model(self) -> None:
        """Shard the network across devices if the strategy of the trainer does so."""
        if self._device_mesh is not None:
            from firstlight.distributed.sharding import apply_fsdp

            apply_fsdp(self.network, self._device_mesh["data_parallel"], str(self.trainer.precision))

    configure_optimizers = configure_from_config

    def should_fuse_optimizer(self, default: bool) -> bool:
        """Return True if the optimizer's config, or else this default, selects a fused optimizer."""
        return should_fuse(self.optimizer_config, default)

    def build_optimizer(self, fused: bool = False) -> Optimizer:
        """Build the optimizer of all trainable weights.

        Raises:
            ConfigError: If it rejects its arguments.
        """
        return build_optimizer(self, self.optimizer_config, fused)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the sums of the training metrics of this epoch."""
        sums = {name: float(self._reduce_mean(total)) for name, total in self.epoch_sums.items()}
        checkpoint["epoch_sums"] = {"steps": self.num_summed_steps, "sums": sums}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the sums of the training metrics."""
        saved = checkpoint.get("epoch_sums", {"steps": 0, "sums": {}})
        self.epoch_sums, self.num_summed_steps = dict(saved["sums"]), saved["steps"]


def get_network(model: LightningModule) -> Any:
    """Return the network of a `Task`; of any other module, the module itself."""
    return model.network if isinstance(model, Task) else model
