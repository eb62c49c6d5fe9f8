"""Strategies for training on several devices, and the validation of their number."""

import inspect
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from firstlight.checkpoint import sharded
from firstlight.distributed.environment import detect_cluster_environment, is_started_externally
from firstlight.distributed.launcher import make_launcher
from firstlight.distributed.sharding import clip_shards, replace_by_local_shards, supports_local_step
from firstlight.run.errors import ConfigError, HardwareError, invalid_value
from firstlight.run.progress import show_progress

# DDP's argument for synchronizing buffers in the forward pass; torch up to 2.14 calls it `broadcast_buffers`.
NEWER, OLDER = "forward_sync_buffers", "broadcast_buffers"
BUFFER_SYNC_ARGUMENT = NEWER if NEWER in inspect.signature(DistributedDataParallel.__init__).parameters else OLDER


class BroadcastBuffersMixin:
    """Validate and test with the BatchNorm running statistics of rank 0, which are the ones in its checkpoint."""

    model: nn.Module | None

    def on_validation_start(self) -> None:
        """Broadcast the buffers of rank 0."""
        broadcast_float_buffers(self.model)

    def on_test_start(self) -> None:
        """Broadcast the buffers of rank 0."""
        broadcast_float_buffers(self.model)


class WatchedDDPStrategy(BroadcastBuffersMixin, DDPStrategy):
    """DDP: each device has a replica of the model, and gradients are averaged in each step.

    Gradients are views of DDP's buckets instead of copies, and BatchNorm buffers are not synchronized in each step:
    for ResNet50's 106 buffers, this took 0.35 ms of a 20 ms step on two H200.

    Args:
        devices: Number of devices; DDP determines it itself.
        ddp_kwargs: Arguments of torch's DistributedDataParallel.
    """

    def __init__(self, devices: int, **ddp_kwargs: Any) -> None:
        ddp_kwargs[BUFFER_SYNC_ARGUMENT] = False
        super().__init__(gradient_as_bucket_view=True, **ddp_kwargs)

    def _configure_launcher(self) -> None:
        self._launcher = make_launcher(self)

    def _setup_model(self, model: nn.Module) -> DistributedDataParallel:
        # Lightning wraps the model on a separate CUDA stream, so that each gradient would have to be synchronized.
        return DistributedDataParallel(model, device_ids=self.determine_ddp_device_ids(), **self._ddp_kwargs)


