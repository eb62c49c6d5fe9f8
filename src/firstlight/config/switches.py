"""Training switches: callbacks of the config that are off while their main key is null, and what they exclude."""

import math
from typing import Any

from omegaconf import OmegaConf

from firstlight.config import schema
from firstlight.config.overrides import is_key_overridden
from firstlight.run.errors import ConfigError, MissingPackageError, invalid_value, missing_package
from firstlight.run.packages import is_installed


def find_switch(node: dict[str, Any]) -> str | None:
    """Return the main key of a callback's class, its constant `switch`; None for a callback that is always on."""
    schema.validate_trusted(str(node["_target_"]))
    switch = schema.read_signature(str(node["_target_"])).constants.get("switch")
    return switch if isinstance(switch, str) else None


def is_switched_off(node: dict[str, Any]) -> bool:
    """Return True if the main key of an entry is null, so that nothing is imported or instantiated for it."""
    switch = find_switch(node)
    return switch is not None and node.get(switch) is None


def validate_off_switch(where: str, node: dict[str, Any]) -> None:
    """Check that the command line sets no other key of an entry that is off.

    Args:
        where: Config path of the entry, such as "callbacks.ema".
        node: The entry.

    Raises:
        ConfigError: If it does. A main key that is set to null explicitly, as in a sweep, switches all of them off.
    """
    switch = find_switch(node)
    chosen = [name for name in node if name != switch and is_key_overridden(f"{where}.{name}")]
    if chosen and not is_key_overridden(f"{where}.{switch}"):
        raise ConfigError(
            f"{where}.{chosen[0]}={node[chosen[0]]} has no effect, because {where}.{switch} is null. Set "
            f"{where}.{switch}, or remove the override."
        )


