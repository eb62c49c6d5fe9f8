"""A step of training and one of evaluation on torch's `meta` device: shapes without numbers."""

import copy
from collections import Counter
from typing import Any

import lightning.pytorch
import torch
from lightning.pytorch.plugins.precision import HalfPrecision
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_leaves, tree_map_with_path

from firstlight.data.datamodule import ClassificationDataModule
from firstlight.data.text import TextDataModule
from firstlight.model.classifier import Classifier
from firstlight.model.flops import META_DEVICE, copy_to_meta
from firstlight.mps.dispatch import mps_autocast
from firstlight.mps.findings import DryRunReport
from firstlight.mps.memory import MemoryEstimate
from firstlight.mps.recorder import OperatorRecorder
from firstlight.mps.rules import Finding, get_mps_operator_support
from firstlight.trainer.trainer import Trainer

# Samples that are read: shapes of larger batches follow. A prime, which other dimensions rarely are.
NUM_SAMPLES = 7


class DryRunStep:
    """A copy of the model on `meta`, with what a step needs around it."""

    def __init__(
        self, model: Classifier, data: ClassificationDataModule, trainer: Trainer, precision: str, deterministic: bool
    ) -> None:
        """Copy the structure of a model to `meta`, and read a batch of each kind."""
        self.batch_size = data.batch_size
        self.clip = trainer.gradient_clip_val
        self.fused = model.should_fuse_optimizer(trainer.fused_optimizer)
        self.model = copy_to_meta_without_logging(model)
        self.trainer = make_stub_trainer(trainer)
        if precision.endswith("-true") and precision != "32-true":
            self.trainer.strategy.precision_plugin = HalfPrecision(precision)  # type: ignore[arg-type]
        self.plugin = self.trainer.precision_plugin
        self.batches = {
            "training": load_sample_batch(data, training=True),
            "evaluation": load_sample_batch(data, training=False),
        }
        self.recorder = OperatorRecorder(self.model, deterministic)
        self.trainer.strategy.connect(self.model)
        self.trainer._data_connector.attach_data(self.model, datamodule=shallow_copy_datamodule(data))
        self.trainer.training = True
        self.plugin.convert_module(self.model)

    def measure(self, report: DryRunReport) -> None:
        """Train two steps and evaluate two, and write what they took into a report."""
        recorder, size = self.recorder, self.batch_size
        for each in [*self.model.parameters(), *self.model.buffers()]:
            recorder.track(each, "weights")
        self.trainer.strategy.setup_optimizers(self.trainer)
        # What the first step leaves behind: gradients, which live through the next forward pass, and optimizer state.
        for each in filter(lambda weight: weight.requires_grad, self.model.parameters()):
            # torch's own annotation is missing.
            each.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                lambda weight: recorder.track(weight.grad, "gradients")
            )
            each.grad = torch.empty_like(each)
            recorder.track(each.grad, "gradients")
        step_peak = self.run_optimizer_step()
        peak = self.run_training_step(size)
        report.operators["training"] = Counter(recorder.operators)
        # A second size for the slope; what it breaks is no fault of this training.
        recorder.is_recording = False
        slope = (sum_bytes(self.run_training_step(2 * size)) - sum_bytes(peak)) / size
        recorder.is_recording = True
        report.memory_estimate = MemoryEstimate(sum_bytes(peak) - slope * size, slope, sum_bytes(step_peak))
        report.peaks["training"] = max(peak, step_peak, key=sum_bytes)
        recorder.operators.clear()
        report.peaks["evaluation"] = self.run_validation_step(size)
        report.operators["evaluation"] = Counter(recorder.operators)

    def run_training_step(self, size: int) -> dict[str, int]:
        """Run forward and backward pass in Lightning's order, and return the peak by part."""
        batch = self.make_batch("training", size)
        self.recorder.reset_peak()
        with self.plugin.train_step_context(), mps_autocast():
            result: Any = self.model.training_step(batch, 0)
        loss = result["loss"] if isinstance(result, dict) else result
        self.model.zero_grad(set_to_none=True)
        (loss / self.trainer.accumulate_grad_batches).backward()
        if self.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        return self.recorder.peak

    def run_optimizer_step(self) -> dict[str, int]:
        """Step each optimizer, and return the peak by part; a fused one has no temporaries."""
        self.recorder.reset_peak()
        for optimizer in self.trainer.strategy.optimizers:
            optimizer.step()
            for each in optimizer.state.values():
                for tensor in each.values():
                    if isinstance(tensor, Tensor) and tensor.is_meta:
                        self.recorder.track(tensor, "optimizer state")
            # On `meta` the step is not fused; on the device it is this operator.
            name = f"aten::_fused_{type(optimizer).__name__.lower()}_"
            if self.fused and not get_mps_operator_support().get(name.removeprefix("aten::"), False):
                self.recorder.add_finding(Finding("fault", f"{name} has no MPS kernel: set optimizer.fused=false"))
        return dict(self.recorder.bytes) if self.fused else self.recorder.peak

    def run_validation_step(self, size: int) -> dict[str, int]:
        """Run two validation steps of a model alone, and return the peak by part."""
        self.model.zero_grad(set_to_none=True)
        for optimizer in self.trainer.strategy.optimizers:
            optimizer.state.clear()
        self.model.eval()
        self.trainer.validating = True
        self.recorder.reset_peak()
        with torch.no_grad(), self.plugin.val_step_context(), mps_autocast():
            for _ in range(2):
                self.model.validation_step(self.make_batch("evaluation", size), 0)
        return self.recorder.peak

    def make_batch(self, kind: str, size: int) -> Any:
        """Return a batch of a size on the device, as Lightning would hand it to a step."""

        def moved(path: Any, value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            if value.dtype in (torch.float64, torch.complex128):
                where = f"batch{keystr(path)} of {kind}"
                self.recorder.add_finding(
                    Finding("fault", f"{value.dtype} does not fit MPS: cast it in the data set", where)
                )
            shape = (size, *value.shape[1:]) if value.dim() and len(value) == length else value.shape
            result = torch.empty(shape, dtype=value.dtype, device=META_DEVICE)
            self.recorder.track(result, "inputs")
            return result

        read, length = self.batches[kind]
        batch = self.plugin.convert_input(read)
        batch = tree_map_with_path(moved, self.model._on_before_batch_transfer(batch))
        batch = self.model._call_batch_hook("on_after_batch_transfer", batch, 0)
        for each in tree_leaves(batch):
            if isinstance(each, Tensor) and each.is_meta:
                self.recorder.track(each, "inputs")
        return batch


def sum_bytes(parts: dict[str, int]) -> int:
    """Return the bytes of all parts."""
    return sum(parts.values())


def copy_to_meta_without_logging(model: Classifier) -> Classifier:
    """Return a copy of a model whose weights have shapes only, and which logs nothing."""
    twin = copy_to_meta(model)
    # A fused step refuses `meta`; the results of others have the same shapes.
    twin.optimizer_settings = {name: value for name, value in twin.optimizer_settings.items() if name != "fused"}
    twin.log = twin.log_dict = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    return twin


def make_stub_trainer(trainer: Trainer) -> lightning.pytorch.Trainer:
    """Return a trainer on the CPU with the settings that a step may ask for."""
    return lightning.pytorch.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=trainer.max_epochs,
        max_steps=trainer.max_steps,
        limit_train_batches=trainer.limit_train_batches,
        overfit_batches=trainer.overfit_batches,  # type: ignore[attr-defined]
        accumulate_grad_batches=trainer.accumulate_grad_batches,
        log_every_n_steps=trainer.log_every_n_steps,  # type: ignore[attr-defined]
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def shallow_copy_datamodule(data: ClassificationDataModule) -> ClassificationDataModule:
    """Return a data set whose loaders and trainer can be changed without changing the given one."""
    twin = copy.copy(data)
    twin.num_workers = 0
    twin.datasets = dict(data.datasets)
    return twin


def load_sample_batch(data: ClassificationDataModule, training: bool) -> tuple[Any, int]:
    """Return a small batch of the largest shape, and how many samples it holds."""
    twin = shallow_copy_datamodule(data)
    name = "train" if training else "val"
    twin.batch_size = min(NUM_SAMPLES, len(twin.datasets[name]))  # type: ignore[arg-type]
    if isinstance(data, TextDataModule):
        twin.datasets[name] = copy.copy(twin.datasets[name])
        twin.datasets[name].pad_to_multiple_of = data.max_length  # type: ignore[attr-defined]
    loader = twin.train_dataloader() if training else twin.val_dataloader()
    return next(iter(loader)), twin.batch_size
