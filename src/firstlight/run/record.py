"""The run directory and its run.json: command, environment, status and results of a run."""

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from firstlight.run.console_log import tee_to_file
from firstlight.run.errors import ConfigError, TrainingError
from firstlight.run.exit_actions import run_exit_actions
from firstlight.run.failure import describe_failure, describe_stop
from firstlight.run.files import (
    append_checksum,
    list_checkpoints,
    read_json_or_empty,
    to_plain_dict,
    utc_now,
    write_atomically,
)
from firstlight.run.json_output import update_result
from firstlight.run.lock import WORKER_EXIT_TIMEOUT_S, acquire_run_lock
from firstlight.run.output_path import validate_run_dir
from firstlight.run.overrides import list_overrides
from firstlight.run.provenance import describe_source_changes, get_git_info, get_package_versions, record_provenance
from firstlight.run.rank import is_nonzero_rank
from firstlight.run.redaction import redact, redact_override
from firstlight.run.signals import defer_stop_signals, get_received_signal
from firstlight.run.text import format_command

# Reserved at the start and released when the disk is full, so that run.json can still record the failure.
RESERVE_BYTES = 64 * 1024

# Runs of this process that have begun and not ended.
_open_records: list["RunRecord"] = []


class RunRecord:
    """run.json, rewritten atomically with each change, so that it is valid whenever it is read."""

    def __init__(self, run_dir: Path, fields: dict[str, Any], cfg: DictConfig | None = None) -> None:
        """Reserve disk space; the file is written by `begin`."""
        self.run_dir = run_dir
        self.fields = fields
        self.cfg = cfg
        self.has_begun = False
        self.started = time.perf_counter()
        self.reserve = run_dir / ".reserve"
        self.reserve.write_bytes(bytes(RESERVE_BYTES))

    def update(self, **fields: Any) -> None:
        """Update fields and rewrite run.json atomically.

        Raises:
            TrainingError: If the run directory was deleted; writing would create a directory with this file only.
        """
        if self.has_begun and not self.exists():
            raise TrainingError(f"{self.run_dir} was deleted during the run. Start a new run with `make train`.")
        # A stop signal waits, because otherwise the fields could differ from the file.
        with defer_stop_signals():
            self.fields |= fields
            text = json.dumps(redact(self.fields), indent=2, default=str) + "\n"
            try:
                write_atomically(self.run_dir / "run.json", text)
            except OSError:
                self.reserve.unlink(missing_ok=True)
                write_atomically(self.run_dir / "run.json", text)

    def write_config(self, cfg: DictConfig) -> None:
        """Write config.yaml, the resolved config with secrets masked."""
        text = OmegaConf.to_yaml(OmegaConf.create(redact(to_plain_dict(cfg))))
        write_atomically(self.run_dir / "config.yaml", append_checksum(text))

    def exists(self) -> bool:
        """Return True unless run.json was deleted, usually with the run directory."""
        return (self.run_dir / "run.json").is_file()

    def begin(self, fields: dict[str, Any]) -> None:
        """Record a new attempt; a resumed run keeps its earlier attempts and results.

        Args:
            fields: The overrides, the git commit and the package versions of this attempt.
        """
        attempt = {"started": utc_now(), "ended": None, "status": "running", "reason": None}
        attempt |= {name: fields[name] for name in ("overrides", "git", "versions")}
        attempts = [*self.fields.get("attempts", []), attempt]
        record_provenance(self.run_dir, attempts)
        if len(attempts) > 1 and (changes := describe_source_changes(*attempts[-2:])):
            print(f"Warning: changed since the previous attempt: {', '.join(changes)}.", flush=True)
        self.update(status="running", reason=None, ended=None, attempts=attempts)
        self.has_begun = True

    def end(self, status: str, reason: str | None = None) -> None:
        """Record the end of this attempt: "finished", "interrupted" or "failed", and why the run did not finish."""
        duration_s = round(time.perf_counter() - self.started, 3)
        end = {"ended": utc_now(), "status": status, "reason": reason}
        attempts = [*self.fields["attempts"][:-1], {**self.fields["attempts"][-1], **end, "duration_s": duration_s}]
        durations = [attempt.get("duration_s") for attempt in attempts]  # None: a killed attempt
        total = round(sum(duration for duration in durations if isinstance(duration, float)), 3)
        with defer_stop_signals():
            self.update(**end, duration_s=total, attempts=attempts)
            self.reserve.unlink(missing_ok=True)
            update_result(run_dir=str(self.run_dir), status=status, checkpoints=list_checkpoints(self.run_dir))


