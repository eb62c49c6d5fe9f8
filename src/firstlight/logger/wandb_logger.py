"""Weights & Biases: online where there is a key, else offline, to be uploaded later."""

import os
import secrets
import socket
import sys
from pathlib import Path
from typing import Any, Literal

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from firstlight.logger.wandb_auth import resolve_mode, silence_stderr
from firstlight.logger.wandb_offline import RunSegment, find_pending, find_segments, upload_segment
from firstlight.run.record import register_exit_action
from firstlight.run.redaction import redact

# Seconds to wait for the server: at the start (then offline), and at the end (then `make wandb-sync` uploads the rest).
INIT_TIMEOUT_S = 6
FINISH_TIMEOUT_S = 30
# Seconds for what an interrupted run left to upload, before it goes on.
UPLOAD_TIMEOUT_S = 60

# What the table of runs shows of a figure: its best value beside the last one.
SUMMARY_MODES = {"val/accuracy": "max", "val/f1": "max", "val/loss": "min"}


class OfflineFirstWandbLogger(WandbLogger):
    """Lightning's WandbLogger, which needs neither account nor network.

    Args:
        save_dir: folder that gets the run's files, under wandb/.
        project: project on the server.
        entity: user or team; None takes the account's own.
        name: shown name; None lets W&B invent one.
        group: runs that belong together, such as a sweep.
        job_type: the command.
        tags: words to find the run by.
        notes: a longer remark.
        id: id of the run to go on with; None starts a new one.
        mode: "auto" is online if a key is found, else offline.
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
            "name": redact(name),
            "group": redact(group),
            "job_type": job_type,
        }
        settings |= {
            "tags": redact(tags),
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
        register_exit_action(finish_run)
        # Read once, when its client wakes: what it has to say while the run goes on is of no use beside a progress bar.
        os.environ.setdefault("WANDB_SILENT", "true")
        self.mode, self.reason = resolve_mode(self.mode)
        if self.mode == "online" and settings["id"]:
            self._upload_earlier_segments(Path(settings["dir"]), settings["id"])
        # One id whatever the mode: had the server begun the run before it fell silent, the upload goes on with that.
        settings["id"] = settings["id"] or os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)
        try:
            run = init_run(settings, self.mode)
        except wandb.errors.Error as error:
            self.mode, self.reason = "offline", f"no answer from W&B ({str(error).splitlines()[0]})"
            # The client's own process still holds the id.
            wandb.teardown()
            discard_failed_attempt(Path(settings["dir"]), settings["id"])
            run = init_offline_run(settings)
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        for figure, best in SUMMARY_MODES.items():
            run.define_metric(figure, step_metric="trainer/global_step", step_sync=True, summary=f"{best},last")
        return run

    def _upload_earlier_segments(self, folder: Path, id: str) -> None:
        earlier = find_pending(folder).get(id)
        if earlier is None:
            return
        # Gone on with before that, the run would lose them: the server takes a part behind what it has.
        done, reason = upload_segment(earlier, UPLOAD_TIMEOUT_S)
        if not done:
            self.mode, self.reason = "offline", f"the first part waits for upload ({reason})"

    @property
    def run_info(self) -> dict[str, Any]:
        """What run.json keeps: id, mode, url, the folders of all parts, and whose process writes the last one."""
        run = self.experiment
        folder = Path(os.path.relpath(run.dir)).parent
        return {
            "id": run.id,
            "mode": self.mode,
            "reason": self.reason,
            "url": run.url if self.mode == "online" else None,
            "folder": str(folder),
            "folders": [str(part.folder) for part in find_segments(Path(str(self.save_dir))) if part.id == run.id],
            "host": socket.gethostname(),
            "process": os.getpid(),
        }

    def __str__(self) -> str:
        return self.run_info["url"] or f"{self.mode}, {self.reason}"


def init_run(settings: dict[str, Any], mode: Any) -> Any:
    """Return a W&B run that has begun.

    Raises:
        wandb.errors.Error: the server cannot be reached, or refuses.
    """
    # Listing the installed packages takes half a second; requirements/ and run.json have the versions.
    quiet = wandb.Settings(silent=True, console="off", x_save_requirements=False)
    # W&B's own variable, for a slow network.
    quiet.init_timeout = float(os.environ.get("WANDB_INIT_TIMEOUT", INIT_TIMEOUT_S))
    quiet.finish_timeout = FINISH_TIMEOUT_S
    quiet.finish_timeout_raises = True
    # The command line goes along.
    typed, sys.argv = sys.argv, redact(sys.argv)
    try:
        with silence_stderr():
            return wandb.init(**settings, mode=mode, settings=quiet)
    finally:
        sys.argv = typed


def init_offline_run(settings: dict[str, Any]) -> Any:
    """Return an offline run with the id of an attempt without an answer, or with a new one while that is still held."""
    try:
        return init_run({**settings, "resume": "allow"}, "offline")
    except Exception as error:  # W&B's own class for it is private, and no `wandb.errors.Error`
        if "in use" not in str(error):
            raise
        settings["id"] = secrets.token_hex(4)
        return init_run(settings, "offline")


def discard_failed_attempt(folder: Path, id: str) -> None:
    """Mark what a start without an answer left behind as done with: it holds nothing."""
    for part in find_segments(folder)[-1:]:
        if part.id == id and not part.is_offline:
            part.synced_marker.touch()


def finish_run(exit_code: int) -> None:
    """End the open W&B run, if there is one, as finished (0) or failed."""
    if wandb.run is None:
        return
    run = wandb.run
    part = RunSegment(Path(run.dir).parent)
    try:
        with silence_stderr():
            run.finish(exit_code=exit_code)
    except TimeoutError:
        print("W&B did not take all of the run in time: `make wandb-sync` uploads the rest", flush=True)
        return
    if part.wandb_file.is_file() and not part.is_offline:
        # W&B's client marks what it uploads later; by the same mark an online run is known to be complete.
        part.synced_marker.touch()