def find_active(settings: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Return the entry of a switch of configs/callbacks/ that is on; None if it is off or missing."""
    node = (settings.get("callbacks") or {}).get(name)
    return node if isinstance(node, dict) and "_target_" in node and not is_switched_off(node) else None


def list_active_switches(config: Any) -> dict[str, Any]:
    """Return the entries of a config's callbacks that are training switches and on, by name."""
    entries: Any = OmegaConf.to_container(config).get("callbacks") or {}  # type: ignore[union-attr]
    nodes = {name: node for name, node in entries.items() if isinstance(node, dict) and "_target_" in node}
    return {name: node for name, node in nodes.items() if find_switch(node) and not is_switched_off(node)}


def get_accumulated_batches(settings: dict[str, Any]) -> int:
    """Return the largest number of batches per optimizer step of a training run.

    Args:
        settings: Config of the run; null counts as 1.
    """
    accumulation = find_active(settings, "accumulation") or {}
    return max([settings["trainer"].get("accumulate_grad_batches") or 1, *accumulation.get("scheduling", {}).values()])


def count_scheduled_steps(scheduling: dict[int, int], num_batches: int, max_epochs: int, max_steps: int) -> int:
    """Return the number of optimizer steps of a run whose accumulation depends on the epoch.

    Args:
        scheduling: First epoch -> batches per step. Before the first of these epochs, 1 batch.
        num_batches: Batches of an epoch; the last step of an epoch may accumulate fewer.
        max_epochs: Epochs of the run.
        max_steps: Maximum number of steps; -1: no limit.
    """
    factors = {0: 1} | scheduling
    starts = [epoch for epoch in sorted(factors) if epoch < max_epochs]
    lengths = [end - start for start, end in zip(starts, [*starts[1:], max_epochs], strict=True)]
    pairs = zip(starts, lengths, strict=True)
    steps = sum(length * math.ceil(num_batches / factors[start]) for start, length in pairs)
    return min(steps, max_steps) if max_steps != -1 else steps


def validate_switches(settings: dict[str, Any]) -> None:
    """Check the values of switches that the types of their arguments do not describe, and what they exclude.

    Raises:
        ConfigError: If a value is invalid, or two settings exclude each other.
        MissingPackageError: If a switch requires a package that is not installed.
    """
    trainer, model = settings["trainer"], settings["model"]
    if accumulation := find_active(settings, "accumulation"):
        validate_accumulation(accumulation.get("scheduling"), trainer)
    if unfreezing := find_active(settings, "unfreezing"):
        validate_unfreezing(unfreezing.get("schedule"), trainer)
    ema = find_active(settings, "ema")
    if ema and not 0 < ema["decay"] < 1:
        expected = "a number greater than 0 and less than 1"
        fix = "Use e.g. callbacks.ema.decay=0.999."
        raise ConfigError(invalid_value("callbacks.ema.decay", ema["decay"], expected, fix))
    precision = str(trainer.get("precision"))
    if ema and precision in ("bf16-true", "16-true"):
        mixed = precision.replace("true", "mixed")
        raise ConfigError(
            f"callbacks.ema.decay does not support trainer.precision={precision}, which rounds the small changes of an "
            f"average to 0. Use trainer.precision={mixed}."
        )
    is_sharded = trainer.get("strategy") == "fsdp"
    for key, is_on in {
        "callbacks.ema.decay": ema is not None,
        "callbacks.unfreezing.schedule": unfreezing is not None,
        "model.lora_rank": model.get("lora_rank") is not None,
    }.items():
        if is_on and is_sharded:
            raise ConfigError(f"{key} does not support trainer.strategy=fsdp. Use trainer.strategy=ddp.")
    if model.get("lora_rank") is not None and model.get("lora_dropout") == 1:
        expected = "a number of at least 0 and less than 1"
        raise ConfigError(
            invalid_value("model.lora_dropout", model["lora_dropout"], expected, "Use e.g. model.lora_dropout=0.1.")
        )
    if model.get("lora_rank") is not None and not is_installed("peft"):
        raise MissingPackageError(missing_package(f"model.lora_rank={model['lora_rank']}", "peft", "lora"))


def validate_accumulation(scheduling: Any, trainer: dict[str, Any]) -> None:
    """Check a schedule of gradient accumulation.

    Raises:
        ConfigError: If it does not map epochs to numbers of batches, the trainer accumulates too, or the run
            reaches none of these epochs.
    """
    key = "callbacks.accumulation.scheduling"
    if not is_epoch_mapping(scheduling) or not all(is_integer(value, 1) for value in scheduling.values()):
        expected = "a mapping from epochs (from 0) to batches per step (from 1)"
        raise ConfigError(invalid_value(key, scheduling, expected, f"Use e.g. '{key}={{0:8,4:1}}'."))
    batches = trainer.get("accumulate_grad_batches") or 1
    if batches != 1:
        raise ConfigError(
            f"{key} and trainer.accumulate_grad_batches={batches} exclude each other. Remove one of them."
        )
    validate_first_epoch(key, scheduling, trainer)


def validate_unfreezing(schedule: Any, trainer: dict[str, Any]) -> None:
    """Check a schedule of unfreezing.

    Raises:
        ConfigError: If it does not map epochs to lists of patterns, or the run reaches none of them.
    """
    key = "callbacks.unfreezing.schedule"
    is_list = is_epoch_mapping(schedule) and all(
        isinstance(value, list) and value and all(isinstance(item, str) for item in value)
        for value in schedule.values()
    )
    if not is_list:
        expected = "a mapping from epochs (from 0) to lists of patterns of parameter names"
        fix = f"Use e.g. '{key}={{0:[network.fc.*],2:[network.*]}}'."
        raise ConfigError(invalid_value(key, schedule, expected, fix))
    if set(schedule) == {0}:
        raise ConfigError(
            f"{key} has no effect with epoch 0 only: all parameters are trained from the start. Add later epochs, or "
            "use freeze=[<pattern>]."
        )
    validate_first_epoch(key, schedule, trainer)


def validate_first_epoch(key: str, schedule: dict[int, Any], trainer: dict[str, Any]) -> None:
    """Check that a run reaches the first epoch of a schedule.

    Raises:
        ConfigError: If it does not.
    """
    max_epochs: Any = trainer.get("max_epochs")
    first = min(schedule)
    if is_integer(max_epochs, 1) and first >= max_epochs:
        raise ConfigError(
            f"{key} starts in epoch {first}, which the run does not reach: epochs count from 0, and "
            f"trainer.max_epochs={max_epochs}. Decrease the epoch, or increase trainer.max_epochs."
        )


def describe_unreached(key: str, schedule: dict[int, Any], max_epochs: int | None) -> str | None:
    """Return a note on the epochs of a schedule that a run does not reach; None if it reaches all of them."""
    unreached = [epoch for epoch in sorted(schedule) if is_integer(max_epochs, 1) and epoch >= (max_epochs or 0)]
    if not unreached:
        return None
    epochs = f"epoch{'s' * (len(unreached) > 1)} {', '.join(map(str, unreached))}"
    return f"note      trainer.max_epochs={max_epochs} does not reach {epochs} (from 0) of {key}"


def is_epoch_mapping(value: Any) -> bool:
    """Return True if a value is a mapping whose keys are epochs; an empty one is not."""
    return isinstance(value, dict) and bool(value) and all(is_integer(key, 0) for key in value)


def is_integer(value: Any, minimum: int) -> bool:
    """Return True if a value is an integer of at least a minimum; true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum
