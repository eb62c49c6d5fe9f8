"""Training and validation steps on torch's meta device, which computes shapes and dtypes without values."""

import copy
import inspect
from collections import Counter
from typing import Any

import lightning.pytorch
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.plugins.precision import HalfPrecision
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_leaves, tree_map_with_path

from firstlight.data.datamodule import LabeledDataModule
from firstlight.model.activation_checkpointing import recompute_within
from firstlight.model.flops import META_DEVICE, copy_to_meta
from firstlight.model.task import Task
from firstlight.mps.findings import DryRunReport
from firstlight.mps.memory import MemoryEstimate
from firstlight.mps.recorder import OperatorRecorder
from firstlight.mps.rules import Finding, get_mps_operator_support
from firstlight.mps.sample_batch import load_plain_batch, load_sample_batch, shallow_copy_datamodule
from firstlight.mps.simulation import simulate_mps_autocast
from firstlight.trainer.loops import find_missing_hooks
from firstlight.trainer.trainer import Trainer


class DryRunStep:
    """A copy of the model on the meta device, with a stub trainer, sample batches and a recorder.

    Args:
        model: Model on any device; only its structure is copied.
        data: Datamodule of which a training batch and a validation batch are read.
        trainer: Trainer whose settings apply to the step.
        precision: Lightning's name of the precision.
        deterministic: Whether nondeterministic operators are errors.
    """

    def __init__(
        self,
        model: LightningModule,
        data: LightningDataModule | None,
        trainer: Trainer,
        precision: str,
        deterministic: bool,
    ) -> None:
        # The batches of other datamodules have the size that they have.
        self.batch_size = data.batch_size if isinstance(data, LabeledDataModule) else None
        self.gradient_clip_val = trainer.gradient_clip_val
        self.is_fused = isinstance(model, Task) and model.should_fuse_optimizer(trainer.fused_optimizer)
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        self.has_average = any(isinstance(callback, WeightAveraging) for callback in callbacks)
        self.model = copy_to_meta_without_logging(model)
        self.trainer = make_stub_trainer(trainer)
        if precision.endswith("-true") and precision != "32-true":
            self.trainer.strategy.precision_plugin = HalfPrecision(precision)  # type: ignore[arg-type]
        self.precision_plugin = self.trainer.precision_plugin
        phases = ["training"] if find_missing_hooks(model, data, "validation") else ["training", "evaluation"]
        is_own = isinstance(data, LabeledDataModule)
        self.batches = {
            phase: load_sample_batch(data, phase == "training") if is_own else load_plain_batch(model, data, phase)  # type: ignore[arg-type]
            for phase in phases
        }
        self.recorder = OperatorRecorder(self.model, deterministic)
        self.trainer.strategy.connect(self.model)
        # The hooks of the datamodule read its trainer.
        self.trainer._data_connector.attach_data(
            self.model,
            datamodule=shallow_copy_datamodule(data) if is_own else copy.copy(data),  # type: ignore[arg-type]
        )
        self.trainer.training = True
        self.precision_plugin.convert_module(self.model)

    def measure(self, report: DryRunReport) -> None:
        """Run an optimizer step, two training steps and two validation steps, and add the results to a report."""
        recorder, batch_size = self.recorder, self.batch_size
        weights = [*self.model.parameters(), *self.model.buffers()]
        averages = [torch.empty_like(tensor) for tensor in weights] if self.has_average else []
        for tensor in [*weights, *averages]:
            recorder.track(tensor, "weights")
        self.trainer.strategy.setup_optimizers(self.trainer)
        # Gradients and optimizer state exist after the first step. Gradients live through the next forward pass.
        for param in filter(lambda param: param.requires_grad, self.model.parameters()):
            # torch does not annotate this method.
            param.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                lambda param: recorder.track(param.grad, "gradients")
            )
            param.grad = torch.empty_like(param)
            recorder.track(param.grad, "gradients")
        optimizer_peak = self.measure_optimizer_peak()
        peak = self.measure_training_peak(batch_size)
        report.operators["training"] = Counter(recorder.operators)
        if batch_size is not None:
            # A second batch size gives the slope. Its findings do not concern this run.
            recorder.is_recording = False
            slope = (sum_bytes(self.measure_training_peak(2 * batch_size)) - sum_bytes(peak)) / batch_size
            recorder.is_recording = True
            fixed = sum_bytes(peak) - slope * batch_size
            report.memory_estimate = MemoryEstimate(fixed, slope, sum_bytes(optimizer_peak))
        report.peaks["training"] = max(peak, optimizer_peak, key=sum_bytes)
        recorder.operators.clear()
        if "evaluation" not in self.batches:
            return
        report.peaks["evaluation"] = self.measure_validation_peak(batch_size)
        report.operators["evaluation"] = Counter(recorder.operators)

    def measure_training_peak(self, batch_size: int | None) -> dict[str, int]:
        """Run forward and backward pass in Lightning's order, and return the peak in bytes by memory category."""
        batch = self.make_meta_batch("training", batch_size)
        self.recorder.reset_peak()
        recompute = recompute_within(simulate_mps_autocast)
        with self.precision_plugin.train_step_context(), simulate_mps_autocast(), recompute:
            result: Any = self.run_step(self.model.training_step, batch)
        loss = result["loss"] if isinstance(result, dict) else result
        self.model.zero_grad(set_to_none=True)
        if isinstance(loss, Tensor) and loss.requires_grad:  # with manual optimization, the step itself goes backward
            (loss / self.trainer.accumulate_grad_batches).backward()  # type: ignore[no-untyped-call]
        if self.gradient_clip_val:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.gradient_clip_val)
        return self.recorder.peak

    def measure_optimizer_peak(self) -> dict[str, int]:
        """Step each optimizer, and return the peak in bytes by memory category.

        A fused optimizer allocates no temporary tensors.
        """
        self.recorder.reset_peak()
        for optimizer in self.trainer.strategy.optimizers:
            optimizer.step()
            for state in optimizer.state.values():
                for tensor in state.values():
                    if isinstance(tensor, Tensor) and tensor.is_meta:
                        self.recorder.track(tensor, "optimizer state")
            # The step is not fused on the meta device. On MPS, it is this operator.
            name = f"aten::_fused_{type(optimizer).__name__.lower()}_"
            if self.is_fused and not get_mps_operator_support().get(name.removeprefix("aten::"), False):
                self.recorder.add_finding(Finding("error", f"{name} has no MPS kernel", "Set optimizer.fused=false."))
        return dict(self.recorder.bytes) if self.is_fused else self.recorder.peak

    def measure_validation_peak(self, batch_size: int | None) -> dict[str, int]:
        """Run two validation steps without gradients and optimizer state.

        Returns:
            The peak in bytes by memory category.
        """
        self.model.zero_grad(set_to_none=True)
        for optimizer in self.trainer.strategy.optimizers:
            optimizer.state.clear()
        self.model.eval()
        self.trainer.validating = True
        self.recorder.reset_peak()
        with torch.no_grad(), self.precision_plugin.val_step_context(), simulate_mps_autocast():
            for _ in range(2):
                self.run_step(self.model.validation_step, self.make_meta_batch("evaluation", batch_size))
        return self.recorder.peak

    def run_step(self, step: Any, batch: Any) -> Any:
        """Call a step with the arguments that its signature has, as Lightning does."""
        arguments = {"batch_idx": 0, "dataloader_idx": 0}
        names = inspect.signature(step).parameters
        return step(batch, **{name: value for name, value in arguments.items() if name in names})

    def make_meta_batch(self, phase: str, batch_size: int | None) -> Any:
        """Return a batch on the meta device, after the hooks that Lightning calls before a step.

        Args:
            phase: "training" or "evaluation".
            batch_size: Size to which the batch dimension of the sample batch is expanded. If None, it is not.
        """

        def to_meta(path: Any, value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            if value.dtype in (torch.float64, torch.complex128):
                problem, location = f"{value.dtype} is not supported by MPS", f"batch{keystr(path)} of {phase}"
                self.recorder.add_finding(Finding("error", problem, "Cast it in the dataset.", location))
            expands = batch_size is not None and value.dim() and len(value) == sample_size
            shape = (batch_size, *value.shape[1:]) if expands else value.shape
            tensor = torch.empty(shape, dtype=value.dtype, device=META_DEVICE)
            self.recorder.track(tensor, "inputs")
            return tensor

        sample_batch, sample_size = self.batches[phase]
        batch = self.precision_plugin.convert_input(sample_batch)
        batch = self.model._on_before_batch_transfer(batch)
        if self.batch_size is None:
            batch = apply_to_collection(batch, Tensor, lambda tensor: to_meta((), tensor))  # also inside dataclasses
        else:
            batch = tree_map_with_path(to_meta, batch)
        batch = self.model._call_batch_hook("on_after_batch_transfer", batch, 0)
        for leaf in tree_leaves(batch):
            if isinstance(leaf, Tensor) and leaf.is_meta:
                self.recorder.track(leaf, "inputs")
        return batch


def sum_bytes(categories: dict[str, int]) -> int:
    """Return the bytes of all memory categories."""
    return sum(categories.values())


def copy_to_meta_without_logging(model: LightningModule) -> LightningModule:
    """Return a copy of a model on the meta device that logs nothing."""
    meta_model = copy_to_meta(model)
    # Fused optimizers reject meta tensors. Results of the other implementations have the same shapes.
    if isinstance(meta_model, Task):
        config = meta_model.optimizer_config
        meta_model.optimizer_config = {key: value for key, value in config.items() if key != "fused"}
    meta_model.log = meta_model.log_dict = lambda *_, **__: None  # type: ignore[method-assign, assignment]
    return meta_model


def make_stub_trainer(trainer: Trainer) -> lightning.pytorch.Trainer:
    """Return a trainer on the CPU with the settings that a step can read."""
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
