"""Training on several devices: how many there are, and how they work together."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins import environments
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from firstlight.checkpoint import sharded
from firstlight.distributed.environment import detect_cluster_environment

# Parameters from which on a part of a network is spread over the devices by itself.
FSDP_MIN_PARAMS = 1_000_000
# DDP's name for it; that of torch up to 2.14 is the second.
NEWER, OLDER = "forward_sync_buffers", "broadcast_buffers"
BUFFER_SYNC_ARGUMENT = NEWER if NEWER in inspect.signature(DistributedDataParallel.__init__).parameters else OLDER


class SubprocessLauncher(_SubprocessScriptLauncher):
    """Lightning's launcher of one process a device, without the thread that kills all when one has ended.

    `Watch` sees to that: it writes down why first.
    """

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Start the other processes, if nobody has, and do what they do."""
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
        return function(*args, **kwargs)


def make_launcher(strategy: Any) -> SubprocessLauncher:
    """Return the launcher of a strategy's processes on this machine."""
    return SubprocessLauncher(strategy.cluster_environment, strategy.num_processes, strategy.num_nodes)


class BroadcastBuffersMixin:
    """Measure with the first device's statistics, those of batch normalisation: its checkpoint holds them."""

    model: nn.Module | None

    def on_validation_start(self) -> None:
        """Give them to all devices."""
        broadcast_buffers(self.model)

    def on_test_start(self) -> None:
        """Give them to all devices."""
        broadcast_buffers(self.model)


class WatchedDDPStrategy(BroadcastBuffersMixin, DDPStrategy):
    """Lightning's DDP: each device has all weights, and their gradients are averaged in each step."""

    def __init__(self, devices: int, **settings: Any) -> None:
        """Keep DDP's settings, without a copy of each gradient and without sending statistics in each step.

        ResNet50's 106 statistics took 0.35 ms of a step of 20 ms on two H200.
        """
        settings[BUFFER_SYNC_ARGUMENT] = False
        super().__init__(gradient_as_bucket_view=True, **settings)

    def _configure_launcher(self) -> None:
        self._launcher = make_launcher(self)

    def _setup_model(self, model: nn.Module) -> DistributedDataParallel:
        # Lightning does it on a stream of its own, for which each gradient then has to be waited for.
        return DistributedDataParallel(model, device_ids=self.determine_ddp_device_ids(), **self._ddp_kwargs)


# Lightning 2.6's FSDPStrategy supports neither CPUs nor gradient clipping, and hides the shapes of the weights, by
# which weight decay is chosen (weights of one dimension have none).
class ShardedFSDPStrategy(BroadcastBuffersMixin, ModelParallelStrategy):
    """Lightning's way to FSDP: each device has a part of each weight, of its gradient and of the optimizer's state.

    Source: Y. Zhao et al., PyTorch FSDP, 2023, arXiv:2304.11277; `fully_shard` of torch is its second version.
    """

    def __init__(self, devices: int) -> None:
        """Spread over all devices."""
        super().__init__(data_parallel_size=devices, tensor_parallel_size=1)

    def _configure_launcher(self) -> None:
        self._launcher = make_launcher(self)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Return this device's part of the weights; statistics are those of the first device."""
        broadcast_buffers(self.model)
        return super().lightning_module_state_dict()

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint in parts, or a file, whose optimizers number the weights in an order of their own.

        Lightning would take these numbers for those of the model's weights.
        """
        from torch.distributed.checkpoint import state_dict as spread_out

        path = Path(self.broadcast(checkpoint_path))
        if path.is_dir():
            return super().load_checkpoint(path, weights_only)
        assert self.model is not None
        saved: dict[str, Any] = torch.load(path, mmap=True, map_location="cpu", weights_only=True)
        options = spread_out.StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
        spread_out.set_model_state_dict(self.model, saved["state_dict"], options=options)
        names = {weight: name for name, weight in self.model.named_parameters()}
        for optimizer, state in zip(self.optimizers, saved["optimizer_states"], strict=False):
            order = [names[weight] for group in optimizer.param_groups for weight in group["params"]]
            named = sharded.index_optimizer_state_by_name(state, order)
            spread_out.set_optimizer_state_dict(self.model, optimizer, named, options=options)
        return saved

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Let each device write its part into a folder, which gets its name when all are on the disk."""
        place = Path(self.broadcast(filepath))
        beside = place.with_name(f".{place.name}.tmp")
        if self.global_rank == 0:
            place.parent.mkdir(parents=True, exist_ok=True)
            sharded.remove_path(beside)
        self.barrier()
        super().save_checkpoint(checkpoint, beside, storage_options)
        self.barrier()
        if self.global_rank == 0:
            sharded.write_checksums(beside)
            sharded.replace_dir(beside, place)
        self.barrier()


