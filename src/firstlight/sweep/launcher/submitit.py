"""What all launchers by submitit share: jobs are pickled, run in other processes, and waited for."""

import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher

from firstlight.sweep.launcher import slurm_queue
from firstlight.sweep.launcher.worker import make_empty_result, setup_worker_process


# Hydra's own plugin (1.2) stops waiting as soon as one job is lost. The outcome of a job is read from its run.json
# alone, since what a process returns is lost with the process.
class SubmititLauncher(BaseSubmititLauncher):
    """Hydra's launcher by submitit, which waits for every job, whatever becomes of the others."""

    package = "hydra-submitit-launcher"
    extra = "launchers"
    cluster = ""
    max_requeues = 1000

    def __init__(self) -> None:
        """Start with no settings."""
        super().__init__()
        self.executor_params: dict[str, Any] = {}

    def __call__(self, *args: Any) -> JobReturn:
        """Run a job, in the process that submitit has started for it."""
        setup_worker_process()
        requeue: Any = signal.getsignal(signal.SIGUSR2)
        requested: list[int] = []

        def request_requeue(number: int, frame: FrameType | None) -> None:
            requested.append(number)
            raise SystemExit(128 + number)

        signal.signal(signal.SIGUSR2, request_requeue)
        try:
            return super().__call__(*args)
        except SystemExit:
            if not requested:
                raise
        # Only now that run.json is complete: Slurm kills a requeued job within seconds. On rank 0 this exits with the
        # code by which submitit's runner knows a requeued job. The other ranks end without an error, because an error
        # of theirs would kill rank 0 before it has requeued the job.
        requeue(requested[0], None)
        return make_empty_result()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the jobs that no queue has yet, and wait for all; return their results.

        Raises:
            KeyboardInterrupt: the waiting was ended, which the jobs in a queue do not hear of.
            SystemExit: likewise.
        """
        assert self.config is not None
        folder = Path(str(self.config.hydra.sweep.dir))
        numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
        jobs = self.reattach_jobs(folder, numbers)
        new = [number for number in numbers if number not in jobs and not slurm_queue.is_job_finished(folder, number)]
        state = Singleton.get_state()
        arguments = [
            (list(job_overrides[each - initial_job_idx]), "hydra.sweep.dir", each, str(each), state) for each in new
        ]
        try:
            jobs |= self.submit(folder, new, arguments) if new else {}
            slurm_queue.print_jobs(jobs)
            self.wait(jobs)
        except (KeyboardInterrupt, SystemExit):
            print(f"\n{self.format_interrupt_message(jobs)}", flush=True)
            raise
        return [get_job_result(jobs[number]) if number in jobs else make_empty_result() for number in numbers]

    def executor(self, folder: Path) -> Any:
        """Return what submits jobs of a sweep."""
        from submitit import AutoExecutor

        settings = {f"{self.cluster}_max_num_timeout": self.max_requeues}
        executor = AutoExecutor(str(slurm_queue.get_submitit_dir(folder) / "%j"), cluster=self.cluster, **settings)
        executor.update_parameters(name=f"{folder.name}", **self.executor_params)
        return executor

    def reattach_jobs(self, folder: Path, numbers: Sequence[int]) -> dict[int, Any]:
        """Return the jobs of an earlier start of this sweep that still wait or run."""
        return {}

    def submit(self, folder: Path, numbers: list[int], arguments: list[tuple[Any, ...]]) -> dict[int, Any]:
        """Submit jobs and return them by their numbers."""
        raise NotImplementedError

    def wait(self, jobs: dict[int, Any]) -> None:
        """Wait until no job runs any more."""
        raise NotImplementedError

    def format_interrupt_message(self, jobs: dict[int, Any]) -> str:
        """Say what becomes of jobs that nobody waits for."""
        raise NotImplementedError


def get_job_result(job: Any) -> JobReturn:
    """Return what a job gave, once it has ended; of one that was stopped or killed its run.json tells."""
    if not slurm_queue.has_result(job):
        return make_empty_result()
    outcome, value = job.task(0)._get_outcome_and_result()
    if outcome == "error":
        # What a training raises is a row of the table; this is of the process around it.
        print(f"job {job.job_id} could not run: {value.strip().splitlines()[-1]}", flush=True)
        return make_empty_result()
    return value
