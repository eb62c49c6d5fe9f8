"""Detect failed ranks: without this, the other ranks would wait for a failed rank forever."""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from firstlight.run.errors import CheckpointError, TrainingError, iter_error_chain
from firstlight.run.failure import describe_failure
from firstlight.run.files import read_json_or_empty
from firstlight.run.json_output import print_before_exit, set_error
from firstlight.run.lock import acquire_run_lock
from firstlight.run.record import RunRecord, WorkerRunRecord

# A rank without a heartbeat for HEARTBEAT_TIMEOUT_S counts as failed; this process then has GRACE_PERIOD_S to exit by
# itself. Together they must be less than the 30 seconds after which torchrun kills all processes.
HEARTBEAT_INTERVAL_S, HEARTBEAT_TIMEOUT_S, GRACE_PERIOD_S = 1.0, 20.0, 6.0
# When rank 0 prints that it waits for others.
REPORT_WAIT_AFTER_S = 25.0
# Final values in place of a heartbeat; FAILED is followed by the reason.
DONE, FAILED = "done", "failed: "


class PeerFailureError(TrainingError):
    """Another rank failed first; the error of this rank is only a consequence."""


# Lightning 2.6 also observes its child processes, but kills all of them with SIGKILL before run.json can record the
# reason, and supports neither torchrun nor other nodes.
class RankWatchdog(threading.Thread):
    """Send heartbeats through the shared store, and abort this process if another rank's heartbeats stop.

    Args:
        trainer: Its strategy knows the rank, the world size and the child processes.
        store: A connection to the store that no other thread uses.
        prefix: Prefix of the heartbeats' keys in the store.
        record: Record of the run.
    """

    def __init__(self, trainer: Any, store: Any, prefix: str, record: Any) -> None:
        super().__init__(daemon=True, name="rank-watchdog")
        self.trainer = trainer
        self.store = store
        self.prefix = prefix
        self.record = record
        self.rank = int(trainer.global_rank)
        self.other_ranks = [rank for rank in range(trainer.world_size) if rank != self.rank]
        # The last heartbeat of each rank, and when it arrived.
        self.heartbeats: dict[int, tuple[str, float]] = {}
        self.stopped = threading.Event()
        self.peer_failure = ""
        self.is_wait_reported = False

    def run(self) -> None:
        """Exchange heartbeats until this process is done or another rank has failed."""
        beat = 0
        while not self.stopped.wait(HEARTBEAT_INTERVAL_S):
            beat += 1
            self.peer_failure = self.find_failed_child() or self.exchange_heartbeats(beat)
            self.report_missing_ranks(beat * HEARTBEAT_INTERVAL_S)
            if self.peer_failure:
                break
        if self.peer_failure and not self.stopped.wait(GRACE_PERIOD_S):
            self.abort_process()

    def stop(self, error: BaseException | None = None) -> None:
        """Stop the watchdog, and publish that this rank is done or why it failed.

        Args:
            error: The error that ends this rank. If None, the rank has succeeded.

        Raises:
            PeerFailureError: If another rank failed first.
        """
        if error is not None and threading.current_thread() is threading.main_thread():
            # This process exits anyway. If another rank has failed, torchrun sends SIGTERM.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if error is None or (isinstance(error, SystemExit | KeyboardInterrupt) and not is_peer_failure(error)):
            self.stopped.set()
            self._publish_status(DONE)
            return
        # The error may be a consequence of another rank's failure, whose reason arrives with the next heartbeats.
        deadline = time.monotonic() + 3 * HEARTBEAT_INTERVAL_S
        while is_peer_failure(error) and not self.peer_failure and time.monotonic() < deadline:
            time.sleep(HEARTBEAT_INTERVAL_S / 4)
        self.stopped.set()
        if is_peer_failure(error):
            self.peer_failure = self.peer_failure or _format_silent_exit("Another rank")
        if self.peer_failure:
            self.record_rank_zero_failure()
            raise PeerFailureError(self.peer_failure) from error
        self._publish_status(FAILED + describe_failure(error, self.record.cfg))

    def find_failed_child(self) -> str:
        """Return how a child process of this rank failed, or "" if none has failed."""
        for index, process in enumerate(getattr(self.trainer.strategy.launcher, "procs", [])):
            code = process.poll()
            if code:
                rank = self.rank + 1 + index
                event = f"was terminated by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
                return self._find_rank_failure(rank) or f"Rank {rank} {event}."
        return ""

    def exchange_heartbeats(self, beat: int) -> str:
        """Send a heartbeat, and return how another rank failed, or "" if none has failed."""
        try:
            self.store.set(f"{self.prefix}/{self.rank}", str(beat))
            for rank in self.other_ranks:
                if failure := self._find_rank_failure(rank):
                    return failure
        except Exception:  # the store is gone, and therefore the process that served it
            return _format_silent_exit("Rank 0")
        return ""

    def report_missing_ranks(self, waited_s: float) -> None:
        """On rank 0, print one line if other ranks have not arrived after a while."""
        missing = [rank for rank in self.other_ranks if rank not in self.heartbeats]
        if self.rank == 0 and missing and waited_s > REPORT_WAIT_AFTER_S and not self.is_wait_reported:
            self.is_wait_reported = True
            names = ", ".join(map(str, missing[:8]))
            print(f"Waiting for rank {names} of {len(self.other_ranks) + 1} for {waited_s:.0f} s.", flush=True)

    def _find_rank_failure(self, rank: int) -> str:
        """Return how a rank failed, or "" if it is alive or done."""
        key = f"{self.prefix}/{rank}"
        with suppress(RuntimeError):
            if self.store.check([key]):
                value = self.store.get(key).decode()
                if value.startswith(FAILED):
                    return f"Rank {rank} failed: {value.removeprefix(FAILED)}"
                previous, since = self.heartbeats.get(rank, ("", 0.0))
                if value != previous:
                    self.heartbeats[rank] = (value, time.monotonic())
                elif value != DONE and time.monotonic() - since > HEARTBEAT_TIMEOUT_S:
                    return f"Rank {rank} sent no heartbeat for {HEARTBEAT_TIMEOUT_S:.0f} s; it was probably killed."
        return ""

    def _publish_status(self, value: str) -> None:
        with suppress(Exception):  # without the store, no rank can be informed
            self.store.set(f"{self.prefix}/{self.rank}", value)

    def abort_process(self) -> None:
        """Record the failure and kill this process, which waits for a rank that will never respond."""
        with suppress(Exception):
            self.record_rank_zero_failure()
            if isinstance(self.record, RunRecord):
                self.record.end("failed", self.peer_failure)
                print(f"train: {self.peer_failure}", file=sys.stderr, flush=True)
        for process in getattr(self.trainer.strategy.launcher, "procs", []):
            process.kill()
        if isinstance(self.record, RunRecord):
            set_error("TrainingError", self.peer_failure)
            print_before_exit("train", 1)
        os._exit(1)

    def record_rank_zero_failure(self) -> None:
        """On a worker rank, write the reason to run.json if rank 0 was killed before it could."""
        run_dir, deadline = self.record.run_dir, time.monotonic() + GRACE_PERIOD_S
        while isinstance(self.record, WorkerRunRecord) and time.monotonic() < deadline:
            if read_json_or_empty(run_dir / "run.json").get("status") != "running":
                return
            # Rank 0 holds the lock as long as it is alive.
            with suppress(CheckpointError), acquire_run_lock(run_dir):
                RunRecord(run_dir, read_json_or_empty(run_dir / "run.json")).end("failed", self.peer_failure)
            time.sleep(HEARTBEAT_INTERVAL_S)


def _format_silent_exit(subject: str) -> str:
    return f"{subject} exited without reporting an error; it was probably killed."


def is_peer_failure(error: BaseException | None) -> bool:
    """Return True if an error or one of its causes indicates that another rank has failed."""
    signs = ("Connection closed by peer", "Connection reset by peer", "NCCL", "DistBackendError", "Broken pipe")
    chain = iter_error_chain(error) if error is not None else ()
    return any(sign in f"{type(link).__name__}: {link}" for link in chain for sign in signs)
