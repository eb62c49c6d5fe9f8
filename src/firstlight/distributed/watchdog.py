"""See that no process of a training waits for another one that has ended: a GPU would wait for it for ever."""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from firstlight.run.failure import describe_failure
from firstlight.run.files import read_json_or_empty
from firstlight.run.lock import acquire_run_lock
from firstlight.run.record import RunRecord, WorkerRunRecord

# Seconds between two signs of life; without one for so long a process counts as ended; and how long this one may then
# take to end by itself: together less than the 30 seconds after which torchrun kills.
HEARTBEAT_INTERVAL_S, HEARTBEAT_TIMEOUT_S, GRACE_PERIOD_S = 1.0, 20.0, 6.0
DONE, FAILED = "over", "failed: "


class PeerFailureError(ValueError):
    """Another process was the first to fail; here only its end was felt."""


# Lightning 2.6 observes its child processes, too, but ends all of them by SIGKILL before run.json can record why, and
# knows neither torchrun nor other nodes.
class RankWatchdog(threading.Thread):
    """Give signs of life by the store that all processes share, and end this process when another one's stop.

    Args:
        trainer: its strategy knows rank, world size and the processes that it started.
        store: a connection of its own to the store.
        prefix: of the names in the store.
        record: that of the run.
    """

    def __init__(self, trainer: Any, store: Any, prefix: str, record: Any) -> None:
        super().__init__(daemon=True, name="watch")
        self.trainer = trainer
        self.store = store
        self.prefix = prefix
        self.record = record
        self.rank = int(trainer.global_rank)
        self.others = [each for each in range(trainer.world_size) if each != self.rank]
        self.seen: dict[int, tuple[str, float]] = {}
        self.ended = threading.Event()
        self.fault = ""

    def run(self) -> None:
        """Watch until this process is done, or another one has ended before its time."""
        beat = 0
        while not self.ended.wait(HEARTBEAT_INTERVAL_S):
            beat += 1
            self.fault = self.find_failed_child() or self.exchange_heartbeats(beat)
            if self.fault:
                break
        if self.fault and not self.ended.wait(GRACE_PERIOD_S):
            self.abort_process()

    def stop(self, error: BaseException | None = None) -> None:
        """Tell the others that this process is done, or why it fails.

        Raises:
            FeltError: another one was the first to fail.
        """
        if error is not None and threading.current_thread() is threading.main_thread():
            # It ends anyway, and torchrun asks it to when another one has failed.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if error is None or (isinstance(error, SystemExit | KeyboardInterrupt) and not is_peer_failure(error)):
            self.ended.set()
            self._publish_status(DONE)
            return
        # What fails here may come of what failed there: the reason arrives with the next signs of life.
        deadline = time.monotonic() + 3 * HEARTBEAT_INTERVAL_S
        while is_peer_failure(error) and not self.fault and time.monotonic() < deadline:
            time.sleep(HEARTBEAT_INTERVAL_S / 4)
        self.ended.set()
        if is_peer_failure(error):
            self.fault = self.fault or "another process of the training ended without a word: was it killed?"
        if self.fault:
            self.record_failure()
            raise PeerFailureError(self.fault) from error
        self._publish_status(FAILED + describe_failure(error, self.record.cfg))

    def find_failed_child(self) -> str:
        """Return what became of a process that Lightning has started here, if one has failed."""
        for index, process in enumerate(getattr(self.trainer.strategy.launcher, "procs", [])):
            code = process.poll()
            if code:
                said = self._read_heartbeat(self.rank + 1 + index)
                by = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
                return said or f"rank {self.rank + 1 + index} {by}"
        return ""

    def exchange_heartbeats(self, beat: int) -> str:
        """Give a sign of life, and return which process gives none any more, or tells of its failure."""
        try:
            self.store.set(f"{self.prefix}/{self.rank}", str(beat))
            for rank in self.others:
                if said := self._read_heartbeat(rank):
                    return said
        except Exception:  # the store is gone, and with it the process that served it
            return "rank 0 ended without a word: was it killed?"
        return ""

    def _read_heartbeat(self, rank: int) -> str:
        key = f"{self.prefix}/{rank}"
        with suppress(RuntimeError):
            if self.store.check([key]):
                sign = self.store.get(key).decode()
                if sign.startswith(FAILED):
                    return f"rank {rank}: {sign.removeprefix(FAILED)}"
                before, since = self.seen.get(rank, ("", 0.0))
                if sign != before:
                    self.seen[rank] = (sign, time.monotonic())
                elif sign != DONE and time.monotonic() - since > HEARTBEAT_TIMEOUT_S:
                    return f"rank {rank} gave no sign of life for {HEARTBEAT_TIMEOUT_S:.0f} s: was it killed?"
        return ""

    def _publish_status(self, sign: str) -> None:
        with suppress(Exception):  # it tells nobody, then
            self.store.set(f"{self.prefix}/{self.rank}", sign)

    def abort_process(self) -> None:
        """End this process, which waits for one that will not come; see that run.json tells why."""
        with suppress(Exception):
            self.record_failure()
            if isinstance(self.record, RunRecord):
                self.record.end("failed", self.fault)
                print(f"train: {self.fault}", file=sys.stderr, flush=True)
        for process in getattr(self.trainer.strategy.launcher, "procs", []):
            process.kill()
        os._exit(1)

    def record_failure(self) -> None:
        """Let run.json tell the reason if the first process, whose task it is, has been killed."""
        folder, deadline = self.record.folder, time.monotonic() + GRACE_PERIOD_S
        while isinstance(self.record, WorkerRunRecord) and time.monotonic() < deadline:
            if read_json_or_empty(folder / "run.json").get("status") != "running":
                return
            # The first one holds the lock as long as it lives.
            with suppress(ValueError), acquire_run_lock(folder):
                RunRecord(folder, read_json_or_empty(folder / "run.json")).end("failed", self.fault)
            time.sleep(HEARTBEAT_INTERVAL_S)


def is_peer_failure(error: BaseException | None) -> bool:
    """Say whether an error, or what led to it, means that another process has ended."""
    signs = ("Connection closed by peer", "Connection reset by peer", "NCCL", "DistBackendError", "Broken pipe")
    while error is not None:
        if any(sign in f"{type(error).__name__}: {error}" for sign in signs):
            return True
        error = error.__cause__ or error.__context__
    return False
