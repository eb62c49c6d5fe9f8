"""Compile the network in place with `torch.compile`, where this saves time and works."""

import warnings
from contextlib import ExitStack
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.utils._pytree import tree_leaves

from firstlight.distributed.repeated_blocks import find_repeated_blocks
from firstlight.model.task import Task
from firstlight.run.errors import describe_error
from firstlight.run.progress import show_progress
from firstlight.trainer.steps import list_accumulated_batches

# Maximum number of shapes of full batches to compile; texts come in a few lengths. Further shapes run in eager mode.
MAX_SHAPES = 8


class TorchCompile(Callback):
    """Compile `network` in place at its first batch, so that the keys of checkpoints do not depend on compilation.

    Each new shape is warmed up first; if compilation fails, a warning is issued and training continues in eager mode.
    Batches smaller than the first one, such as the last of an epoch, run in eager mode, because compiling for them
    takes longer than running them.

    A network that FSDP shards is compiled without a warm-up and without CUDA graphs: gathered parameters have other
    addresses in each step. If its compilation fails, torch logs the error and runs the part that failed in eager mode.

    Args:
        mode: Mode of `torch.compile`: "default", "reduce-overhead" (CUDA graphs) or "max-autotune" (minutes of trials).
        min_steps: Planned steps below which the network runs in eager mode.
    """

    def __init__(self, mode: str, min_steps: int) -> None:
        self.mode = mode
        self.min_steps = min_steps
        self.active: bool | None = None
        self.batch_size = 0
        self.compiled_shapes: set[Any] = set()
        self.is_sharded = False
        # Shows the progress of the first step of a module that compiles in it.
        self.first_step = ExitStack()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Select compiled or eager mode for the batch."""
        self._select_compiled_or_eager(trainer, pl_module, batch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop showing the progress of the first step."""
        self.first_step.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop showing the progress of the first step, which failed."""
        self.first_step.close()

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Select compiled or eager mode for the batch; a validation without training is not compiled."""
        if self.active:
            self._select_compiled_or_eager(trainer, pl_module, batch)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Select compiled or eager mode for the batch."""
        self._select_compiled_or_eager(trainer, pl_module, batch)

    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Select compiled or eager mode for the batch."""
        self._select_compiled_or_eager(trainer, pl_module, batch)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the default compiler stance, which is global to the process."""
        torch.compiler.set_stance("default")
        if self.is_sharded:
            torch._dynamo.config.suppress_errors = False

    def _compile_if_worthwhile(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
        if max(list_accumulated_batches(trainer)) > 1 and self.mode == "reduce-overhead":
            self.mode = "default"  # a CUDA graph overwrites the gradients of the previous batch
        self.active = count_planned_steps(trainer) >= self.min_steps
        if not isinstance(pl_module, Task):
            # Its batches are unknown, so that nothing is warmed up, and a failure is an error.
            if self.active and trainer.training:
                self.first_step.enter_context(show_progress("Compiling the model in the first step"))
            for child in pl_module.children() if self.active else ():
                if child._compiled_call_impl is None:
                    child.compile(mode=self.mode)
            self.active = False
            return
        self.batch_size = len(batch["ids"])
        network: Any = pl_module.network
        self.is_sharded = isinstance(network, FSDPModule)
        if self.active and self.is_sharded:
            compile_sharded_network(network, self.mode)
        elif self.active and network._compiled_call_impl is None:
            network.compile(mode=self.mode)

    def _select_compiled_or_eager(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
        if self.active is None:
            self._compile_if_worthwhile(trainer, pl_module, batch)
        if not self.active or not isinstance(pl_module, Task):
            return
        use_compiled = len(batch["ids"]) == self.batch_size
        shapes = (trainer.training, *(tensor.shape for tensor in tree_leaves(batch["inputs"])))
        if use_compiled and shapes not in self.compiled_shapes:
            use_compiled = len(self.compiled_shapes) < MAX_SHAPES
            if use_compiled:
                self.compiled_shapes.add(shapes)
                if self.is_sharded:
                    # A warm-up would gather parameters, which all ranks have to do at once.
                    torch._dynamo.config.suppress_errors = True
                else:
                    self._try_compile(trainer, pl_module, batch)
        torch.compiler.set_stance("default" if use_compiled else "force_eager")

    def _try_compile(self, trainer: Trainer, pl_module: Task, batch: Any) -> None:
        torch.compiler.set_stance("default")
        try:
            with show_progress("Compiling the model"):
                warm_up(trainer, pl_module, batch)
        except Exception as error:  # compilation can fail in many ways
            self.active = False
            network: Any = pl_module.network
            network._compiled_call_impl = None
            warnings.warn(
                f"torch.compile failed for {type(pl_module).__name__} ({describe_error(error)}). Continuing "
                "without compilation; set trainer.compile=false to skip the attempt.",
                stacklevel=2,
            )


def compile_sharded_network(network: nn.Module, mode: str) -> None:
    """Compile what runs between two gatherings of parameters: the repeated blocks, or the network if it is one group.

    Only `forward` is compiled: the hooks that gather and shard parameters run outside of the graphs.

    Args:
        network: A network that FSDP shards.
        mode: Mode of `torch.compile`.
    """
    blocks = find_repeated_blocks(network)
    for unit in blocks if any(isinstance(block, FSDPModule) for block in blocks) else [network]:
        unit.forward = torch.compile(  # type: ignore[method-assign]
            unit.forward, mode="max-autotune-no-cudagraphs" if mode == "max-autotune" else "default"
        )


def count_planned_steps(trainer: Trainer) -> float:
    """Return the planned number of optimizer steps of a fit, or of batches of a test or prediction."""
    if trainer.training:
        return trainer.estimated_stepping_batches
    return sum(trainer.num_test_batches if trainer.testing else trainer.num_predict_batches)


def warm_up(trainer: Trainer, model: Task, batch: Any) -> None:
    """Run a batch only to compile the network; gradients, buffers and RNG states are restored afterwards.

    Args:
        trainer: Supplies the autocast context of its precision.
        model: The model; in training mode, the backward pass also runs.
        batch: The batch.

    Raises:
        Exception: If compilation fails, whatever the compiler raises.
    """
    saved_buffers = [buffer.clone() for buffer in model.buffers()]
    saved_gradients = [param.grad for param in model.parameters()]
    model.zero_grad(set_to_none=True)
    try:
        with isolate_rng(), trainer.precision_plugin.forward_context():
            outputs: Tensor = model(batch["inputs"])
            if model.training and outputs.requires_grad:
                model.loss(outputs.float(), batch).backward()  # type: ignore[no-untyped-call]
    finally:
        for param, gradient in zip(model.parameters(), saved_gradients, strict=True):
            param.grad = gradient
        with torch.no_grad():
            for buffer, saved in zip(model.buffers(), saved_buffers, strict=True):
                buffer.copy_(saved)