STRATEGIES: dict[str, Callable[[int], Any]] = {
    "ddp": WatchedDDPStrategy,
    "ddp_find_unused_parameters_true": lambda devices: WatchedDDPStrategy(devices, find_unused_parameters=True),
    "fsdp": ShardedFSDPStrategy,
}


def apply_fsdp(network: nn.Module, mesh: Any) -> None:
    """Spread a network over the devices, block by block: one is whole only while it is used."""
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if isinstance(network, FSDPModule):
        return  # by the training before
    lists = [each for each in network.modules() if isinstance(each, nn.ModuleList | nn.Sequential)]
    blocks = [
        block for each in lists for block in each if sum(part.numel() for part in block.parameters()) >= FSDP_MIN_PARAMS
    ]
    for block in reversed(blocks):  # the inner ones first
        if not isinstance(block, FSDPModule | nn.ModuleList):
            fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)


def broadcast_buffers(network: nn.Module | None) -> None:
    """Give each device the statistics of the first one, those of batch normalisation."""
    for each in network.buffers() if network is not None else ():
        if each.is_floating_point():
            dist.broadcast(each, src=0)


def count_devices(accelerator: str, devices: int | str | list[int]) -> int:
    """Return how many devices of a machine `trainer.devices` means."""
    if isinstance(devices, list):
        return len(devices)
    if devices in ("auto", -1, "-1"):
        return max(torch.cuda.device_count(), 1) if accelerator == "cuda" else 1
    if not str(devices).isdecimal():
        raise ValueError(f"trainer.devices is a number, a list of numbers or auto, but it is {devices}: give one")
    return int(devices)


def count_processes(accelerator: str, devices: int | str | list[int], num_nodes: int) -> int:
    """Return how many processes train: one for each device of each machine."""
    return count_devices(accelerator, devices) * num_nodes


def scale_lr(lr: float, trainer: dict[str, Any]) -> float:
    """Return the learning rate for all devices of a trainer's settings, by the rule `scale_lr`."""
    devices = count_processes(trainer["accelerator"], trainer["devices"], trainer["num_nodes"])
    return float(lr * {None: 1, "linear": devices, "sqrt": devices**0.5}[trainer.get("scale_lr")])


def validate_devices(accelerator: str, devices: int | str | list[int], num_nodes: int, strategy: str) -> None:
    """Refuse more devices than there are, and several without a way to work together.

    Raises:
        ValueError: the text says what to type instead.
    """
    several = count_devices(accelerator, devices)
    if several < 1:
        raise ValueError(f"A training needs a device, but trainer.devices={devices}: give 1 or more")
    here = torch.cuda.device_count()
    if accelerator == "cuda" and several > here:
        raise ValueError(f"This machine has {here} GPUs, but trainer.devices={devices}: give {here} or less, or auto")
    if count_processes(accelerator, devices, num_nodes) > 1 and strategy == "auto":
        raise ValueError(
            f"Several devices need a strategy, but trainer.devices={devices} and trainer.num_nodes={num_nodes} came "
            "without: type trainer=ddp or trainer=fsdp, too"
        )


def validate_world_size(accelerator: str, devices: int | str | list[int], num_nodes: int) -> None:
    """Refuse if Slurm or torchrun has started other processes than the settings name.

    Raises:
        ValueError: the numbers differ.
    """
    place, wanted = detect_cluster_environment(), count_processes(accelerator, devices, num_nodes)
    if not isinstance(place, environments.LightningEnvironment) and place.world_size() != wanted:  # type: ignore[attr-defined]
        raise ValueError(
            f"Each device has a process of its own, but {place.world_size()} were started by Slurm or torchrun for "
            f"{wanted} of trainer.devices x trainer.num_nodes: let the numbers agree"
        )
