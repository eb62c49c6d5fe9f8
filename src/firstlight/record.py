"""The folder of a run, and run.json in it: what was asked, how it went, what came out."""

import gc
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from firstlight.output_log import logged

PACKAGES = ("torch", "torchvision", "lightning", "transformers", "torchmetrics", "hydra-core", "wandb")


class Record:
    """run.json, rewritten as a whole at each change, so that it is right whenever it is read."""

    def __init__(self, folder: Path, fields: dict[str, Any]) -> None:
        """Keep the folder and the first fields."""
        self.folder = folder
        self.fields = fields
        self.started = time.perf_counter()

    def update(self, **fields: Any) -> None:
        """Set fields and write the file; a reader never meets half of it."""
        self.fields |= fields
        temporary = self.folder / ".run.json.tmp"
        temporary.write_text(json.dumps(self.fields, indent=2, default=str) + "\n", encoding="utf-8")
        os.replace(temporary, self.folder / "run.json")

    def end(self, status: str, reason: str | None = None) -> None:
        """Say how the run ended."""
        seconds = round(time.perf_counter() - self.started, 3)
        self.update(status=status, reason=reason, ended=now(), seconds=seconds)


@contextmanager
def recorded(cfg: DictConfig) -> Iterator[Record]:
    """Claim the run's folder and keep its run.json true, however the run ends.

    Raises:
        Exception: whatever the run raises, once it is written down.
    """
    folder = claimed(cfg)
    record = Record(folder, first_fields(cfg))
    if cfg.get("resume"):
        # What the run was and reached stays; a list tells when it went on.
        earlier = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        again = [*earlier.get("resumed", []), {"at": now(), "overrides": record.fields["overrides"]}]
        record.fields = {**earlier, "resumed": again}
    record.update(status="running", reason=None, ended=None)
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    exit_code = 1
    with logged(folder / "output.log"):
        try:
            yield record
            exit_code = 0
            record.end("finished")
        except (KeyboardInterrupt, SystemExit) as stop:
            record.end("interrupted", f"stopped by {type(stop).__name__}")
            raise
        except BaseException as error:
            record.end("failed", explain(error, cfg))
            raise
        finally:
            finish_wandb(exit_code)


def claimed(cfg: DictConfig) -> Path:
    """Make the run's folder its own, and return it; a second run of the same second gets a name of its own."""
    if cfg.get("resume"):
        return Path(cfg.output_dir)
    wanted = folder = Path(cfg.output_dir)
    for number in range(2, 1000):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            (folder / "run.json").touch(exist_ok=False)
            break
        except FileExistsError:
            folder = wanted.with_name(f"{wanted.name}_{number}")
    with open_dict(cfg):
        cfg.output_dir = str(folder)
        cfg.name = cfg.get("name") or folder.name
    return folder


def first_fields(cfg: DictConfig) -> dict[str, Any]:
    """Return what is known before anything runs."""
    from hydra.core.hydra_config import HydraConfig

    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return {
        "command": shlex.join(["python", "-m", f"firstlight.{cfg.command}", *overrides]),
        "overrides": overrides,
        "status": "running",
        "reason": None,
        "started": now(),
        "ended": None,
        "seconds": None,
        "seed": cfg.get("seed"),
        "git": git_state(),
        "machine": {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()},
        "versions": versions(),
        "metrics": {},
        "checkpoints": {},
        "loggers": {},
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide over a result, as far as they are installed."""
    found = {}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def git(*words: str, folder: Path | None = None) -> str:
    """Return what git says of a folder, the working directory by default.

    Raises:
        OSError, subprocess.SubprocessError: there is no git, or it has nothing to say.
    """
    command = ["git", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def git_state() -> dict[str, Any] | None:
    """Return the commit of the working directory and whether it has changes; None outside git."""
    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def explain(error: BaseException, cfg: DictConfig) -> str:
    """Return a sentence for an error; out of memory is told with what to try."""
    text = unwrapped(error)
    if out_of_memory(error) and isinstance(error, ValueError):
        return text  # the check before the first step says what fits
    if out_of_memory(error):
        size = OmegaConf.select(cfg, "data.batch_size")
        return f"out of memory with data.batch_size={size}: try data.batch_size={max((size or 2) // 2, 1)}"
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def unwrapped(error: BaseException) -> str:
    """Return the text of an error, that of a loader's process without the traceback around it."""
    text = str(error).strip()
    return text.splitlines()[-1].partition(": ")[2] if text.startswith("Caught ") and "worker process" in text else text


def out_of_memory(error: BaseException) -> bool:
    """Say whether an error of CUDA, MPS or the CPU means that memory ran out."""
    text = str(error)
    known = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError) or any(each in text for each in known)


def finish_wandb(exit_code: int) -> None:
    """End an open W&B run: left open, the next job of a sweep would write into it."""
    if "wandb" in sys.modules:
        from firstlight.logger.weights_and_biases import finish

        finish(exit_code)


def free_memory() -> None:
    """Give back what a failed job held, so that the next one of a sweep can have it."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch is not None and torch.backends.mps.is_available():
        torch.mps.empty_cache()


def now() -> str:
    """Return the time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
