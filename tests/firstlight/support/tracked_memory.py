"""Measure the memory of a training step with torch's own tracker, to compare it with the dry run's."""

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils._pytree import tree_leaves

from firstlight.mps.dry_run_step import DryRunStep
from firstlight.mps.simulation import simulate_mps_dispatch

# Category of torch's tracker -> category of the dry run. The gradients of activations are temporaries for torch.
CATEGORIES = {
    "PARAM": "weights",
    "BUFFER": "weights",
    "GRAD": "gradients",
    "OPT": "optimizer state",
    "ACT": "activations",
    "TEMP": "activations",
    "OTH": "inputs",
}


def track_training_peak(model, data, trainer) -> dict[str, int]:
    """Return the peak of the second training step in bytes by memory category.

    Torch's tracker fails with frozen layers ("cannot register a hook").
    """
    with isolate_rng(include_cuda=False), simulate_mps_dispatch("32-true"):
        step = DryRunStep(model, data, trainer, "32-true", deterministic=False)
        step.trainer.strategy.setup_optimizers(step.trainer)
        (optimizer,) = step.trainer.strategy.optimizers
        with step.recorder:  # returns zeros for values that the step reads from the device
            run_step(step)
        optimizer.step()
        tracker = MemTracker()
        tracker.track_external(step.model, optimizer)
        with tracker, step.recorder:
            run_step(step, tracker)
        (snapshot,) = (
            values for device, values in tracker.get_tracker_snapshot("peak").items() if device.type == "meta"
        )
    peak = dict.fromkeys(CATEGORIES.values(), 0)
    for reference, size in snapshot.items():
        if reference != "Total":
            peak[CATEGORIES[reference.name]] += size
    return peak


def run_step(step: DryRunStep, tracker: MemTracker | None = None) -> None:
    """Run forward and backward pass in Lightning's order: gradients live through the next forward pass."""
    batch = step.make_meta_batch("training", step.batch_size)
    if tracker:
        tracker.track_external(*(leaf for leaf in tree_leaves(batch) if isinstance(leaf, torch.Tensor)))
    loss = step.run_step(step.model.training_step, batch)
    step.model.zero_grad()
    loss.backward()
