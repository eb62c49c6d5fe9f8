"""Weights & Biases: online where there is a key, else offline, to be uploaded later."""

import contextlib
import io
import os
from typing import Any, Literal

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

# Seconds to wait for the server: at the start (then offline), and at the end (then `wandb sync` uploads the rest).
INIT_TIMEOUT_S = 15
FINISH_TIMEOUT_S = 30


class WeightsAndBiases(WandbLogger):
    """Lightning's WandbLogger, which needs neither account nor network."""

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
        log_model: bool = False,
    ) -> None:
        """Start a W&B run, or go on with one.

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
            log_model: keep the best checkpoint as an artifact.
        """
        settings: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "name": name,
            "group": group,
            "job_type": job_type,
        }
        settings |= {
            "tags": tags,
            "notes": notes,
            "id": id,
            "dir": os.path.abspath(save_dir),
            "resume": "allow" if id else None,
        }
        self.mode: Any = mode
        self.reason = ""
        super().__init__(project=project, save_dir=save_dir, log_model=log_model, experiment=self._start(settings))
        self._wandb_init.update(settings)

    @rank_zero_only
    def _start(self, settings: dict[str, Any]) -> Any:
        os.makedirs(settings["dir"], exist_ok=True)
        self.mode, self.reason = chosen_mode(self.mode)
        # Listing the installed packages takes half a second; requirements.lock and run.json have the versions.
        quiet = wandb.Settings(silent=True, console="off", init_timeout=INIT_TIMEOUT_S, x_save_requirements=False)
        quiet.finish_timeout = FINISH_TIMEOUT_S
        try:
            run = wandb.init(**settings, mode=self.mode, settings=quiet)
        except (wandb.errors.CommError, wandb.errors.UsageError) as error:
            self.mode, self.reason = "offline", str(error).splitlines()[0]
            run = wandb.init(**settings, mode="offline", settings=quiet)
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        return run

    @property
    def facts(self) -> dict[str, Any]:
        """What run.json keeps: id, mode, url and the folder that `wandb sync` takes."""
        run = self.experiment
        folder = os.path.dirname(run.dir)
        url = run.url if self.mode == "online" else None
        return {"id": run.id, "mode": self.mode, "reason": self.reason, "url": url, "folder": os.path.relpath(folder)}

    def __str__(self) -> str:
        return self.facts["url"] or f"{self.mode}, {self.reason}"


def chosen_mode(mode: str) -> tuple[Any, str]:
    """Return online, offline or disabled, and why."""
    asked = os.environ.get("WANDB_MODE", mode)
    if asked in ("offline", "dryrun"):
        return "offline", "as asked"
    if asked != "auto":
        return asked, "as asked"
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            found = wandb.login(prompt=False, verify=False)
    except (wandb.errors.Error, ValueError) as error:
        return "offline", f"the API key is no good ({str(error).splitlines()[0]})"
    return ("online", "a key was found") if found else ("offline", "no API key found")


def finish(exit_code: int) -> None:
    """End the open W&B run, if there is one, as finished (0) or failed."""
    if wandb.run is not None:
        wandb.run.finish(exit_code=exit_code)
