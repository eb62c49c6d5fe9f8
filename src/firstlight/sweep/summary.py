"""The jobs of a sweep and the best one, as plain values for json=true."""

import math
from pathlib import Path
from typing import Any

from firstlight.run.files import BEST_CHECKPOINT_FILE, read_json_or_empty
from firstlight.sweep.jobs import load_all_jobs, parse_job_number
from firstlight.sweep.objectives import resolve_directions
from firstlight.sweep.plan import SweepPlan
from firstlight.sweep.results import collect_statistics, is_complete_record, parse_user_overrides

Job = dict[str, Any]


def summarize_sweep(sweep_dir: Path, plan: SweepPlan, num_remaining: int) -> dict[str, Any]:
    """Return the jobs of a sweep, the best one, and statistics over seeds and folds.

    Args:
        sweep_dir: The sweep directory.
        plan: The plan of the sweep.
        num_remaining: Number of jobs that the same command would run.
    """
    records = [record for record in load_all_jobs(sweep_dir) if is_complete_record(record)]
    jobs = [make_job(sweep_dir, number, record) for number, record in enumerate(records)]
    objective = find_objective(jobs, plan)
    return {
        "sweep_dir": str(sweep_dir),
        "num_jobs": plan.num_jobs,
        "num_remaining": num_remaining,
        "jobs": jobs,
        "best": find_best_job(jobs, *objective) if objective else None,
        "statistics": [make_statistics(row) for row in collect_statistics(sweep_dir)],
    }


def make_statistics(row: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration: its overrides, its numbers of finished and of all jobs, and its metrics over them."""
    metrics = {
        name: dict(zip(("mean", "std", "n"), values, strict=True)) for name, values in row["metrics"].items() if values
    }
    return {"overrides": row["overrides"], "num_finished": row["runs"], "num_jobs": row["total"], "metrics": metrics}


def make_job(sweep_dir: Path, number: int, record: dict[str, Any]) -> Job:
    """Return a job: its number, its overrides by key, its status and the reason, its metrics and its directory."""
    run_dir = Path(record["run_dir"])
    has_started = run_dir != sweep_dir
    return {
        "job": parse_job_number(run_dir.relative_to(sweep_dir)) if has_started else number,
        "run_dir": str(run_dir) if has_started else None,
        "overrides": parse_user_overrides(record["overrides"]),
        "status": record["status"],
        "reason": record.get("reason"),
        "metrics": record.get("metrics") or {},
    }


def find_objective(jobs: list[Job], plan: SweepPlan) -> tuple[str, str] | None:
    """Return the metric that decides which job is the best one, and its direction ("min" or "max").

    It is the metric of a search. For a grid, it is the metric by which each run has chosen its best checkpoint.

    Returns:
        None for a search with several metrics, or if the runs have chosen by different metrics or by none.
    """
    if plan.is_search:
        metrics = plan.objective_metrics
        directions = resolve_directions(metrics, plan.sweeper.get("direction"))
        return (metrics[0], directions[0][:3]) if len(metrics) == 1 else None
    finished = [Path(job["run_dir"]) for job in jobs if job["status"] == "finished"]
    records = [read_json_or_empty(run_dir / BEST_CHECKPOINT_FILE) for run_dir in finished]
    chosen = {(record.get("monitor"), record.get("mode")) for record in records}
    metric, mode = chosen.pop() if len(chosen) == 1 else (None, None)
    return (metric, mode) if isinstance(metric, str) and mode in ("min", "max") else None


def find_best_job(jobs: list[Job], metric: str, mode: str) -> dict[str, Any] | None:
    """Return the finished job with the best value of a metric; the first one of several.

    Args:
        jobs: The jobs.
        metric: Name of the metric.
        mode: "min" or "max".
    """
    measured = [job for job in jobs if job["status"] == "finished" and is_finite(job["metrics"].get(metric))]
    if not measured:
        return None
    sign = 1 if mode == "min" else -1
    best = min(measured, key=lambda job: sign * job["metrics"][metric])
    kept = {name: best[name] for name in ("job", "run_dir", "overrides")}
    return {**kept, "metric": metric, "mode": mode, "value": best["metrics"][metric]}


def is_finite(value: object) -> bool:
    """Return True if a value is a number, and neither NaN nor infinite."""
    return isinstance(value, int | float) and math.isfinite(value)
