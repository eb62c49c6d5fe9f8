"""Each training of a sweep as a job of Slurm's, by submitit; or the same without Slurm."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firstlight.sweep.launcher import slurm_queue
from firstlight.sweep.launcher.submitit import SubmititLauncher

# End a job as soon as one of its processes ends badly; give it its cores, which srun 22.05 and newer would not.
SETUP = ["export SLURM_KILL_BAD_EXIT=1", "export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}"]
# Seconds between two questions to Slurm, at first and at most; and how late a result may reach this machine's disk.
POLL_INTERVAL_S, MAX_POLL_INTERVAL_S, FILESYSTEM_LATENCY_S = 2.0, 15.0, 5.0


class SlurmLauncher(SubmititLauncher):
    """Jobs of Slurm's: at its time limit each saves, queues again and goes on.

    Args:
        partition: where it waits.
        gpus_per_node: of each node.
        cpus_per_task: of each task.
        mem_gb: of each node.
        timeout_min: time limit of each start.
        nodes: how many.
        tasks_per_node: processes on each node.
        max_parallel_jobs: jobs that run at the same time.
        signal_delay_s: time before the limit in which it saves.
        max_requeues: starts that may reach the limit.
        account: who pays.
        qos: quality of service.
        constraint: features of the node.
        setup: commands before the training.
        additional_parameters: further options of sbatch.
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
        asked = {
            "slurm_partition": partition,
            "gpus_per_node": gpus_per_node,
            "cpus_per_task": cpus_per_task,
            "mem_gb": mem_gb,
            "slurm_account": account,
            "slurm_qos": qos,
            "slurm_constraint": constraint,
        }
        self.executor_params = {name: value for name, value in asked.items() if value is not None} | {
            "timeout_min": timeout_min,
            "nodes": nodes,
            "tasks_per_node": tasks_per_node,
            "slurm_array_parallelism": max_parallel_jobs,
            "slurm_signal_delay_s": signal_delay_s,
            "slurm_setup": [*SETUP, *(setup or [])],
            "slurm_additional_parameters": {"requeue": True, **(additional_parameters or {})},
        }

    def reattach_jobs(self, folder: Path, numbers: Sequence[int]) -> dict[int, Any]:
        """Return the jobs of an earlier start of this sweep that still wait or run."""
        from submitit import SlurmJob

        known, there = slurm_queue.load_job_ids(folder), slurm_queue.list_queued_job_ids() or set()
        place, tasks = (
            slurm_queue.get_submitit_dir(folder) / "%j",
            range(self.executor_params["nodes"] * self.executor_params["tasks_per_node"]),
        )
        return {each: SlurmJob(place, known[each], tasks) for each in numbers if known.get(each) in there}

    def submit(self, folder: Path, numbers: list[int], arguments: list[tuple[Any, ...]]) -> dict[int, Any]:
        """Submit jobs, several as an array."""
        jobs = dict(zip(numbers, self.executor(folder).map_array(self, *zip(*arguments, strict=True)), strict=True))
        slurm_queue.save_job_ids(folder, jobs)
        return jobs

    def wait(self, jobs: dict[int, Any]) -> None:
        """Wait until each job has a result, or Slurm knows it no more."""
        waited_for = set(jobs.values())
        pause, asked_at = POLL_INTERVAL_S, time.monotonic()
        while waited_for:
            waited_for = {job for job in waited_for if not slurm_queue.has_result(job)}
            if waited_for and time.monotonic() - asked_at > pause:
                if gone := slurm_queue.find_missing_jobs(waited_for):
                    time.sleep(FILESYSTEM_LATENCY_S)
                    waited_for -= set(gone)
                pause, asked_at = min(2 * pause, MAX_POLL_INTERVAL_S), time.monotonic()
            time.sleep(0.5)

    def format_interrupt_message(self, jobs: dict[int, Any]) -> str:
        """Say how to go on with jobs that nobody waits for."""
        ids = sorted({str(job.job_id).partition("_")[0] for job in jobs.values()})
        return (
            f"the jobs stay in Slurm's queue: `squeue --me` lists them, `scancel {' '.join(ids)}` ends them, "
            "`make report` shows them"
        )


class LocalSubmititLauncher(SubmititLauncher):
    """The same in processes of this machine, without Slurm.

    Args:
        gpus_per_node: how many it sees, the first ones.
        timeout_min: time limit of each start; submitit asks for the end 30 seconds before.
        max_parallel_jobs: jobs that run at the same time.
    """

    cluster = "local"

    def __init__(self, gpus_per_node: int | None = None, timeout_min: int = 60, max_parallel_jobs: int = 1) -> None:
        super().__init__()
        self.max_parallel_jobs = max_parallel_jobs
        self.executor_params = {"gpus_per_node": gpus_per_node or 0, "timeout_min": timeout_min}

    def submit(self, folder: Path, numbers: list[int], arguments: list[tuple[Any, ...]]) -> dict[int, Any]:
        """Start jobs, each as soon as fewer than `max_parallel_jobs` run."""
        executor = self.executor(folder)
        jobs: dict[int, Any] = {}
        for number, each in zip(numbers, arguments, strict=True):
            while sum(not job.done() for job in jobs.values()) >= self.max_parallel_jobs:
                time.sleep(0.2)
            jobs[number] = executor.submit(self, *each)
        return jobs

    def wait(self, jobs: dict[int, Any]) -> None:
        """Wait until each process has ended."""
        while not all(job.done() for job in jobs.values()):
            time.sleep(0.2)

    def format_interrupt_message(self, jobs: dict[int, Any]) -> str:
        """Say what becomes of processes that nobody waits for."""
        return "the jobs that had begun were asked to end"
