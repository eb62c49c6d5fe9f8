"""Lightning's Trainer, with the settings people turn, and a few of ours about speed."""

import logging
import os
from contextlib import nullcontext
from typing import Any, Literal, TypedDict, Unpack

import lightning.pytorch
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.profilers import AdvancedProfiler, PassThroughProfiler, PyTorchProfiler, SimpleProfiler

from firstlight.checkpoint.io import AtomicCheckpointIO
from firstlight.config.validate import validate_single_mps_device
from firstlight.distributed.strategies import (
    STRATEGIES,
    count_devices,
    count_processes,
    validate_devices,
    validate_world_size,
)
from firstlight.hardware.accelerator import validate_accelerator
from firstlight.hardware.device import count_available_cpus
from firstlight.trainer.compile import TorchCompile

# Read once: an earlier job of a sweep may set another number. torch sees the cores of the machine, not the share of
# them that a container gets.
DEFAULT_NUM_THREADS = min(torch.get_num_threads(), count_available_cpus())

PROFILERS: dict[str, Any] = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}


# Without callbacks, a tiny step costs 0.8 of one of Lightning 2.6's own Trainer: by this, a fused AdamW, and no search
# for NVIDIA's driver (see set_up_process).
class NoOpProfiler(PassThroughProfiler):
    """Measure nothing, at next to no cost: Lightning asks its profiler some 60 times in a step."""

    nothing = nullcontext()

    def profile(self, action_name: str) -> Any:
        """Return the same empty context each time."""
        return self.nothing


class TrainerKwargs(TypedDict, total=False):
    """Settings of Lightning's that stay what they are there; what is left out is as it is there, but for max_epochs.

    Attributes:
        sync_batchnorm: let batch normalisation count the samples of all devices, on CUDA; slower.
        max_epochs: epochs to train, 1 by default.
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
        logger: Lightning loggers.
        default_root_dir: folder for what a library writes unasked.
    """

    sync_batchnorm: bool
    max_epochs: int
    max_steps: int
    max_time: str | None
    limit_train_batches: int | float | None
    limit_val_batches: int | float | None
    limit_test_batches: int | float | None
    overfit_batches: int | float
    accumulate_grad_batches: int
    gradient_clip_val: float | None
    check_val_every_n_epoch: int | None
    val_check_interval: int | float | None
    log_every_n_steps: int
    deterministic: bool | Literal["warn"] | None
    benchmark: bool | None
    detect_anomaly: bool
    profiler: Literal["simple", "advanced", "pytorch"] | None
    logger: list[Any] | None
    default_root_dir: str | None


