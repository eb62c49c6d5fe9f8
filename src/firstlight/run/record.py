"""The folder of a run, and run.json in it: what was asked, how it went, what came out."""

import json
import os
import platform
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from firstlight.run.console_log import tee_to_file
from firstlight.run.failure import describe_failure, describe_stop
from firstlight.run.files import append_checksum, read_json_or_empty, to_plain_dict, utc_now, write_atomically
from firstlight.run.lock import WORKER_EXIT_TIMEOUT_S, acquire_run_lock
from firstlight.run.provenance import get_git_info, get_package_versions
from firstlight.run.rank import is_worker_rank
from firstlight.run.redaction import redact

# Written at the start and given back when the disk is full: run.json must be able to say so.
RESERVE_BYTES = 64 * 1024

_exit_actions: list[Callable[[int], None]] = []


class RunRecord:
    """run.json, rewritten as a whole at each change, so that it is right whenever it is read."""

    def __init__(self, folder: Path, fields: dict[str, Any], cfg: DictConfig | None = None) -> None:
        """Keep the folder, the first fields and the configuration, and lay by room on the disk."""
        self.folder = folder
        self.fields = fields
        self.cfg = cfg
        self.started = time.perf_counter()
        self.reserve = folder / ".reserve"
        self.reserve.write_bytes(bytes(RESERVE_BYTES))

    def update(self, **fields: Any) -> None:
        """Set fields and write the file; a reader never meets half of it."""
        self.fields |= fields
        text = json.dumps(redact(self.fields), indent=2, default=str) + "\n"
        try:
            write_atomically(self.folder / "run.json", text)
        except OSError:
            self.reserve.unlink(missing_ok=True)
            write_atomically(self.folder / "run.json", text)

    def begin(self, overrides: list[str]) -> None:
        """Say that the run starts, or goes on: what it was and reached before stays."""
        start = {"started": utc_now(), "ended": None, "status": "running", "reason": None, "overrides": overrides}
        attempts = [*self.fields.get("attempts", []), start]
        self.update(status="running", reason=None, ended=None, attempts=attempts)

    def end(self, status: str, reason: str | None = None) -> None:
        """Say how the run ended."""
        seconds = round(time.perf_counter() - self.started, 3)
        end = {"ended": utc_now(), "status": status, "reason": reason}
        attempts = [*self.fields["attempts"][:-1], {**self.fields["attempts"][-1], **end, "duration_s": seconds}]
        # Of a start that was killed nobody knows how long it took.
        self.update(
            **end,
            duration_s=round(
                sum(each["duration_s"] for each in attempts if isinstance(each.get("duration_s"), float)), 3
            ),
            attempts=attempts,
        )
        self.reserve.unlink(missing_ok=True)


class WorkerRunRecord:
    """The record of a run that another process keeps: this one only knows where."""

    def __init__(self, cfg: DictConfig) -> None:
        """Keep the folder and the configuration."""
        self.folder = Path(cfg.output_dir)
        self.cfg = cfg
        self.fields: dict[str, Any] = {}

    def update(self, **fields: Any) -> None:
        """Leave it to the other process."""


@contextmanager
def record_run(cfg: DictConfig) -> Iterator[RunRecord | WorkerRunRecord]:
    """Claim the run's folder and keep its run.json and output.log; the first of several processes does.

    Raises:
        ValueError: another process trains in that folder.
        Exception: whatever the run raises, once it is written down.
    """
    if is_worker_rank():
        yield WorkerRunRecord(cfg)
        return
    if "wandb" in (cfg.get("logger") or {}):
        # Before torch: its classes search all imported modules, which then takes two seconds more.
        import wandb.apis.public  # noqa: F401
    folder = claim_run_dir(cfg)
    with acquire_run_lock(folder, patience_s=WORKER_EXIT_TIMEOUT_S if cfg.get("resume") else 0):
        fields = make_initial_fields(cfg)
        record = RunRecord(
            folder, {**fields, **(read_previous_fields(folder, fields) if cfg.get("resume") else {})}, cfg
        )
        with tee_to_file(folder / "output.log"), update_run_record(record, cfg, fields["overrides"]):
            yield record


@contextmanager
def update_run_record(record: RunRecord, cfg: DictConfig, overrides: list[str]) -> Iterator[None]:
    """Write config.yaml, and let run.json say that the run begins and how it ends.

    Raises:
        BaseException: whatever the run raises, once it is written down.
    """
    record.begin(overrides)
    write_atomically(record.folder / "config.yaml", append_checksum(OmegaConf.to_yaml(redact_config(cfg))))
    exit_code = 1
    try:
        yield
        exit_code = 0
        record.end("finished")
    except (KeyboardInterrupt, SystemExit) as stop:
        record.end("interrupted", describe_stop(stop))
        raise
    except BaseException as error:
        record.end("failed", describe_failure(error, cfg))
        raise
    finally:
        run_exit_actions(exit_code)


def redact_config(cfg: DictConfig) -> DictConfig:
    """Return a configuration, its references filled in, without what is secret."""
    return OmegaConf.create(redact(to_plain_dict(cfg)))


def claim_run_dir(cfg: DictConfig) -> Path:
    """Make the run's folder its own, and return it; a second run of the same second gets a name of its own."""
    if cfg.get("resume"):
        return Path(cfg.output_dir)
    wanted = folder = Path(cfg.output_dir)
    for number in range(2, 1000):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "run.json").touch(exist_ok=False)
            break
        except FileExistsError:
            folder = wanted.with_name(f"{wanted.name}_{number}")
        except OSError as error:
            raise ValueError(
                f"The folder {folder} cannot be made ({error.strerror}): give output_dir=<a folder of yours>"
            ) from error
    with open_dict(cfg):
        cfg.output_dir = str(folder)
        cfg.name = cfg.get("name") or folder.name
    return folder


def make_initial_fields(cfg: DictConfig) -> dict[str, Any]:
    """Return what is known before anything runs."""
    from hydra.core.hydra_config import HydraConfig

    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return {
        "command": shlex.join(["python", "-m", f"firstlight.{cfg.command}", *overrides]),
        "overrides": overrides,
        "status": "running",
        "reason": None,
        "started": utc_now(),
        "ended": None,
        "duration_s": None,
        "attempts": [],
        "seed": cfg.get("seed"),
        "git": get_git_info(),
        "machine": {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()},
        "versions": get_package_versions(),
        "metrics": {},
        "checkpoints": {},
        "loggers": {},
    }


def read_previous_fields(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """Return what run.json told of the earlier attempts, but for fields that are of another kind: they are damaged."""
    earlier = read_json_or_empty(folder / "run.json")
    if isinstance(earlier.get("attempts"), list):
        earlier["attempts"] = [each for each in earlier["attempts"] if isinstance(each, dict)]
    known = {name: type(value) for name, value in fields.items() if value is not None}
    return {name: value for name, value in earlier.items() if isinstance(value, known.get(name, object))}


def register_exit_action(action: Callable[[int], None]) -> None:
    """Let an action happen when a run ends, such as that of a logger; it gets the exit code, 0 or 1."""
    if action not in _exit_actions:
        _exit_actions.append(action)


def run_exit_actions(exit_code: int) -> None:
    """Run the actions of `at_end`: a logger left open would write into the run of the next job of a sweep."""
    for action in _exit_actions:
        action(exit_code)
