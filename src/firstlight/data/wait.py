"""Report that a run waits for its DataLoader workers."""

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

# A wait of this length is reported, in seconds; the time between two looks at the clock.
REPORT_AFTER_S, CHECK_INTERVAL_S = 25.0, 5.0


def report_long_waits(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield batches, and print one line per wait that exceeds `REPORT_AFTER_S`."""
    # When the current wait began; 0.0 while the batch is in use. A list, because the thread reads it.
    since, stopped = [0.0], threading.Event()
    threading.Thread(target=_watch, args=(since, stopped), daemon=True, name="batch-wait").start()
    iterator = iter(batches)
    try:
        while True:
            since[0] = time.monotonic()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            since[0] = 0.0
            yield batch
    finally:
        stopped.set()


def _watch(since: list[float], stopped: threading.Event) -> None:
    reported = 0.0
    while not stopped.wait(CHECK_INTERVAL_S):
        began = since[0]
        if began and began != reported and time.monotonic() - began > REPORT_AFTER_S:
            reported = began
            print(f"Waiting for a batch of the DataLoader workers for {REPORT_AFTER_S:.0f} s.", flush=True)
