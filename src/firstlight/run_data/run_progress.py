"""How far a running run is, and the time left, computed from its files: the training process does nothing for it."""

import json
import math
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from firstlight.config.run_config import load_plain_yaml
from firstlight.config.switches import count_scheduled_steps
from firstlight.run.containment import open_inside, read_text_inside
from firstlight.run_data.learning_curves import CurveTable
from firstlight.run_data.run_info import get_dict, to_json_number

# A larger config.yaml is not read.
MAX_CONFIG_BYTES = 100_000
# A run without new metrics for this many seconds was probably killed; its time left is unknown.
MAX_SILENCE_S = 600


def load_run_plan(run_dir: Path) -> dict[str, Any]:
    """Return what the progress of a run is relative to; unknown values are None.

    Returns:
        "max_epochs", "max_steps", "steps_per_epoch" (from the number of samples), "started" (of the only attempt, in
        seconds since 1970). Only if the number of steps varies between epochs, "scheduled_steps" of the run.
    """
    plan: dict[str, Any] = dict.fromkeys(("max_epochs", "max_steps", "steps_per_epoch", "started"))
    try:
        record = json.loads(read_text_inside(run_dir / "run.json"))
        with open_inside(run_dir / "config.yaml") as file:
            config = load_plain_yaml(file.read(MAX_CONFIG_BYTES).decode())
    except Exception:  # YAML raises many kinds
        return plan
    if not isinstance(record, dict) or not isinstance(config, dict):
        return plan
    trainer = get_dict(config, "trainer")
    plan |= {name: to_positive_int(trainer.get(name)) for name in ("max_epochs", "max_steps")}
    num_samples = to_positive_int(get_dict(record, "samples").get("train"))
    batch_size = to_positive_int(get_dict(config, "data").get("batch_size"))
    if num_samples and batch_size and trainer.get("limit_train_batches") in (None, 1.0):
        devices = to_positive_int(record.get("devices")) or 1
        num_batches = math.ceil(num_samples / (batch_size * devices))
        accumulated = to_positive_int(trainer.get("accumulate_grad_batches")) or 1
        scheduling: dict[Any, Any] = get_dict(get_dict(get_dict(config, "callbacks"), "accumulation"), "scheduling")
        if not scheduling:
            plan["steps_per_epoch"] = math.ceil(num_batches / accumulated)
        elif all(isinstance(epoch, int) and to_positive_int(count) for epoch, count in scheduling.items()):
            max_epochs, max_steps = plan["max_epochs"], plan["max_steps"] or -1
            plan["scheduled_steps"] = max_epochs and count_scheduled_steps(
                scheduling, num_batches, max_epochs, max_steps
            )
    attempts = record.get("attempts")
    if isinstance(attempts, list) and len(attempts) == 1:
        plan["started"] = parse_time(record.get("started"))
    return plan


def describe_progress(
    plan: dict[str, Any], table: CurveTable, changed_at: float, observed: tuple[float, int] | None = None
) -> dict[str, Any]:
    """Return the fields "progress" (a fraction), "left_s" and "position" of a running run; unknown values are None.

    The time left is the number of remaining steps times the duration of a step: since the observation, else the
    logged duration, else since the start of the run. Only the last one includes start-up, and only the logged duration
    excludes validation.

    Args:
        plan: See `load_run_plan`.
        table: The metrics so far.
        changed_at: When metrics.csv changed last, in seconds since 1970.
        observed: Time and number of steps of an earlier change.
    """
    last_step = table.get_last_step()
    if last_step is None:
        return {"progress": None, "left_s": None, "position": None}
    steps = last_step + 1
    is_constant = "scheduled_steps" not in plan
    steps_per_epoch = (find_steps_per_epoch(table.last_steps) or plan["steps_per_epoch"]) if is_constant else None
    by_epochs = steps_per_epoch * plan["max_epochs"] if steps_per_epoch and plan["max_epochs"] else None
    totals = [plan["max_steps"], by_epochs, plan.get("scheduled_steps")]
    total = min((total for total in totals if total), default=None)
    position = f"step {steps:,}" + (f" of {max(total, steps):,}" if total else "")
    if steps_per_epoch:
        epoch = min(math.ceil(steps / steps_per_epoch), plan["max_epochs"] or steps)
        position += f", epoch {epoch:,}" + (f" of {plan['max_epochs']:,}" if plan["max_epochs"] else "")
    step_s = None
    if observed is not None and steps > observed[1] and changed_at > observed[0]:
        step_s = (changed_at - observed[0]) / (steps - observed[1])
    elif math.isfinite(logged_ms := table.latest.get("speed/step_ms", math.nan)):
        step_s = logged_ms / 1000
    elif plan["started"] is not None and changed_at > plan["started"]:
        step_s = (changed_at - plan["started"]) / steps
    is_alive = time.time() - changed_at < MAX_SILENCE_S
    left_s = max(total - steps, 0) * step_s if total and step_s is not None and is_alive else None
    return {"progress": min(steps / total, 1.0) if total else None, "left_s": left_s, "position": position}


def add_progress(run: dict[str, Any], fields: dict[str, Any], table: CurveTable) -> None:
    """Add the progress and the latest metrics to a running run, in place; run.json has no metrics before its end."""
    position = fields["position"]
    run |= {"progress": fields["progress"], "left_s": fields["left_s"]}
    run["summary"] = ({"progress": position} if position else {}) | run["summary"]
    run["metrics"] = {name: to_json_number(value) for name, value in table.latest.items()} | run["metrics"]


def find_steps_per_epoch(last_steps: dict[int, int]) -> int | None:
    """Return the number of steps of an epoch, from the last completed one; None before the second epoch."""
    # The newest epoch may be incomplete.
    completed = sorted(last_steps)[:-1]
    if not completed or completed[-1] < 0:
        return None
    return max(round((last_steps[completed[-1]] + 1) / (completed[-1] + 1)), 1)


def to_positive_int(value: Any) -> int | None:
    """Return a positive integer, or None for any other value."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53 else None


def parse_time(text: Any) -> float | None:
    """Return a time in ISO 8601 in seconds since 1970, or None if it is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return None
