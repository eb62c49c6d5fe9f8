"""Compile the network in place by torch.compile, where that pays and where it works."""

import warnings
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.nn import functional
from torch.utils._pytree import tree_leaves

# Shapes of full batches that are compiled; texts come in a few lengths. Further ones run as they are.
MAX_SHAPES = 8


class TorchCompile(Callback):
    """Compile `network` at its first batch, in place: the names in a checkpoint stay the same with and without it.

    Each new shape is rehearsed first: a network that cannot be compiled is trained as it is, after a line that says so.
    A batch shorter than the first one (the last of an epoch) runs uncompiled: compiling takes longer than it.

    Args:
        mode: torch.compile's "default", "reduce-overhead" (CUDA graphs) or "max-autotune" (minutes of trials).
        min_steps: Planned steps below which the network runs in eager mode.
    """

    def __init__(self, mode: str, min_steps: int) -> None:
        self.mode = mode
        self.min_steps = min_steps
        self.active: bool | None = None
        self.samples = 0
        self.known: set[Any] = set()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Compile, rehearse, or run as it is."""
        self._select_compiled_or_eager(trainer, pl_module, batch)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Rehearse, or run as it is; a validation alone is not compiled."""
        if self.active:
            self._select_compiled_or_eager(trainer, pl_module, batch)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Compile, rehearse, or run as it is."""
        self._select_compiled_or_eager(trainer, pl_module, batch)

    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Compile, rehearse, or run as it is."""
        self._select_compiled_or_eager(trainer, pl_module, batch)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave torch as it was."""
        torch.compiler.set_stance("default")

    def _initialize(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
        if trainer.accumulate_grad_batches > 1 and self.mode == "reduce-overhead":
            self.mode = "default"  # a CUDA graph overwrites the gradients of the batch before
        self.active = count_planned_batches(trainer) >= self.min_steps
        self.samples = len(batch["ids"])
        network: Any = pl_module.network
        if self.active and network._compiled_call_impl is None:
            network.compile(mode=self.mode)

    def _select_compiled_or_eager(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
        if self.active is None:
            self._initialize(trainer, pl_module, batch)
        if not self.active:
            return
        compiled = len(batch["ids"]) == self.samples
        shape = (trainer.training, *(each.shape for each in tree_leaves(batch["inputs"])))
        if compiled and shape not in self.known:
            compiled = len(self.known) < MAX_SHAPES
            if compiled:
                self.known.add(shape)
                self._try_compile(trainer, pl_module, batch)
        torch.compiler.set_stance("default" if compiled else "force_eager")

    def _try_compile(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
        torch.compiler.set_stance("default")
        try:
            warm_up(trainer, pl_module, batch)
        except Exception as error:  # a compiler has many ways to fail
            self.active = False
            network: Any = pl_module.network
            network._compiled_call_impl = None
            reason = (str(error).strip().splitlines() or [""])[0]
            warnings.warn(
                f"torch.compile failed for {type(pl_module).__name__} ({type(error).__name__}: {reason}): it runs "
                "uncompiled; trainer.compile=false saves the attempt",
                stacklevel=2,
            )


def count_planned_batches(trainer: Trainer) -> float:
    """Return the steps that a training has planned, or the batches that a test or a prediction has."""
    if trainer.training:
        return trainer.estimated_stepping_batches
    return sum(trainer.num_test_batches if trainer.testing else trainer.num_predict_batches)


def warm_up(trainer: Trainer, model: LightningModule, batch: Any) -> None:
    """Run a batch for its compilation alone: gradients, statistics and random numbers stay as they were.

    Raises:
        Exception: whatever the compiler raises.
    """
    statistics = [each.clone() for each in model.buffers()]
    gradients = [each.grad for each in model.parameters()]
    model.zero_grad(set_to_none=True)
    try:
        with isolate_rng(), trainer.precision_plugin.forward_context():
            logits: Tensor = model(batch["inputs"])
            if model.training and logits.requires_grad:
                functional.cross_entropy(logits.float(), batch["labels"]).backward()  # type: ignore[no-untyped-call]
    finally:
        for weight, gradient in zip(model.parameters(), gradients, strict=True):
            weight.grad = gradient
        with torch.no_grad():
            for each, before in zip(model.buffers(), statistics, strict=True):
                each.copy_(before)
