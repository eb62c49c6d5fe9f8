"""Lightning's Trainer with the settings of configs/trainer/, and additional ones for performance."""

import logging
import os
from contextlib import nullcontext
from math import inf
from typing import Any, Literal, Unpack

import lightning.pytorch
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.profilers import AdvancedProfiler, PassThroughProfiler, PyTorchProfiler, SimpleProfiler

from firstlight.checkpoint.io import AtomicCheckpointIO
from firstlight.config.switches import count_scheduled_steps
from firstlight.config.validate import validate_single_mps_device
from firstlight.distributed.environment import detect_cluster_environment, remove_stray_address
from firstlight.distributed.strategies import (
    STRATEGIES,
    count_devices,
    count_processes,
    validate_devices,
    validate_world_size,
)
from firstlight.hardware.accelerator import validate_accelerator
from firstlight.hardware.device import count_available_cpus
from firstlight.model.activation_checkpointing import enable_activation_checkpointing
from firstlight.model.task import get_network
from firstlight.run.errors import ConfigError, invalid_value
from firstlight.trainer.compile import TorchCompile
from firstlight.trainer.kwargs import TrainerKwargs
from firstlight.trainer.steps import find_accumulation

# Read at import, because an earlier job of a sweep may set another number. torch counts the cores of the machine, not
# the cores that are available in a container.
DEFAULT_NUM_THREADS = min(torch.get_num_threads(), count_available_cpus())

PROFILERS: dict[str, Any] = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}


# Without callbacks, a step of a tiny model takes 0.8 times as long as with Lightning 2.6's own Trainer, thanks to this
# class, a fused AdamW, and no search for NVIDIA's driver (see configure_process).
class NoOpProfiler(PassThroughProfiler):
    """Measure nothing, with minimal overhead: Lightning calls its profiler about 60 times per step."""

    no_op = nullcontext()

    def profile(self, action_name: str) -> Any:
        """Return the same empty context for each action."""
        return self.no_op


