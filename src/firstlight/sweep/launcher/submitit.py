"""Base class of the submitit launchers: jobs are pickled, run in other processes, and waited for."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher

from firstlight.run.console_log import RedactedStream
from firstlight.sweep.launcher import slurm_queue
from firstlight.sweep.launcher.worker import make_empty_result, setup_worker_process


# hydra-submitit-launcher 1.2 stops waiting as soon as one job is lost. The status of a job is read only from its
# run.json, because the return value of a process is lost with the process.
class SubmititLauncher(BaseSubmititLauncher):
    """Base class of submitit launchers that wait for every job, even if other jobs fail or are killed."""

    package = "hydra-submitit-launcher"
    extra = "launchers"
    cluster = ""
    max_requeues = 1000

    def __init__(self) -> None:
        super().__init__()
        self.executor_params: dict[str, Any] = {}
        # Process ID of the sweep if its jobs end with it; None if they outlive it.
        self.sweep_pid: int | None = None

    def __call__(self, *args: Any) -> JobReturn:
        """Run a job in the process that submitit started for it.

        Args:
            args: Overrides, key of the sweep directory, number and ID of the job, and Hydra's state.
        """
        assert self.config is not None
        setup_worker_process(self.sweep_pid)
        # submitit redirects the output of the job to files.
        sys.stdout, sys.stderr = RedactedStream(sys.stdout), RedactedStream(sys.stderr)  # type: ignore[assignment]
        requeue: Any = signal.getsignal(signal.SIGUSR2)
        requested: list[int] = []

        def request_requeue(number: int, frame: FrameType | None) -> None:
            requested.append(number)
            raise SystemExit(128 + number)

        signal.signal(signal.SIGUSR2, request_requeue)
        try:
            result = super().__call__(*args)
        except SystemExit:
            if not requested:
                raise
        else:
            # A library may replace the SystemExit by an error of its own, which the job reports as a failure.
            if not requested or slurm_queue.is_job_finished(Path(str(self.config.hydra.sweep.dir)), args[2]):
                return result
        # Requeue only after run.json is complete: Slurm kills a requeued job within seconds. On rank 0, this exits with
        # the code by which submitit's runner recognizes a requeued job. The other ranks end without an error, because
        # an error would make Slurm kill rank 0 before it has requeued the job.
        requeue(requested[0], None)
        return make_empty_result()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the jobs that are neither finished nor queued, wait for all jobs, and return their results.

        Raises:
            KeyboardInterrupt: If Ctrl-C was pressed; jobs in Slurm's queue are not affected.
            SystemExit: If this process was asked to stop; jobs in Slurm's queue are not affected.
        """
        assert self.config is not None
        sweep_dir = Path(str(self.config.hydra.sweep.dir))
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        jobs = self.reattach_jobs(sweep_dir, numbers)
        new = [
            number for number in numbers if number not in jobs and not slurm_queue.is_job_finished(sweep_dir, number)
        ]
        state = Singleton.get_state()
        arguments = [
            (list(job_overrides[number - initial_job_idx]), "hydra.sweep.dir", number, str(number), state)
            for number in new
        ]
        try:
            jobs |= self.submit(sweep_dir, new, arguments) if new else {}
            slurm_queue.print_jobs(jobs)
            self.wait(jobs)
        except (KeyboardInterrupt, SystemExit):
            print(f"\n{self.format_interrupt_message(jobs)}", flush=True)
            raise
        return [get_job_result(jobs[number]) if number in jobs else make_empty_result() for number in numbers]

    def make_executor(self, sweep_dir: Path) -> Any:
        """Return the submitit executor for the jobs of a sweep."""
        from submitit import AutoExecutor

        settings = {f"{self.cluster}_max_num_timeout": self.max_requeues}
        executor = AutoExecutor(str(slurm_queue.get_submitit_dir(sweep_dir) / "%j"), cluster=self.cluster, **settings)
        executor.update_parameters(name=f"{sweep_dir.name}", **self.executor_params)
        return executor

    def reattach_jobs(self, sweep_dir: Path, numbers: Sequence[int]) -> dict[int, Any]:
        """Return the jobs of an earlier command that are still queued or running, by job number.

        Args:
            sweep_dir: The sweep directory.
            numbers: Numbers of the jobs to look for.
        """
        return {}

    def submit(self, sweep_dir: Path, numbers: list[int], arguments: list[tuple[Any, ...]]) -> dict[int, Any]:
        """Submit jobs and return them by job number.

        Args:
            sweep_dir: The sweep directory.
            numbers: Numbers of the jobs.
            arguments: Arguments of `__call__` for each job.
        """
        raise NotImplementedError

    def wait(self, jobs: dict[int, Any]) -> None:
        """Wait until no job is running anymore."""
        raise NotImplementedError

    def format_interrupt_message(self, jobs: dict[int, Any]) -> str:
        """Return a message about the jobs for a user who stopped waiting for them."""
        raise NotImplementedError


def get_job_result(job: Any) -> JobReturn:
    """Return the result of a job that has ended; an empty one if it was stopped or killed, see its run.json."""
    if not slurm_queue.has_result(job):
        return make_empty_result()
    outcome, value = job.task(0)._get_outcome_and_result()
    if outcome == "error":
        # Errors of a training run are recorded in the results; this is an error of the process around it.
        print(f"job {job.job_id} could not run: {value.strip().splitlines()[-1]}", flush=True)
        return make_empty_result()
    return value
