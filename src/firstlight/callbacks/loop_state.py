"""State of the training loop that an exact resume needs and that Lightning 2.6 does not save.

These are the metrics that accumulate over an epoch, the request to stop, the accumulation of gradients, which
parameters are frozen, and what Lightning does at the end of an epoch after it has called the callbacks.
"""

from operator import attrgetter
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from firstlight.distributed.collectives import all_gather_objects
from firstlight.logger.metrics_csv import MetricsCSVLogger

State = dict[str, Any]
# Attribute of the validation loop: names of the metrics that the last validation before a resume has logged.
RESTORED_METRICS = "firstlight_restored_metrics"


def get_loop_state(trainer: Any, fit_loop_state: State, num_updates: dict[str, int]) -> State:
    """Return the state as plain values and tensors.

    Args:
        trainer: The trainer, while it saves a checkpoint.
        fit_loop_state: State of the fit loop in this checkpoint. A partial epoch that `max_steps` has ended is changed
            to one that continues.
        num_updates: Number of updates of each metric of the module before the current validation.
    """
    module, loop = trainer.lightning_module, trainer.fit_loop
    current = fit_loop_state["epoch_progress"]["current"]
    is_epoch_end = current["processed"] == current["completed"] + 1
    is_partial = is_epoch_end and not trainer.should_stop and not loop.epoch_loop._num_ready_batches_reached()
    if is_partial:
        for counts in fit_loop_state["epoch_progress"].values():
            counts["processed"] -= 1
    return {
        "is_epoch_end": is_epoch_end and not is_partial,
        "is_partial": is_partial,
        "is_validating": trainer.validating,
        "should_stop": trainer.should_stop,
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
        "trainable": [name for name, param in module.named_parameters() if param.requires_grad],
        "untracked": [name for name, child in module.named_modules() if is_untracked(child)],
        "metrics_rows": [logger.num_rows for logger in trainer.loggers if isinstance(logger, MetricsCSVLogger)],
        "validation_metrics": list_logged_names(loop.epoch_loop.val_loop),
        "results": all_gather_objects(get_results(loop.epoch_loop._results)),
        "metric_states": all_gather_objects(get_metric_states(module, num_updates)),
    }


def list_logged_names(val_loop: Any) -> list[str]:
    """Return the names of the metrics that the last validation has logged, also one before a resume; sorted."""
    names = {str(item.meta.name) for item in val_loop._results.values() if item.meta.on_epoch}
    return sorted(names) if names else list(getattr(val_loop, RESTORED_METRICS, []))


def is_untracked(module: nn.Module) -> bool:
    """Return True if a module is a batch norm whose running statistics are frozen."""
    return getattr(module, "track_running_stats", True) is False and getattr(module, "running_mean", None) is not None


def restore_frozen(module: LightningModule, state: State) -> None:
    """Freeze and unfreeze the parameters and the running statistics of a module as they were.

    Lightning 2.6's BackboneFinetuning freezes the unfrozen layers again (issue 21901).
    """
    trainable, untracked = set(state["trainable"]), set(state["untracked"])
    for name, param in module.named_parameters():
        param.requires_grad_(name in trainable)
    for name, child in module.named_modules():
        if getattr(child, "running_mean", None) is not None and hasattr(child, "track_running_stats"):
            child.track_running_stats = name not in untracked


def restore_loop_state(trainer: Any, state: State, metrics: dict[str, float]) -> None:
    """Restore the state of this rank, and complete the end of an epoch.

    Args:
        trainer: The trainer, after Lightning has restored its loops.
        state: Result of `get_loop_state`.
        metrics: The latest metrics.
    """
    loop, connector = trainer.fit_loop, trainer._logger_connector
    trainer.should_stop = state["should_stop"]
    trainer.num_sanity_val_steps = 0  # the check would reset the metrics
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in metrics.items()}
    is_single = {name: tensor.float().double().equal(tensor) for name, tensor in tensors.items()}
    device = trainer.strategy.root_device if trainer.strategy.root_device.type != "mps" else torch.device("cpu")
    for name, tensor in tensors.items():
        connector._callback_metrics[name] = tensor.to(device, torch.float32 if is_single[name] else torch.float64)
    setattr(loop.epoch_loop.val_loop, RESTORED_METRICS, state["validation_metrics"])
    restore_metric_states(trainer.lightning_module, state["metric_states"][trainer.global_rank])
    restore_results(trainer, state["results"][trainer.global_rank])
    is_done = state["is_partial"] and loop.done  # the limit that ended the epoch still holds
    if is_done:
        loop.epoch_progress.increment_processed()
    if state["is_epoch_end"] or is_done:
        finish_epoch(trainer)
    elif loop.epoch_loop.batch_progress.current.completed:
        # The first batch after this one is not the first of its epoch, which would reset the sums of the metrics.
        connector._first_loop_iter = True