class Trainer(lightning.pytorch.Trainer):
    """Lightning's Trainer for one accelerator with one or several devices.

    Args:
        accelerator: "cpu", "mps" or "cuda".
        devices: Number or indices of the devices; "auto" uses all GPUs of the machine.
        num_nodes: Number of machines.
        strategy: "ddp" replicates the model on each device, "fsdp" shards it across devices, "auto" uses one device.
        scale_lr: Multiply the learning rate by the number of devices ("linear": Goyal et al. 2017, for SGD) or by its
            square root ("sqrt": Malladi et al. 2022, for Adam). If None, the learning rate is not scaled.
        precision: Lightning's name, such as 32-true, bf16-mixed, 16-mixed or bf16-true.
        channels_last: Whether to store images and convolutions as (batch, height, width, channels).
        compile: Whether to compile the network in place with `torch.compile`; "auto" is the same as True.
        compile_min_steps: Minimum number of planned steps of a run that is compiled.
        compile_mode: Mode of `torch.compile`; "reduce-overhead" records CUDA graphs.
        fused_optimizer: Whether to update all weights in one kernel, if the optimizer supports it.
        matmul_precision: Precision of float32 matmuls on CUDA: "high" allows TF32.
        num_threads: CPU threads per operator. If None, the available cores are divided among the devices.
        activation_checkpointing: Whether repeated blocks compute their activations again in the backward pass, which
            saves memory and takes more time.
        callbacks: Lightning callbacks.
        kwargs: See `TrainerKwargs`.

    Raises:
        HardwareError: If this machine lacks the accelerator or the number of devices.
        ConfigError: If a setting is invalid or has no effect.
    """

    def __init__(
        self,
        accelerator: str = "cpu",
        devices: int | str | list[int] = 1,
        num_nodes: int = 1,
        strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true", "fsdp"] = "auto",
        scale_lr: Literal["linear", "sqrt"] | None = None,
        precision: Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"] = "32-true",
        channels_last: bool = False,
        compile: bool | Literal["auto"] = False,
        compile_min_steps: int = 0,
        compile_mode: Literal["default", "reduce-overhead", "max-autotune"] = "default",
        fused_optimizer: bool = False,
        matmul_precision: Literal["highest", "high", "medium"] = "highest",
        num_threads: int | None = None,
        activation_checkpointing: bool = False,
        callbacks: list[Any] | None = None,
        **kwargs: Unpack[TrainerKwargs],
    ) -> None:
        validate_hardware(accelerator, devices, num_nodes, strategy, precision)
        validate_trainer_settings(accelerator, kwargs)
        remove_stray_address(num_nodes)
        num_threads = num_threads or max(DEFAULT_NUM_THREADS // count_devices(accelerator, devices), 1)
        configure_process(num_threads, matmul_precision, deterministic=kwargs.get("deterministic") is True)
        world_size = count_processes(accelerator, devices, num_nodes)
        # FSDP shards contiguous parameters only.
        self.channels_last = channels_last and not (world_size > 1 and strategy == "fsdp")
        self.fused_optimizer = fused_optimizer
        self.activation_checkpointing = activation_checkpointing
        if compile is not False:
            callbacks = [*(callbacks or []), TorchCompile(compile_mode, compile_min_steps)]
        super().__init__(
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=STRATEGIES[strategy](world_size) if world_size > 1 else "auto",
            precision=precision,
            **make_lightning_kwargs(kwargs, callbacks or []),
        )
        patch_loops(self.fit_loop)

    def _run_stage(self) -> Any:
        """Call `on_state_restored` of callbacks before the loop decides whether a step is left to train."""
        for callback in self.callbacks if self.training else ():  # type: ignore[attr-defined]
            if hasattr(callback, "on_state_restored"):
                callback.on_state_restored(self)
        return super()._run_stage()

    @property
    def estimated_stepping_batches(self) -> int | float:
        """Number of optimizer steps of the run; Lightning 2.6 ignores an accumulation that depends on the epoch."""
        steps = super().estimated_stepping_batches
        schedule = find_accumulation(self)
        if schedule is None or self.max_epochs in (-1, None) or self.num_training_batches == inf:
            return steps
        num_batches, max_epochs = int(self.num_training_batches), max(int(self.max_epochs), 1)
        return count_scheduled_steps(schedule.scheduling, num_batches, max_epochs, self.max_steps)

    def apply_memory_settings(self, model: LightningModule) -> None:
        """Convert the network of a model to the memory format of `channels_last`, and checkpoint its activations.

        Raises:
            ConfigError: If `activation_checkpointing` is set, but the model has no repeated blocks.
        """
        if self.channels_last:
            get_network(model).to(memory_format=torch.channels_last)
        if self.activation_checkpointing:
            enable_activation_checkpointing(model)


def patch_loops(fit_loop: Any) -> None:
    """Replace two methods of the loops of Lightning 2.6, each of which does nothing else in a training run."""
    # Lightning would synchronize in every step to broadcast SIGTERM; LastCheckpoint handles it instead.
    fit_loop.epoch_loop._broadcast_sigterm_tensor = skip_broadcast
    # With `max_steps`, Lightning would repeat the end of an epoch after resuming there.
    fit_loop._iteration_based_training = return_false


def skip_broadcast() -> None:
    """Do nothing. A function with a name, because a DataLoader worker may receive a pickled copy of the trainer."""


def return_false() -> bool:
    """Return False; a function with a name, like `skip_broadcast`."""
    return False


def validate_trainer_settings(accelerator: str, kwargs: TrainerKwargs) -> None:
    """Reject settings that have no effect or leave no step to train.

    Raises:
        ConfigError: If there is such a setting.
    """
    if kwargs.get("sync_batchnorm") and accelerator != "cuda":
        raise ConfigError(
            f"trainer.sync_batchnorm=true requires CUDA, got trainer.accelerator={accelerator}. "
            "Set trainer.sync_batchnorm=false."
        )
    for name in ("max_epochs", "max_steps", "limit_train_batches"):
        if kwargs.get(name) == 0:
            raise ConfigError(invalid_value(f"trainer.{name}", 0, "a nonzero value", f"Use e.g. trainer.{name}=1."))


def configure_process(num_threads: int, matmul_precision: str, deterministic: bool) -> None:
    """Configure torch and Lightning for the whole process.

    Args:
        num_threads: CPU threads per operator.
        matmul_precision: "highest", "high" or "medium".
        deterministic: Whether to fill uninitialized memory, so that its contents cannot vary.
    """
    # Hide tips and notices about Lightning itself; its warnings stay visible.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not torch.cuda.is_available():
        # Lightning sets this variable. Without a GPU, each optimizer step would then search for NVIDIA's driver.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    torch.set_num_threads(num_threads)
    torch.set_float32_matmul_precision(matmul_precision)
    # Even with "warn", torch would fill every uninitialized tensor, an expensive and useless pass over memory.
    torch.utils.deterministic.fill_uninitialized_memory = deterministic  # type: ignore[attr-defined]


def make_lightning_kwargs(kwargs: TrainerKwargs, callbacks: list[Any]) -> dict[str, Any]:
    """Return the arguments of Lightning's Trainer, including those that are the same in every run."""
    profiler, directory = kwargs.get("profiler"), kwargs.get("default_root_dir")
    return {
        "max_epochs": 1,
        # A callback of the project shows progress, and the run header summarizes the model.
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        **kwargs,
        "callbacks": callbacks,
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
        "logger": kwargs.get("logger") or False,
        # The algorithm that cuDNN selects varies between runs.
        "benchmark": kwargs.get("benchmark") and kwargs.get("deterministic") is not True,
        # Written to the run directory, because on the console it would hide the results.
        "profiler": PROFILERS[profiler](dirpath=directory, filename="profile") if profiler else NoOpProfiler(),
        # The same environment as everywhere else: Lightning's detection responds to single leftover variables.
        "plugins": [AtomicCheckpointIO(), detect_cluster_environment(), *(kwargs.get("plugins") or [])],
    }


def validate_hardware(
    accelerator: str, devices: int | str | list[int], num_nodes: int, strategy: str, precision: str
) -> None:
    """Check that this machine can run the trainer's settings.

    Raises:
        HardwareError: If this machine lacks the accelerator or the number of devices.
        ConfigError: If the settings contradict each other, or another number of processes was started.
    """
    validate_single_mps_device(
        {"accelerator": accelerator, "devices": devices, "num_nodes": num_nodes, "strategy": strategy}
    )
    validate_accelerator(accelerator, precision)
    validate_devices(accelerator, devices, num_nodes, strategy)
    validate_world_size(accelerator, devices, num_nodes)
