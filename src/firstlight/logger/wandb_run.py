"""A W&B run of this process: its ID, the death of the client's background process, and its end."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import wandb

from firstlight.logger.wandb_auth import silence_stderr
from firstlight.logger.wandb_offline import RunSegment
from firstlight.run.optional import print_failure

# IDs of WANDB_RUN_ID that runs of this process have, and connections to a dead background process.
_taken_ids: set[str] = set()
_failed_interfaces: set[int] = set()


def take_requested_id() -> str:
    """Return the run ID in WANDB_RUN_ID for the first run of this process; "" if there is none."""
    requested = os.environ.get("WANDB_RUN_ID", "")
    if not requested:
        return ""
    if requested in _taken_ids:
        print(f"Ignored WANDB_RUN_ID={requested}: it is the ID of an earlier run of this process.", flush=True)
        return ""
    _taken_ids.add(requested)
    return requested


def guard_run(run: Any) -> None:
    """Let a run drop its records, after one line, if the background process of the client dies.

    Callbacks, hooks of `wandb.watch` and modules call the run directly. All of them use this function of the client.
    """
    interface = getattr(run, "_interface", None)
    publish = getattr(interface, "_publish", None)
    if publish is None:
        return  # a disabled run

    def publish_or_drop(record: Any, **kwargs: Any) -> None:
        if id(interface) in _failed_interfaces:
            return
        try:
            publish(record, **kwargs)
        except Exception as error:
            _failed_interfaces.add(id(interface))
            print_failure("W&B", error)

    interface._publish = publish_or_drop  # type: ignore[union-attr]


def finish_run(run: Any, exit_code: int) -> None:
    """Finish a W&B run.

    Args:
        run: The run.
        exit_code: 0 to mark the run as finished, any other value to mark it as failed.
    """
    if id(getattr(run, "_interface", None)) in _failed_interfaces:
        with silence_stderr(), suppress(Exception):
            wandb.teardown()  # so that the next run starts another background process
        return
    segment = RunSegment(Path(run.dir).parent)
    try:
        with silence_stderr():
            run.finish(exit_code=exit_code)
    except TimeoutError:
        print("W&B upload timed out. Run `make wandb-sync` to upload the rest.", flush=True)
        return
    except Exception as error:
        print_failure("W&B", error)
        return
    if segment.wandb_file.is_file() and not segment.is_offline:
        # The client creates this marker for later uploads only. Create it here to record that the online run is
        # complete.
        segment.synced_marker.touch()
