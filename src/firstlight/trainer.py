"""Lightning's Trainer, with the settings people turn, and a few of ours about speed."""

import logging
import os
import platform
from contextlib import nullcontext
from typing import Any, Literal

import lightning.pytorch
import torch
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.profilers import AdvancedProfiler, PassThroughProfiler, PyTorchProfiler, SimpleProfiler

from firstlight.callbacks.compile import Compile
from firstlight.checkpoint_io import WholeCheckpoints
from firstlight.device import cores
from firstlight.parallel import STRATEGIES, num_devices, require_devices, require_processes

# Read once: an earlier job of a sweep may set another number. torch sees the cores of the machine, not the share of
# them that a container gets.
THREADS = min(torch.get_num_threads(), cores())

PROFILERS: dict[str, Any] = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}


class NoProfiler(PassThroughProfiler):
    """Measure nothing, at next to no cost: Lightning asks its profiler some 60 times in a step."""

    nothing = nullcontext()

    def profile(self, action_name: str) -> Any:
        """Return the same empty context each time."""
        return self.nothing


class Trainer(lightning.pytorch.Trainer):
    """Lightning's Trainer for one kind of accelerator, one device of it or several.

    `Trainer()` of Lightning explains its own settings; these are ours.
    """

    def __init__(
        self,
        accelerator: str = "cpu",
        devices: int | str | list[int] = 1,
        num_nodes: int = 1,
        strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true", "fsdp"] = "auto",
        scale_lr: Literal["linear", "sqrt"] | None = None,
        sync_batchnorm: bool = False,
        precision: Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"] = "32-true",
        max_epochs: int = 1,
        max_steps: int = -1,
        max_time: str | None = None,
        limit_train_batches: int | float | None = None,
        limit_val_batches: int | float | None = None,
        limit_test_batches: int | float | None = None,
        overfit_batches: int | float = 0,
        accumulate_grad_batches: int = 1,
        gradient_clip_val: float | None = None,
        check_val_every_n_epoch: int | None = 1,
        val_check_interval: int | float | None = None,
        log_every_n_steps: int = 50,
        deterministic: bool | Literal["warn"] | None = None,
        benchmark: bool | None = None,
        detect_anomaly: bool = False,
        profiler: Literal["simple", "advanced", "pytorch"] | None = None,
        channels_last: bool = False,
        compile_network: bool | int = False,
        compile_mode: Literal["default", "reduce-overhead", "max-autotune"] = "default",
        fused_optimizer: bool = False,
        matmul_precision: Literal["highest", "high", "medium"] = "highest",
        threads: int | None = None,
        callbacks: list[Any] | None = None,
        logger: list[Any] | None = None,
        default_root_dir: str | None = None,
    ) -> None:
        """Check that the accelerator is here, and start Lightning's Trainer.

        Args:
            accelerator: "cpu", "mps" or "cuda".
            devices: how many, or which; "auto" takes all GPUs of the machine.
            num_nodes: machines.
            strategy: how devices work together: "ddp" copies the model to each, "fsdp" spreads it over them; "auto" is
                a single device.
            scale_lr: multiply the learning rate by the number of devices ("linear": Goyal et al. 2017, for SGD) or its
                root ("sqrt": Malladi et al. 2022, for Adam); None takes it as given.
            sync_batchnorm: let batch normalisation count the samples of all devices, on CUDA; slower.
            precision: Lightning's name, such as 32-true, bf16-mixed, 16-mixed, bf16-true.
            max_epochs: epochs to train.
            max_steps: optimizer steps to train; -1 is no limit.
            max_time: DD:HH:MM:SS after which training ends.
            limit_train_batches: a number of batches, or a share.
            limit_val_batches: a number of batches, or a share.
            limit_test_batches: a number of batches, or a share.
            overfit_batches: train and validate on so many training batches.
            accumulate_grad_batches: batches per optimizer step.
            gradient_clip_val: largest norm of the gradient; None clips nothing.
            check_val_every_n_epoch: epochs between validations.
            val_check_interval: batches, or share of an epoch, between validations.
            log_every_n_steps: steps between log entries.
            deterministic: refuse (True) or report ("warn") operations whose result varies.
            benchmark: let cuDNN try its algorithms; pays where shapes are fixed.
            detect_anomaly: stop at the first NaN of a gradient, slowly.
            profiler: "simple", "advanced" or "pytorch"; writes fit-profile.txt into the run folder.
            channels_last: keep images and convolutions as (batch, height, width, channels) in memory.
            compile_network: compile the network in place by torch.compile: always, never, or from so many planned
                steps on.
            compile_mode: torch.compile's name; "reduce-overhead" records CUDA graphs.
            fused_optimizer: update all weights by one kernel, with the optimizers that have one.
            matmul_precision: of float32 products on CUDA: "high" allows TF32.
            threads: CPU threads of an operator; None takes one for each core that this process may use.
            callbacks: Lightning callbacks.
            logger: Lightning loggers.
            default_root_dir: folder for what a library writes unasked.

        Raises:
            ValueError: this machine lacks the accelerator, or so many of it, or the accelerator the precision.
        """
        require(accelerator, precision)
        several = num_devices(accelerator, devices) * num_nodes
        require_devices(accelerator, devices, num_nodes, strategy)
        require_processes(several)
        if sync_batchnorm and accelerator != "cuda":
            raise ValueError(
                f"trainer.sync_batchnorm=true needs CUDA, but trainer.accelerator={accelerator}: leave it out"
            )
        limits = {"max_epochs": max_epochs, "max_steps": max_steps, "limit_train_batches": limit_train_batches}
        for name, value in limits.items():
            if value == 0:
                raise ValueError(f"A training takes a step at least, but trainer.{name}=0: give 1 or more")
        # Tips and notices about Lightning itself; its warnings stay.
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)
        if not torch.cuda.is_available():
            # Lightning sets it; without a GPU each step of an optimizer would then look for NVIDIA's driver anew.
            os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
        torch.set_num_threads(threads or max(THREADS // num_devices(accelerator, devices), 1))
        torch.set_float32_matmul_precision(matmul_precision)
        # With "warn", too, torch would fill every empty tensor: a pass over all memory that helps nobody.
        torch.utils.deterministic.fill_uninitialized_memory = deterministic is True  # type: ignore[attr-defined]
        # torch spreads contiguous weights only.
        self.channels_last = channels_last and not (several > 1 and strategy == "fsdp")
        self.fused_optimizer = fused_optimizer
        # Compiling runs a rehearsal, for which spread weights would have to come together on all devices at once.
        if compile_network is not False and not (several > 1 and strategy == "fsdp"):
            callbacks = [*(callbacks or []), Compile(compile_mode, from_steps=int(compile_network))]
        super().__init__(
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=STRATEGIES[strategy](several) if several > 1 else "auto",
            sync_batchnorm=sync_batchnorm,
            # Ours divides the samples itself, and none is counted twice.
            use_distributed_sampler=False,
            precision=precision,
            max_epochs=max_epochs,
            max_steps=max_steps,
            max_time=max_time,
            limit_train_batches=limit_train_batches,
            limit_val_batches=limit_val_batches,
            limit_test_batches=limit_test_batches,
            overfit_batches=overfit_batches,
            accumulate_grad_batches=accumulate_grad_batches,
            gradient_clip_val=gradient_clip_val,
            check_val_every_n_epoch=check_val_every_n_epoch,
            val_check_interval=val_check_interval,
            log_every_n_steps=log_every_n_steps,
            deterministic=deterministic,
            benchmark=benchmark and deterministic is not True,  # what it chooses varies
            detect_anomaly=detect_anomaly,
            # Into the run folder: on the screen it would drown the results.
            profiler=PROFILERS[profiler](dirpath=default_root_dir, filename="profile") if profiler else NoProfiler(),
            plugins=[WholeCheckpoints()],
            callbacks=callbacks,
            logger=logger or False,
            default_root_dir=default_root_dir,
            enable_checkpointing=any(
                isinstance(each, lightning.pytorch.callbacks.Checkpoint) for each in callbacks or []
            ),
            # Our own callback shows progress, and the command's first lines are the summary.
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        if several > 1:
            # It would wait for the device in each step, to hear of a SIGTERM; LastCheckpoint hears of it.
            self.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]

    def prepare(self, network: torch.nn.Module) -> None:
        """Bring a network into the memory format that the settings ask for."""
        if self.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def best_accelerator() -> str:
    """Return the name of the fastest accelerator that this machine has."""
    if CUDAAccelerator.is_available():
        return "cuda"
    return "mps" if MPSAccelerator.is_available() else "cpu"


def require(accelerator: str, precision: str) -> None:
    """Refuse an accelerator that this machine lacks, or that lacks the precision.

    Raises:
        ValueError: it is unknown or not here; the text says what to type instead.
    """
    if accelerator == "mps" and precision == "64-true":
        raise ValueError(
            "An Apple GPU has no 64-bit floats, but trainer.precision=64-true: give trainer.precision=32-true, or "
            "trainer=cpu"
        )
    here = f"this is {platform.system()} on {platform.machine()}"
    instead = f"type trainer={best_accelerator()}"
    if accelerator == "mps" and not MPSAccelerator.is_available():
        if platform.system() == "Darwin" and platform.machine() == "arm64":
            here = "this macOS, or this build of torch, has no MPS (macOS 15 or newer is needed)"
        elif platform.system() == "Darwin":
            here = "this Python is built for Intel: install an arm64 Python, then run `make clean setup`"
        raise ValueError(f"trainer=mps needs a Mac with an Apple GPU and an arm64 Python, but {here}: {instead}")
    if accelerator in ("cuda", "gpu") and not CUDAAccelerator.is_available():
        raise ValueError(f"trainer=cuda needs an NVIDIA GPU and its driver, but {here} without one: {instead}")
    if accelerator not in ("cpu", "mps", "cuda"):
        raise ValueError(f"trainer.accelerator is cpu, mps, cuda or auto, but it is {accelerator}: {instead}")
