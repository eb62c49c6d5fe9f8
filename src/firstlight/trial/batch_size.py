"""Find the largest batch size that trains, for data.batch_size=auto."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from firstlight.config.options import AUTO
from firstlight.data.datamodule import LabeledDataModule
from firstlight.hardware.device import GIB, get_local_mps_limit, release_memory
from firstlight.mps.dry_run import dry_run
from firstlight.mps.memory import HEADROOM
from firstlight.mps.sample_batch import load_plain_batch, load_sample_batch
from firstlight.run.errors import HardwareError, TrainingError
from firstlight.run.failure import is_oom_error
from firstlight.trial.recorders import StopAfterSteps
from firstlight.trial.runner import TrialRunner

# Fraction of the free GPU memory that the found batch may use: the rest is for validation, other shapes and callbacks.
MEMORY_FRACTION = 0.9
# Least number of batches of a probe.
PROBE_STEPS = 3
# The search ends when the range is smaller than this fraction of the batch size.
PRECISION = 1 / 16
# Batch sizes from 16 on are multiples of this, which the matrix units of GPUs prefer.
MULTIPLE = 8
UNKNOWN_SAMPLES = 2**16
NO_FIT = "data.batch_size=auto finds no batch size, because not even one sample fits into"


def find_batch_size(settings: dict[str, Any], default: int) -> tuple[int, str]:
    """Return the largest batch size that trains on this machine, and how it was found.

    Args:
        settings: Resolved config of a training run on one device, as plain values.
        default: Batch size of the dataset's config, with which the search starts. The CPU uses it as it is, because
            its memory is shared with other programs, and its speed hardly depends on the batch size.

    Raises:
        HardwareError: If not even one sample fits.
    """
    accelerator = settings["trainer"]["accelerator"]
    if accelerator == "cpu":
        return default, "the default of the dataset, which is used on the CPU"
    runner = TrialRunner({**settings, "data": {**settings["data"], "batch_size": default}})
    cap = count_training_samples(runner)
    if accelerator == "mps":
        return estimate_batch_size(runner, default, cap)
    with limit_memory(runner.device) as limit_gib:
        found = search(lambda size: probe(runner, size, {"compile": False}), min(default, cap), cap)
        # A run that compiles the network needs other memory, such as that of CUDA graphs.
        if found and compiles_planned_run(runner.settings["trainer"], cap // found):
            with suppress(TrainingError):  # compiling fails, and the run continues without it
                while found > 1 and not probe(runner, found, {"compile": True}):
                    found = round_down(found * 9 // 10)
    if found < 1:
        raise HardwareError(f"{NO_FIT} {limit_gib:.1f} GiB. Use a smaller model or input.")
    has_all = found == cap != UNKNOWN_SAMPLES
    reason = "all training samples" if has_all else f"the largest that trains in {limit_gib:.1f} GiB"
    return found, reason


def estimate_batch_size(runner: TrialRunner, default: int, cap: int) -> tuple[int, str]:
    """Return the batch size that fits into the memory limit of MPS according to a dry run, and how it was found."""
    settings, limit = runner.settings["trainer"], get_local_mps_limit()
    report = dry_run(runner.model, runner.data, runner.trainer, settings["precision"], deterministic=False)
    if report.memory_estimate is None or limit is None:
        return default, "the default of the dataset, because the memory of the model could not be estimated"
    found = min(report.memory_estimate.find_max_batch_size(limit * (1 - HEADROOM)), cap)
    if found < 1:
        raise HardwareError(f"{NO_FIT} {limit * (1 - HEADROOM) / GIB:.1f} GiB. Use a smaller model or input.")
    return round_down(found), f"estimated for {limit * (1 - HEADROOM) / GIB:.1f} GiB"


def search(fits: Callable[[int], bool], start: int, cap: int) -> int:
    """Return the largest batch size that fits, up to `PRECISION`; 0 if none does.

    Args:
        fits: Tries a batch size.
        start: First batch size to try.
        cap: Largest batch size.
    """
    low, high = 0, start
    while high <= cap and fits(high):
        low, high = high, min(2 * high, cap) if high < cap else cap + 1
    if low == cap:
        return cap
    while high - low > max(round(low * PRECISION), 1):
        middle = round_down((low + high) // 2)
        if middle <= low:
            break
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def round_down(size: int) -> int:
    """Return a batch size that is a multiple of `MULTIPLE`, unless it is small."""
    return size if size < 2 * MULTIPLE else size // MULTIPLE * MULTIPLE


def probe(runner: TrialRunner, batch_size: int, values: dict[str, Any]) -> bool:
    """Return True if a few training steps with the longest samples do not run out of memory.

    Args:
        runner: Trains the model.
        batch_size: Samples per batch.
        values: Trainer settings of the probe.

    Raises:
        Exception: Any other error of the model.
    """
    # The optimizer allocates its state in its first step, after the accumulated batches.
    num_batches = max(PROBE_STEPS, runner.settings["trainer"].get("accumulate_grad_batches", 1) + 1)
    try:
        runner.run(StopAfterSteps(num_batches), make_batches(runner, batch_size), values)
        return True
    except StopIteration:  # fewer samples than this batch size
        return False
    except Exception as error:
        if not is_oom_error(error):
            raise
    # Outside the handler, because the traceback of the error references the tensors.
    release_memory()
    return False


def make_batches(runner: TrialRunner, batch_size: int) -> list[Any]:
    """Return a batch for a probe: of texts with the maximum length, or the first one of any other datamodule."""
    if not isinstance(runner.data, LabeledDataModule):
        runner.rebuild_data(batch_size)
        return [load_plain_batch(runner.model, runner.data, "training")[0]]
    batch, size = load_sample_batch(runner.data, training=True)
    indices = torch.arange(batch_size) % size

    def repeat(tensor: torch.Tensor) -> torch.Tensor:
        return tensor[indices.to(tensor.device)] if tensor.dim() and len(tensor) == size else tensor

    return [tree_map_only(torch.Tensor, repeat, batch)]


def count_training_samples(runner: TrialRunner) -> int:
    """Return the number of training samples; a large number if it is unknown."""
    data: Any = runner.data
    if isinstance(data, LabeledDataModule):
        return len(data.datasets["train"])  # type: ignore[arg-type]
    load_plain_batch(runner.model, data, "training")
    with suppress(TypeError, AttributeError):
        return len(data.train_dataloader().dataset)
    return UNKNOWN_SAMPLES


def compiles_planned_run(trainer: dict[str, Any], steps_per_epoch: int) -> bool:
    """Return True if the trainer will compile the network in a run with this number of steps per epoch."""
    epochs, max_steps = trainer.get("max_epochs", 1), trainer.get("max_steps", -1)
    planned = steps_per_epoch * epochs if epochs and epochs > 0 else float("inf")
    planned = min(planned, max_steps) if max_steps and max_steps > 0 else planned
    return trainer["compile"] is True or (trainer["compile"] == AUTO and planned >= trainer["compile_min_steps"])


@contextmanager
def limit_memory(device: torch.device) -> Iterator[float]:
    """Limit this process to `MEMORY_FRACTION` of the free memory of a GPU, and yield the limit in GiB."""
    total = torch.cuda.get_device_properties(device).total_memory
    available = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    torch.cuda.set_per_process_memory_fraction(MEMORY_FRACTION * available / total, device)
    try:
        yield MEMORY_FRACTION * available / GIB
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