# Lightning 2.6's FSDPStrategy supports neither CPUs nor gradient clipping, and hides the shapes of the parameters, by
# which weight decay is chosen (parameters with one dimension have none).
class ShardedFSDPStrategy(BroadcastBuffersMixin, ModelParallelStrategy):
    """FSDP2 (`fully_shard`) under Lightning's ModelParallelStrategy.

    Parameters, gradients and optimizer state are sharded across all devices (see `apply_fsdp`).

    Args:
        devices: Number of devices.
    """

    def __init__(self, devices: int) -> None:
        super().__init__(data_parallel_size=devices, tensor_parallel_size=1)

    def _configure_launcher(self) -> None:
        self._launcher = make_launcher(self)

    def setup_precision_plugin(self) -> None:
        """Let the precision plugin clip gradients on the local shards."""
        super().setup_precision_plugin()
        self.precision_plugin.clip_grad_by_norm = self._clip_grad_by_norm  # type: ignore[method-assign]

    def optimizer_step(self, optimizer: Optimizer, closure: Callable[[], Any], model: Any = None, **kwargs: Any) -> Any:
        """Update the local shards after the closure, which runs the training step and the backward pass."""
        plugin: Any = self.precision_plugin
        # A gradient scaler has to find infinite gradients on all ranks.
        if not supports_local_step(optimizer) or getattr(plugin, "scaler", None) is not None:
            return super().optimizer_step(optimizer, closure, model, **kwargs)
        with ExitStack() as stack:

            def run_closure() -> Any:
                # Includes hooks and clipping, which need the gradients of all ranks.
                result = plugin._wrap_closure(model or self.lightning_module, optimizer, closure)
                stack.enter_context(replace_by_local_shards(optimizer))
                return result

            return optimizer.step(closure=run_closure, **kwargs)

    def _clip_grad_by_norm(self, optimizer: Optimizer, clip_val: float) -> None:
        clip_shards(self.precision_plugin.main_params(optimizer), clip_val)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return the shard of this rank, with the buffers of rank 0."""
        broadcast_float_buffers(self.model)
        return super().lightning_module_state_dict()

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Load a sharded checkpoint or a single file.

        In a single file, the optimizer state follows the optimizer's order of parameters. It is keyed by name first.
        """
        from torch.distributed.checkpoint import state_dict as dcp_state_dict

        path = Path(self.broadcast(checkpoint_path))
        if path.is_dir():
            with sharded.load_shards_safely(path):
                return super().load_checkpoint(path, weights_only=True)
        assert self.model is not None
        saved: dict[str, Any] = torch.load(path, mmap=True, map_location="cpu", weights_only=True)
        options = dcp_state_dict.StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
        dcp_state_dict.set_model_state_dict(self.model, saved["state_dict"], options=options)
        names = {param: name for name, param in self.model.named_parameters()}
        for optimizer, state in zip(self.optimizers, saved["optimizer_states"], strict=False):
            ordered_names = [names[param] for group in optimizer.param_groups for param in group["params"]]
            state_by_name = sharded.key_optimizer_state_by_name(state, ordered_names)
            dcp_state_dict.set_optimizer_state_dict(self.model, optimizer, state_by_name, options=options)
        return saved

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Write the shard of each rank to a directory, which gets its final name after all ranks have finished."""
        path = Path(self.broadcast(filepath))
        temporary = path.with_name(f".{path.name}.tmp")
        if self.global_rank == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            sharded.remove_path(temporary)
        self.barrier()
        with show_progress(f"Saving {path}"):
            super().save_checkpoint(checkpoint, temporary, storage_options)
            self.barrier()
            if self.global_rank == 0:
                sharded.write_checksums(temporary)
        if self.global_rank == 0:
            sharded.replace_dir(temporary, path)
        self.barrier()


STRATEGIES: dict[str, Callable[[int], Any]] = {
    "ddp": WatchedDDPStrategy,
    "ddp_find_unused_parameters_true": lambda devices: WatchedDDPStrategy(devices, find_unused_parameters=True),
    "fsdp": ShardedFSDPStrategy,
}


def broadcast_float_buffers(network: nn.Module | None) -> None:
    """Broadcast the floating-point buffers of rank 0, such as BatchNorm running statistics, to all ranks."""
    for buffer in network.buffers() if network is not None else ():
        if buffer.is_floating_point():
            dist.broadcast(buffer, src=0)


def count_devices(accelerator: str, devices: int | str | list[int]) -> int:
    """Return the number of devices per machine that `trainer.devices` selects.

    Raises:
        ConfigError: If `devices` is neither a number, a list, nor "auto".
    """
    if isinstance(devices, list):
        return len(devices)
    if devices in ("auto", -1, "-1"):
        return max(torch.cuda.device_count(), 1) if accelerator == "cuda" else 1
    if not str(devices).isdecimal():
        expected = "a number, a list of device indices or auto"
        raise ConfigError(invalid_value("trainer.devices", devices, expected, "Use e.g. trainer.devices=2."))
    return int(devices)


def count_processes(accelerator: str, devices: int | str | list[int], num_nodes: int) -> int:
    """Return the number of training processes: one per device on each machine."""
    return count_devices(accelerator, devices) * num_nodes


def is_sharded(trainer: dict[str, Any]) -> bool:
    """Return True if the trainer's settings shard the model across several devices."""
    num_processes = count_processes(trainer["accelerator"], trainer["devices"], trainer["num_nodes"])
    return trainer["strategy"] == "fsdp" and num_processes > 1


def scale_lr(lr: float, trainer: dict[str, Any], ratio: float | None = None) -> float:
    """Return the learning rate for a larger batch according to `trainer.scale_lr`.

    Args:
        lr: Learning rate for the original batch.
        trainer: The trainer's settings.
        ratio: Size of the batch relative to the original one. If None, the number of devices.
    """
    if ratio is None:
        ratio = count_processes(trainer["accelerator"], trainer["devices"], trainer["num_nodes"])
    return float(lr * {None: 1, "linear": ratio, "sqrt": ratio**0.5}[trainer.get("scale_lr")])


def validate_devices(accelerator: str, devices: int | str | list[int], num_nodes: int, strategy: str) -> None:
    """Check that the devices exist, and that several devices have a strategy.

    Raises:
        ConfigError: If no device is selected, or several devices have no strategy.
        HardwareError: If this machine has fewer GPUs.
    """
    num_devices = count_devices(accelerator, devices)
    if num_devices < 1:
        raise ConfigError(invalid_value("trainer.devices", devices, "at least 1 device", "Use e.g. trainer.devices=1."))
    available = torch.cuda.device_count()
    if accelerator == "cuda" and num_devices > available:
        raise HardwareError(
            f"trainer.devices={devices} exceeds the number of available GPUs ({available}). Set trainer.devices to "
            f"{available} or auto."
        )
    if count_processes(accelerator, devices, num_nodes) > 1 and strategy == "auto":
        raise ConfigError(
            f"Training on several devices (trainer.devices={devices}, trainer.num_nodes={num_nodes}) requires a "
            "strategy. Use trainer=ddp or trainer=fsdp."
        )


def validate_world_size(accelerator: str, devices: int | str | list[int], num_nodes: int) -> None:
    """Check that Slurm or torchrun has started one process per device.

    Raises:
        ConfigError: If the numbers differ.
    """
    if not is_started_externally():
        return
    expected, started = count_processes(accelerator, devices, num_nodes), detect_cluster_environment().world_size()
    if started != expected:
        raise ConfigError(
            f"Slurm or torchrun started {started} processes, but trainer.devices x trainer.num_nodes = {expected}. "
            "Start one process per device."
        )