def finish_epoch(trainer: Any) -> None:
    """Update the schedulers that monitor a metric, and log the metrics of the epoch.

    Lightning does both after it has called the callbacks, so that a checkpoint of a callback lacks them.
    """
    loop, connector = trainer.fit_loop, trainer._logger_connector
    connector.epoch_end_reached()
    connector.on_epoch_end()
    if loop.epoch_loop._num_ready_batches_reached():
        loop.epoch_loop.update_lr_schedulers("epoch", update_plateau_schedulers=True)
    loop.epoch_loop._batches_that_stepped -= 1
    connector.update_train_epoch_metrics()
    loop.epoch_loop._batches_that_stepped += 1
    loop.epoch_progress.increment_completed()


def get_results(results: Any) -> list[State]:
    """Return what the module has logged with `on_epoch=True` since the start of the epoch."""
    return [get_result(metric) for metric in results.values() if metric.meta.on_epoch and not metric.has_reset]


def get_result(metric: Any) -> State:
    """Return the accumulated value of one logged metric, and the arguments with which it was logged."""
    meta = metric.meta
    names = ("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "enable_graph", "add_dataloader_idx")
    return {
        "meta": {name: getattr(meta, name) for name in (*names, "metric_attribute")},
        "reduce_fx": meta.reduce_fx.__name__,
        "sync_dist": meta.sync.should,
        "rank_zero_only": meta.sync.rank_zero_only,
        "value": metric.value.detach().cpu() if metric.is_tensor else None,
        "weight": int(metric.cumulated_batch_size) if metric.is_tensor and meta.is_mean_reduction else None,
        "step_value": to_cpu(metric._forward_cache),
    }


def to_cpu(value: Any) -> Any:
    """Return a tensor on the CPU; None for anything else."""
    return value.detach().cpu() if isinstance(value, Tensor) else None


def restore_results(trainer: Any, saved: list[State]) -> None:
    """Log the saved values again, and set their accumulated sums."""
    results, device = trainer.fit_loop.epoch_loop._results, trainer.strategy.root_device
    for entry in saved:
        is_tensor = entry["value"] is not None
        # A metric of torchmetrics is an attribute of the module, whose state is restored separately.
        find_metric = attrgetter(entry["meta"]["metric_attribute"] or "")
        value = entry["value"].to(device) if is_tensor else find_metric(trainer.lightning_module)
        step_value = entry["step_value"].to(device) if entry["step_value"] is not None else None
        if not is_tensor:
            value._forward_cache = step_value
        results.log(
            value=value,
            **entry["meta"],
            reduce_fx=entry["reduce_fx"],
            sync_dist=entry["sync_dist"],
            sync_dist_fn=trainer.strategy.reduce,
            rank_zero_only=entry["rank_zero_only"],
            batch_size=1,
        )
        metric = results[f"{entry['meta']['fx']}.{entry['meta']['name']}"]
        metric._forward_cache = step_value
        if is_tensor:
            metric.value = value
        if entry["weight"] is not None:
            metric.cumulated_batch_size = torch.tensor(entry["weight"], device=device)


def iter_metrics(module: nn.Module) -> dict[str, Metric]:
    """Return the metrics of torchmetrics in a module by name, with the states that metrics of a collection share."""
    for child in module.modules():
        if isinstance(child, MetricCollection):
            list(child.items(keep_base=True, copy_state=False))
    return {name: child for name, child in module.named_modules() if isinstance(child, Metric)}


def count_updates(module: nn.Module) -> dict[str, int]:
    """Return the number of updates of each metric of a module since its last reset."""
    return {name: metric._update_count for name, metric in iter_metrics(module).items()}


def get_metric_states(module: nn.Module, num_updates: dict[str, int]) -> dict[str, State]:
    """Return the states of the metrics of a module, except those that the current validation has updated."""
    states = {}
    for name, metric in iter_metrics(module).items():
        count = metric._update_count
        if count and num_updates.get(name, count) == count:
            values = {key: getattr(metric, key) for key in metric._defaults}
            states[name] = {"count": count, "values": move_to_device(values, torch.device("cpu"))}
    return states


def restore_metric_states(module: nn.Module, states: dict[str, State]) -> None:
    """Set the states of the metrics of a module."""
    for name, metric in iter_metrics(module).items():
        if name in states:
            for key, value in move_to_device(states[name]["values"], metric.device).items():
                setattr(metric, key, value)
            metric._update_count, metric._computed = states[name]["count"], None


def move_to_device(values: State, device: torch.device) -> State:
    """Return the states of a metric, which are tensors or lists of tensors, on another device."""
    return {
        key: [item.detach().to(device) for item in value] if isinstance(value, list) else value.detach().to(device)
        for key, value in values.items()
    }
