"""A job of a sweep: its name, its run directory, and whether it runs, resumes or is skipped."""

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
from firstlight.cli.hydra_files import redact_hydra_files
from firstlight.config.compose import compose_config
from firstlight.config.options import AUTO
from firstlight.config.overrides import drop_keys_of_replaced_classes
from firstlight.config.run_config import has_checkpoint
from firstlight.distributed.ranks import run_worker_rank
from firstlight.run.errors import shorten
from firstlight.run.files import SWEEP_FILE, read_json_or_empty
from firstlight.run.json_output import add_job, set_result
from firstlight.run.lock import WORKER_EXIT_TIMEOUT_S, acquire_run_lock, is_unlocked
from firstlight.run.overrides import list_overrides
from firstlight.run.parent import SWEEP_PID_VARIABLE
from firstlight.run.rank import get_launcher, is_nonzero_rank
from firstlight.run.signals import get_received_signal
from firstlight.run.text import format_override

# W&B accepts names of up to 128 characters.
MAX_NAME_CHARACTERS = 120


def run_job(task: Callable[[DictConfig], Any], failures: list[int], cfg: DictConfig) -> Any:
    """Run one job. Failures are printed and counted, so that the remaining sweep jobs still run.

    Args:
        task: The command.
        failures: Receives the exit code of the job if it fails.
        cfg: Config of the job.
    """
    if is_nonzero_rank():  # Slurm may run one job in several processes
        return run_worker_rank(task)
    redact_hydra_files()
    drop_keys_of_replaced_classes(cfg, HydraConfig.get())
    job = HydraConfig.get().job
    is_sweep_job = HydraConfig.get().mode == RunMode.MULTIRUN
    if is_sweep_job:
        assign_job_metadata(cfg)
        remove_run_variables()
        if is_managed_sweep() and (reason := get_skip_reason(Path(cfg.output_dir))):
            print(f"job {job.num}  {cfg.name}: {reason}", flush=True)
            return None
        print(f"\njob {job.num}  {cfg.name}", flush=True)
    try:
        if is_sweep_job and needs_subprocess(cfg):
            return run_job_in_subprocess(cfg, failures)
        result = task(prepare_resume_or_restart(cfg) if is_sweep_job and is_managed_sweep() else cfg)
        report_result(cfg, 0, result)
        return result
    except Exception as error:
        if number := get_received_signal():
            raise SystemExit(128 + number) from error
        code = print_error(error, cfg.command)
        failures.append(1 if is_sweep_job else code)
        report_result(cfg, code, None)
    # Outside the handler, because the traceback of the error references the model of the job.
    if "torch" in sys.modules:
        from firstlight.hardware.device import release_memory

        release_memory()
    return None


def report_result(cfg: DictConfig, code: int, result: dict[str, Any] | None) -> None:
    """Add the result of a job to the JSON object of the command."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        add_job(str(cfg.output_dir), code, result)
    elif result is not None:
        set_result(result)


def needs_subprocess(cfg: DictConfig) -> bool:
    """Return True if a job starts processes for several devices, which the process of the sweep cannot join."""
    return "trainer" in cfg and cfg.trainer.strategy != AUTO and get_launcher() != "Slurm"


def run_job_in_subprocess(cfg: DictConfig, failures: list[int]) -> None:
    """Run a job as a command in a process of its own, which prints its own errors."""
    run_dir = Path(cfg.output_dir)
    overrides = [format_override("resume", run_dir), *list_place_overrides()]
    if not has_checkpoint(run_dir):
        prepare_resume_or_restart(cfg)
        metadata = {"output_dir": run_dir, "name": cfg.name, "group": cfg.group}
        places = [format_override(name, str(value)) for name, value in metadata.items()]
        overrides = [*list_overrides(), *places]
    environment = {**os.environ, SWEEP_PID_VARIABLE: str(os.getpid())}
    process = subprocess.Popen([sys.executable, "-m", f"firstlight.{cfg.command}", *overrides], env=environment)
    try:
        code = process.wait()
    except BaseException as stop:
        # The process received Ctrl-C too, and saves a checkpoint before it exits.
        if isinstance(stop, SystemExit):
            process.terminate()
        process.wait()
        raise
    failures += [1] if code else []
    report_result(cfg, code, None)


def get_skip_reason(run_dir: Path) -> str:
    """Return why a job must not be started, or "" if it should run."""
    status = read_json_or_empty(run_dir / "run.json").get("status")
    if status == "running":
        return "" if is_unlocked(run_dir, WORKER_EXIT_TIMEOUT_S) else "running in another process, skipped"
    return "already finished, skipped" if status == "finished" else ""


def assign_job_metadata(cfg: DictConfig) -> None:
    """Set run directory, name and group of a sweep job."""
    hydra_cfg = HydraConfig.get()
    with open_dict(cfg):
        cfg.output_dir = os.path.relpath(hydra_cfg.runtime.output_dir)
        cfg.name = cfg.name or get_swept_overrides()
        cfg.group = cfg.group or Path(hydra_cfg.sweep.dir).name


def remove_run_variables() -> None:
    """Remove the variables that name one W&B run, which the jobs of a sweep would share."""
    for name in ("WANDB_RUN_ID", "WANDB_RESUME"):
        if value := os.environ.pop(name, ""):
            print(f"Ignored {name}={value}: each job of a sweep is a run of its own.", flush=True)


def is_managed_sweep() -> bool:
    """Return True if `make sweep` created the sweep directory, so that the jobs in it belong to this sweep."""
    return (Path(HydraConfig.get().sweep.dir) / SWEEP_FILE).is_file()


def prepare_resume_or_restart(cfg: DictConfig) -> DictConfig:
    """Return the config that resumes a job from its last checkpoint, or `cfg` if the job has none.

    Without a checkpoint, the files of an earlier attempt are renamed, so that the job starts from scratch.
    """
    run_dir = Path(cfg.output_dir)
    if read_json_or_empty(run_dir / "run.json") and has_checkpoint(run_dir):
        return compose_config(cfg.command, [f"resume={run_dir}", *list_place_overrides()])
    move_attempt_files(run_dir)
    return cfg


def move_attempt_files(run_dir: Path) -> None:
    """Rename the files of an attempt without a checkpoint, so that another one can start from scratch."""
    with acquire_run_lock(run_dir, WORKER_EXIT_TIMEOUT_S):
        # run.json last, because it marks the directory as taken.
        for name in ("output.log", "metrics.csv", "run.json"):
            if (run_dir / name).is_file():
                stem, suffix = name.split(".")
                (run_dir / name).replace(run_dir / f"{stem}.previous.{suffix}")


def list_place_overrides() -> list[str]:
    """Return the overrides of this job that its saved config cannot state: they name places, servers and accounts."""
    groups = ("callbacks.", "logger.", "data.cache_dir=")
    return [override for override in list_overrides() if override.lstrip("+").startswith(groups)]


def get_swept_overrides() -> str:
    """Return the overrides of this job that differ between the jobs of the sweep, shortened to a name."""
    same = HydraConfig.get().job.config.override_dirname.exclude_keys
    swept = ",".join(word for word in list_overrides() if word.partition("=")[0].lstrip("+~") not in same)
    return shorten(swept, MAX_NAME_CHARACTERS)