class Trainer(lightning.pytorch.Trainer):
    """Lightning's Trainer for one kind of accelerator, one device of it or several.

    Args:
        accelerator: "cpu", "mps" or "cuda".
        devices: how many, or which; "auto" takes all GPUs of the machine.
        num_nodes: machines.
        strategy: how devices work together: "ddp" copies the model to each, "fsdp" spreads it over them; "auto" is a
            single device.
        scale_lr: multiply the learning rate by the number of devices ("linear": Goyal et al. 2017, for SGD) or its
            root ("sqrt": Malladi et al. 2022, for Adam); None takes it as given.
        precision: Lightning's name, such as 32-true, bf16-mixed, 16-mixed, bf16-true.
        channels_last: keep images and convolutions as (batch, height, width, channels) in memory.
        compile: Compile the network in place with `torch.compile`; "auto" compiles runs of at least
            `compile_min_steps` planned steps.
        compile_min_steps: Shortest run, in steps, that `compile="auto"` compiles.
        compile_mode: torch.compile's name; "reduce-overhead" records CUDA graphs.
        fused_optimizer: update all weights by one kernel, with the optimizers that have one.
        matmul_precision: of float32 products on CUDA: "high" allows TF32.
        num_threads: CPU threads of an operator; None takes one for each core that this process may use.
        callbacks: Lightning callbacks.
        settings: those of `LightningSettings`.

    Raises:
        ValueError: this machine lacks the accelerator, or so many of it, or the accelerator the precision; or the
            settings leave no step to take.
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
        callbacks: list[Any] | None = None,
        **settings: Unpack[TrainerKwargs],
    ) -> None:
        validate_hardware(accelerator, devices, num_nodes, strategy, precision)
        validate_trainer_settings(accelerator, settings)
        several = count_processes(accelerator, devices, num_nodes)
        configure_process(
            num_threads or max(DEFAULT_NUM_THREADS // count_devices(accelerator, devices), 1),
            matmul_precision,
            settings,
        )
        is_spread = several > 1 and strategy == "fsdp"
        # torch spreads contiguous weights only.
        self.channels_last = channels_last and not is_spread
        self.fused_optimizer = fused_optimizer
        # Compiling runs a rehearsal, for which spread weights would have to come together on all devices at once.
        if compile is not False and not is_spread:
            callbacks = [*(callbacks or []), TorchCompile(compile_mode, compile_min_steps if compile == "auto" else 0)]
        super().__init__(
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=STRATEGIES[strategy](several) if several > 1 else "auto",
            precision=precision,
            callbacks=callbacks,
            enable_checkpointing=any(isinstance(each, Checkpoint) for each in callbacks or []),
            **make_lightning_kwargs(settings),
        )
        # Among several it would wait for the device in each step, to hear of a SIGTERM; LastCheckpoint hears of it.
        self.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]

    def apply_memory_format(self, network: torch.nn.Module) -> None:
        """Bring a network into the memory format that the settings ask for."""
        if self.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def validate_trainer_settings(accelerator: str, settings: TrainerKwargs) -> None:
    """Refuse settings that have no effect, or leave no step to take.

    Raises:
        ValueError: there is one.
    """
    if settings.get("sync_batchnorm") and accelerator != "cuda":
        raise ValueError(f"trainer.sync_batchnorm=true needs CUDA, but trainer.accelerator={accelerator}: leave it out")
    for name in ("max_epochs", "max_steps", "limit_train_batches"):
        if settings.get(name) == 0:
            raise ValueError(f"A training takes a step at least, but trainer.{name}=0: give 1 or more")


def configure_process(threads: int, matmul_precision: str, settings: TrainerKwargs) -> None:
    """Set what holds for the whole process: the threads of an operator, how it multiplies, what is told."""
    # Tips and notices about Lightning itself; its warnings stay.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not torch.cuda.is_available():
        # Lightning sets it; without a GPU each step of an optimizer would then look for NVIDIA's driver anew.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(matmul_precision)
    # With "warn", too, torch would fill every empty tensor: a pass over all memory that helps nobody.
    fills = settings.get("deterministic") is True
    torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]


def make_lightning_kwargs(settings: TrainerKwargs) -> dict[str, Any]:
    """Return the settings as Lightning takes them, with those that are the same in every training."""
    profiler, folder = settings.get("profiler"), settings.get("default_root_dir")
    return {
        "max_epochs": 1,
        **settings,
        "logger": settings.get("logger") or False,
        # What cuDNN chooses varies.
        "benchmark": settings.get("benchmark") and settings.get("deterministic") is not True,
        # Into the run folder: on the screen it would drown the results.
        "profiler": PROFILERS[profiler](dirpath=folder, filename="profile") if profiler else NoOpProfiler(),
        "plugins": [AtomicCheckpointIO()],
        # Ours divides the samples itself, and none is counted twice.
        "use_distributed_sampler": False,
        # Our own callback shows progress, and the command's first lines are the summary.
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
    }


def validate_hardware(
    accelerator: str, devices: int | str | list[int], num_nodes: int, strategy: str, precision: str
) -> None:
    """Refuse what this machine cannot train on, whatever the data.

    Raises:
        ValueError: it lacks the accelerator, or so many of it, or the accelerator the precision; or other processes
            were started than the devices need. The text says what to type instead.
    """
    validate_single_mps_device(
        {"accelerator": accelerator, "devices": devices, "num_nodes": num_nodes, "strategy": strategy}
    )
    validate_accelerator(accelerator, precision)
    validate_devices(accelerator, devices, num_nodes, strategy)
    validate_world_size(accelerator, devices, num_nodes)
