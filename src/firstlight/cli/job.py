"""A job of a sweep: its name, its folder, and whether it runs, goes on or is done."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from firstlight.cli.errors import print_error
from firstlight.config.compose import compose_config, has_checkpoint
from firstlight.config.options import AUTO
from firstlight.distributed.ranks import run_worker_rank
from firstlight.run.files import read_json_or_empty
from firstlight.run.lock import WORKER_EXIT_TIMEOUT_S, acquire_run_lock, is_unlocked
from firstlight.run.rank import is_worker_rank

# What was asked for by `make sweep`, in the sweep's folder.
SWEEP_FILE = "sweep.json"


def run_job(task: Callable[[DictConfig], Any], failures: list[str], cfg: DictConfig) -> Any:
    """Run one job; a failure is told and counted, so that the other jobs of a sweep go on."""
    if is_worker_rank():  # of a job that Slurm runs in several processes
        return run_worker_rank(task)
    job = HydraConfig.get().job
    in_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    if in_sweep:
        assign_job_metadata(cfg)
        if is_resumable_sweep() and (state := get_skip_reason(Path(cfg.output_dir))):
            print(f"job {job.num}  {cfg.name}: {state}", flush=True)
            return None
        print(f"\njob {job.num}  {cfg.name}", flush=True)
    try:
        if in_sweep and needs_subprocess(cfg):
            return run_job_in_subprocess(cfg, failures)
        return task(resume_job_config(cfg) if in_sweep and is_resumable_sweep() else cfg)
    except Exception as error:
        print_error(error, cfg.command)
        failures.append(cfg.command)
    # Outside the handler: the error's traceback held the job's model.
    if "torch" in sys.modules:
        from firstlight.hardware.device import release_memory

        release_memory()
    return None


def needs_subprocess(cfg: DictConfig) -> bool:
    """Say whether a job makes processes for its devices, which none of the sweep's own can be."""
    return "trainer" in cfg and cfg.trainer.strategy != AUTO and "SLURM_PROCID" not in os.environ


def run_job_in_subprocess(cfg: DictConfig, failures: list[str]) -> None:
    """Run a job as a command of its own, which tells what becomes of it."""
    folder = Path(cfg.output_dir)
    words = [f"resume={folder}"]
    if not has_checkpoint(folder):
        resume_job_config(cfg)
        own = {"output_dir": folder, "name": cfg.name, "group": cfg.group}
        words = [*HydraConfig.get().overrides.task, *(f"{name}='{value}'" for name, value in own.items())]
    process = subprocess.Popen([sys.executable, "-m", f"firstlight.{cfg.command}", *words])
    try:
        code = process.wait()
    except BaseException as stop:
        # Ctrl-C has reached it, too; it saves before it ends.
        if isinstance(stop, SystemExit):
            process.terminate()
        process.wait()
        raise
    failures += [cfg.command] if code else []


def get_skip_reason(folder: Path) -> str:
    """Return why a job is not to be started: it is finished, or another process runs it; nothing if it is."""
    status = read_json_or_empty(folder / "run.json").get("status")
    if status == "running":
        return "" if is_unlocked(folder, WORKER_EXIT_TIMEOUT_S) else "is running"
    return "is finished" if status == "finished" else ""


def assign_job_metadata(cfg: DictConfig) -> None:
    """Give a job of a sweep its folder, its name and its group."""
    hydra_cfg = HydraConfig.get()
    with open_dict(cfg):
        cfg.output_dir = os.path.relpath(hydra_cfg.runtime.output_dir)
        cfg.name = cfg.name or get_swept_overrides()
        cfg.group = cfg.group or Path(hydra_cfg.sweep.dir).name


def is_resumable_sweep() -> bool:
    """Say whether the sweep is one of `make sweep`, whose folder is no other's: what lies there is its own."""
    return (Path(HydraConfig.get().sweep.dir) / SWEEP_FILE).is_file()


def resume_job_config(cfg: DictConfig) -> DictConfig:
    """Return the configuration by which a job goes on from its last checkpoint; without one, it starts anew."""
    folder = Path(cfg.output_dir)
    if read_json_or_empty(folder / "run.json") and has_checkpoint(folder):
        return compose_config(cfg.command, [f"resume={folder}"])
    with acquire_run_lock(folder):
        # A folder with run.json is taken: that goes last.
        for name in ("output.log", "metrics.csv", "run.json"):
            if (folder / name).is_file():
                stem, suffix = name.split(".")
                (folder / name).replace(folder / f"{stem}.previous.{suffix}")
    return cfg


def get_swept_overrides() -> str:
    """Return the settings of this job of a sweep that are not the same in all of them."""
    cfg = HydraConfig.get()
    same = cfg.job.config.override_dirname.exclude_keys
    return ",".join(word for word in cfg.overrides.task if word.partition("=")[0].lstrip("+~") not in same)
