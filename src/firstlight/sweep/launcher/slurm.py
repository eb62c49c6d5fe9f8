"""Submitit launchers: each job of a sweep as a Slurm job, or as a local process without Slurm."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firstlight.sweep.launcher import slurm_queue
from firstlight.sweep.launcher.submitit import SubmititLauncher

# End a job as soon as one of its tasks fails. Pass the cores per task to srun, which does not take them over from
# sbatch since Slurm 22.05.
SETUP_COMMANDS = ["export SLURM_KILL_BAD_EXIT=1", "export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}"]
# Seconds between two queries of Slurm, which double from the first value to the second.
POLL_INTERVAL_S, MAX_POLL_INTERVAL_S = 2.0, 15.0
# Seconds until a result written on a compute node is visible on this machine.
FILESYSTEM_LATENCY_S = 5.0


class SlurmLauncher(SubmititLauncher):
    """Slurm jobs that save, requeue and resume at their time limit.

    Args:
        partition: Partition to submit to.
        gpus_per_node: GPUs per node.
        cpus_per_task: CPU cores per task.
        mem_gb: Memory per node in GB.
        timeout_min: Time limit per attempt in minutes.
        nodes: Nodes per job.
        tasks_per_node: Tasks (processes) per node.
        max_parallel_jobs: Maximum number of jobs that run at the same time.
        signal_delay_s: Seconds before the time limit at which a job saves.
        max_requeues: Maximum number of attempts that may reach the time limit.
        account: Account to charge.
        qos: Quality of service.
        constraint: Required node features.
        setup: Shell commands to run before training.
        additional_parameters: Additional sbatch options.
    """

    program = "sbatch"
    cluster = "slurm"

    def __init__(
        self,
        partition: str | None = None,
        gpus_per_node: int | None = None,
        cpus_per_task: int | None = None,
        mem_gb: int | None = None,
        timeout_min: int = 60,
        nodes: int = 1,
        tasks_per_node: int = 1,
        max_parallel_jobs: int = 256,
        signal_delay_s: int = 120,
        max_requeues: int = 1000,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        setup: list[str] | None = None,
        additional_parameters: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.max_requeues = max_requeues
        optional = {
            "slurm_partition": partition,
            "gpus_per_node": gpus_per_node,
            "cpus_per_task": cpus_per_task,
            "mem_gb": mem_gb,
            "slurm_account": account,
            "slurm_qos": qos,
            "slurm_constraint": constraint,
        }
        self.executor_params = {name: value for name, value in optional.items() if value is not None} | {
            "timeout_min": timeout_min,
            "nodes": nodes,
            "tasks_per_node": tasks_per_node,
            "slurm_array_parallelism": max_parallel_jobs,
            "slurm_signal_delay_s": signal_delay_s,
            "slurm_setup": [*SETUP_COMMANDS, *(setup or [])],
            "slurm_additional_parameters": {"requeue": True, **(additional_parameters or {})},
        }

    def reattach_jobs(self, sweep_dir: Path, numbers: Sequence[int]) -> dict[int, Any]:
        """Return the jobs that an earlier command submitted and that are still queued or running, by job number."""
        from submitit import SlurmJob

        ids, queued = slurm_queue.load_job_ids(sweep_dir), slurm_queue.list_queued_job_ids() or set()
        job_dir = slurm_queue.get_submitit_dir(sweep_dir) / "%j"
        tasks = range(self.executor_params["nodes"] * self.executor_params["tasks_per_node"])
        return {number: SlurmJob(job_dir, ids[number], tasks) for number in numbers if ids.get(number) in queued}

    def submit(self, sweep_dir: Path, numbers: list[int], arguments: list[tuple[Any, ...]]) -> dict[int, Any]:
        """Submit jobs as one job array, and store their IDs."""
        submitted = self.make_executor(sweep_dir).map_array(self, *zip(*arguments, strict=True))
        jobs = dict(zip(numbers, submitted, strict=True))
        slurm_queue.add_job_ids(sweep_dir, jobs)
        return jobs

    def wait(self, jobs: dict[int, Any]) -> None:
        """Wait until each job has a result or is no longer known to Slurm."""
        pending = set(jobs.values())
        interval_s, polled_at = POLL_INTERVAL_S, time.monotonic()
        while pending:
            pending = {job for job in pending if not slurm_queue.has_result(job)}
            if pending and time.monotonic() - polled_at > interval_s:
                if missing := slurm_queue.find_dequeued_jobs(pending):
                    time.sleep(FILESYSTEM_LATENCY_S)
                    # Asked twice, because one answer may lack a job that is being requeued.
                    pending -= set(slurm_queue.find_dequeued_jobs(missing))
                interval_s, polled_at = min(2 * interval_s, MAX_POLL_INTERVAL_S), time.monotonic()
            time.sleep(0.5)

    def format_interrupt_message(self, jobs: dict[int, Any]) -> str:
        """Return the commands that list, cancel and show the jobs."""
        ids = sorted({str(job.job_id).partition("_")[0] for job in jobs.values()})
        return (
            "The jobs keep running in Slurm. List them with `squeue --me`, cancel them with "
            f"`scancel {' '.join(ids)}`, and show their progress with `make report`."
        )


class LocalSubmititLauncher(SubmititLauncher):
    """Local processes instead of Slurm jobs, for testing.

    Args:
        gpus_per_node: Number of GPUs visible to each job, the first ones.
        timeout_min: Time limit per attempt in minutes. submitit sends the stop signal 30 seconds earlier.
        max_parallel_jobs: Maximum number of jobs that run at the same time.
    """

    cluster = "local"

    def __init__(self, gpus_per_node: int | None = None, timeout_min: int = 60, max_parallel_jobs: int = 1) -> None:
        super().__init__()
        self.max_parallel_jobs = max_parallel_jobs
        self.sweep_pid = os.getpid()
        self.executor_params = {"gpus_per_node": gpus_per_node or 0, "timeout_min": timeout_min}

    def submit(self, sweep_dir: Path, numbers: list[int], arguments: list[tuple[Any, ...]]) -> dict[int, Any]:
        """Start jobs, each as soon as fewer than `max_parallel_jobs` are running."""
        executor = self.make_executor(sweep_dir)
        jobs: dict[int, Any] = {}
        for number, job_arguments in zip(numbers, arguments, strict=True):
            while sum(not job.done() for job in jobs.values()) >= self.max_parallel_jobs:
                time.sleep(0.2)
            jobs[number] = executor.submit(self, *job_arguments)
        return jobs

    def wait(self, jobs: dict[int, Any]) -> None:
        """Wait until each process has ended."""
        while not all(job.done() for job in jobs.values()):
            time.sleep(0.2)

    def format_interrupt_message(self, jobs: dict[int, Any]) -> str:
        """Return what happens to the running processes."""
        return "Running jobs were asked to stop."