class WorkerRunRecord:
    """The record of a run on a worker rank: rank 0 writes run.json."""

    def __init__(self, cfg: DictConfig) -> None:
        """Store the run directory and the config."""
        self.run_dir = Path(cfg.output_dir)
        self.cfg = cfg
        self.fields: dict[str, Any] = {}

    def update(self, **fields: Any) -> None:
        """Do nothing: rank 0 writes run.json."""

    def write_config(self, cfg: DictConfig) -> None:
        """Do nothing: rank 0 writes config.yaml."""


@contextmanager
def record_run(cfg: DictConfig) -> Iterator[RunRecord | WorkerRunRecord]:
    """Claim the run directory and write run.json and output.log until the run ends; only rank 0 writes.

    Raises:
        BaseException: If another process uses the run directory, or the run raises; the error is recorded first.
    """
    if is_nonzero_rank():
        yield WorkerRunRecord(cfg)
        return
    if "wandb" in (cfg.get("logger") or {}):
        # Imported before torch: the classes of wandb search all imported modules, which takes two more seconds later.
        import wandb.apis.public  # noqa: F401
    with ExitStack() as stack:
        with defer_stop_signals():
            record, fields = stack.enter_context(open_record(cfg))
            stack.enter_context(tee_to_file(record.run_dir / "output.log"))
            stack.enter_context(record_run_lifecycle(record, cfg, fields))
        yield record


@contextmanager
def open_record(cfg: DictConfig) -> Iterator[tuple[RunRecord, dict[str, Any]]]:
    """Claim and lock the run directory; yield its record, with the fields of a resumed run, and the new fields."""
    run_dir = claim_run_dir(cfg)
    with acquire_run_lock(run_dir, timeout_s=WORKER_EXIT_TIMEOUT_S if cfg.get("resume") else 0):
        fields = make_initial_fields(cfg)
        previous = read_valid_previous_fields(run_dir, fields) if cfg.get("resume") else {}
        yield RunRecord(run_dir, {**fields, **previous}, cfg), fields


@contextmanager
def record_run_lifecycle(record: RunRecord, cfg: DictConfig, fields: dict[str, Any]) -> Iterator[None]:
    """Write config.yaml, and record in run.json that the run begins and how it ends.

    Raises:
        BaseException: If the run raises; the error is recorded first.
    """
    _open_records.append(record)
    exit_code = 1
    try:
        record.begin(fields)
        record.write_config(cfg)
        yield
        exit_code = 0
        record.end("finished")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit) or get_received_signal():
            end_open_runs(describe_stop(error))
        else:
            record.end("failed", describe_failure(error, cfg))
        raise
    finally:
        run_exit_actions(record.run_dir, exit_code)
        _open_records.remove(record)


def end_open_runs(reason: str) -> None:
    """Record the interruption of the runs of this process that have not ended, also after a second stop signal."""
    with defer_stop_signals():
        for record in _open_records:
            if record.fields["status"] == "running" and record.has_begun and record.exists():
                record.end("interrupted", reason)


def claim_run_dir(cfg: DictConfig) -> Path:
    """Create and claim the run directory; if two runs start in the same second, append a counter to the name.

    Raises:
        ConfigError: If the directory cannot be created, or contains files of another program.
    """
    if cfg.get("resume"):
        return Path(cfg.output_dir)
    wanted = run_dir = Path(cfg.output_dir)
    validate_run_dir(wanted)
    for number in range(2, 1000):
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            (run_dir / "run.json").touch(exist_ok=False)
            break
        except FileExistsError:
            run_dir = wanted.with_name(f"{wanted.name}_{number}")
        except OSError as error:
            raise ConfigError(
                f"Cannot create {run_dir}: {error.strerror}. Choose another location with output_dir=<directory>."
            ) from error
    with open_dict(cfg):
        cfg.output_dir = str(run_dir)
        cfg.name = cfg.get("name") or run_dir.name
    return run_dir


def make_initial_fields(cfg: DictConfig) -> dict[str, Any]:
    """Return the fields of run.json that are known before the run starts."""
    overrides = [redact_override(override) for override in list_overrides()]
    return {
        "command": format_command("python", "-m", f"firstlight.{cfg.command}", *overrides),
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


def read_valid_previous_fields(run_dir: Path, initial: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an existing run.json; fields of the wrong type are corrupt and left out."""
    previous = read_json_or_empty(run_dir / "run.json")
    if not previous:
        print(f"Warning: {run_dir / 'run.json'} is corrupt or missing. Its earlier attempts are lost.", flush=True)
    if isinstance(previous.get("attempts"), list):
        previous["attempts"] = [attempt for attempt in previous["attempts"] if isinstance(attempt, dict)]
    types = {name: type(value) for name, value in initial.items() if value is not None}
    return {name: value for name, value in previous.items() if isinstance(value, types.get(name, object))}
