"""W&B logger that is online if an API key is found, and otherwise offline with a later upload."""

import os
import secrets
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any, Literal

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from firstlight.logger.wandb_auth import resolve_mode, silence_stderr
from firstlight.logger.wandb_offline import find_pending, find_segments, upload_segments
from firstlight.logger.wandb_run import finish_run, guard_run, take_requested_id
from firstlight.run.errors import get_first_line, shorten
from firstlight.run.exit_actions import register_exit_action
from firstlight.run.redaction import redact

# Seconds to wait for the server at the start of a run; then the run is offline.
INIT_TIMEOUT_S = 6
# Seconds to wait for the server at the end of a run; then `make wandb-sync` uploads the rest.
FINISH_TIMEOUT_S = 30
# Seconds to upload the earlier segments of a resumed run; then it resumes offline.
UPLOAD_TIMEOUT_S = 60

# W&B rejects longer names and tags.
MAX_NAME_CHARACTERS, MAX_TAG_CHARACTERS = 128, 64
# Metrics whose best value is shown in W&B's table of runs, next to the last value.
SUMMARY_MODES = {"val/accuracy": "max", "val/f1": "max", "val/loss": "min"}


class OfflineFirstWandbLogger(WandbLogger):
    """Lightning's WandbLogger, usable without an account or a network.

    Args:
        save_dir: Run directory; the files are written to its subdirectory wandb.
        project: W&B project.
        entity: User or team. If None, the default entity of the account.
        name: Display name of the run. If None, W&B generates a name.
        group: Name shared by related runs, such as the jobs of a sweep.
        job_type: Name of the command.
        tags: Tags of the run.
        notes: Longer description of the run.
        id: ID of the run to resume. If None, a new run is created.
        mode: "auto" for online if an API key is found, otherwise offline.
    """

    def __init__(
        self,
        save_dir: str,
        project: str = "firstlight",
        entity: str | None = None,
        name: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: list[str] | None = None,
        notes: str | None = None,
        id: str | None = None,
        mode: Literal["auto", "online", "offline", "disabled"] = "auto",
    ) -> None:
        settings: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "name": name and shorten(redact(name), MAX_NAME_CHARACTERS),
            "group": group and shorten(redact(group), MAX_NAME_CHARACTERS),
            "job_type": job_type,
        }
        settings |= {
            "tags": tags and [shorten(redact(tag), MAX_TAG_CHARACTERS) for tag in tags],
            "notes": redact(notes),
            "id": id,
            "dir": os.path.abspath(save_dir),
            "resume": "allow" if id else None,
        }
        self.mode: Any = mode
        self.reason = ""
        super().__init__(project=project, save_dir=save_dir, log_model=False, experiment=self._init_run(settings))
        self._wandb_init.update(settings)

    @rank_zero_only
    def _init_run(self, settings: dict[str, Any]) -> Any:
        os.makedirs(settings["dir"], exist_ok=True)
        # The client reads this once when it starts. Its messages would interfere with the progress bar.
        os.environ.setdefault("WANDB_SILENT", "true")
        self.mode, self.reason = resolve_mode(self.mode)
        if self.mode == "online" and settings["id"]:
            self._upload_earlier_or_go_offline(Path(settings["dir"]), settings["id"])
        # Use one ID in all modes: if the server created the run before it became unreachable, the upload continues it.
        settings["id"] = settings["id"] or take_requested_id() or secrets.token_hex(4)
        try:
            run = init_run(settings, self.mode)
        except wandb.errors.Error as error:
            self.mode, self.reason = "offline", f"W&B not reachable ({get_first_line(error)})"
            # The background process of the client still holds the ID.
            wandb.teardown()
            mark_failed_attempt_synced(Path(settings["dir"]), settings["id"])
            run = init_offline_fallback(settings)
        register_exit_action(Path(settings["dir"]), partial(finish_run, run))
        guard_run(run)
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        for metric, best in SUMMARY_MODES.items():
            run.define_metric(metric, step_metric="trainer/global_step", step_sync=True, summary=f"{best},last")
        return run

    def _upload_earlier_or_go_offline(self, run_dir: Path, id: str) -> None:
        earlier = find_pending(run_dir).get(id)
        if earlier is None:
            return
        # Upload them first: the server only appends, so segments that are uploaded after later ones would be lost.
        print(f"Uploading the earlier part of this run to W&B, for up to {UPLOAD_TIMEOUT_S} s.", flush=True)
        is_uploaded, reason = upload_segments(earlier, UPLOAD_TIMEOUT_S)
        if not is_uploaded:
            self.mode, self.reason = "offline", f"earlier segment not uploaded yet ({reason})"

    @property
    def run_info(self) -> dict[str, Any]:
        """W&B fields of run.json.

        They are the ID, mode and URL of the run, the directories of all segments, and the process that writes the
        last one.
        """
        if self.mode == "disabled":
            return {"mode": self.mode, "reason": self.reason, "url": None}
        run = self.experiment
        segments = find_segments(Path(str(self.save_dir)))
        return {
            "id": run.id,
            "mode": self.mode,
            "reason": self.reason,
            "url": run.url if self.mode == "online" else None,
            "segment_dir": str(Path(os.path.relpath(run.dir)).parent),
            "segment_dirs": [str(segment.segment_dir) for segment in segments if segment.id == run.id],
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }

    def __str__(self) -> str:
        return self.run_info["url"] or f"{self.mode}, {self.reason}"


def init_run(settings: dict[str, Any], mode: Any) -> Any:
    """Initialize and return a W&B run.

    Args:
        settings: Arguments of `wandb.init`.
        mode: "online", "offline" or "disabled".

    Raises:
        wandb.errors.Error: If the server is not reachable or rejects the run.
    """
    # Saving the list of installed packages takes half a second; requirements/ and run.json contain the versions.
    client = wandb.Settings(silent=True, console="off", x_save_requirements=False)
    # W&B's own environment variable, for slow networks.
    client.init_timeout = float(os.environ.get("WANDB_INIT_TIMEOUT", INIT_TIMEOUT_S))
    client.finish_timeout = FINISH_TIMEOUT_S
    client.finish_timeout_raises = True
    # W&B stores the command line, which may contain secrets.
    argv, sys.argv = sys.argv, redact(sys.argv)
    try:
        with silence_stderr():
            # The run of an earlier experiment of this process, or the user's own run, must not get our metrics.
            reinit: Any = "default" if wandb.run is None else "create_new"
            return wandb.init(**settings, reinit=reinit, mode=mode, settings=client)
    finally:
        sys.argv = argv


def init_offline_fallback(settings: dict[str, Any]) -> Any:
    """Return an offline run with the ID of a failed online attempt, or with a new ID if that is still in use.

    Args:
        settings: Arguments of `wandb.init`; a new ID is stored in it.
    """
    try:
        return init_run({**settings, "resume": "allow"}, "offline")
    except Exception as error:  # The error class is private and not a subclass of wandb.errors.Error.
        if "in use" not in str(error):
            raise
        settings["id"] = secrets.token_hex(4)
        return init_run(settings, "offline")


def mark_failed_attempt_synced(run_dir: Path, id: str) -> None:
    """Mark the empty segment of a failed online attempt as uploaded, so that it is not pending."""
    for segment in find_segments(run_dir)[-1:]:
        if segment.id == id and not segment.is_offline:
            segment.synced_marker.touch()
