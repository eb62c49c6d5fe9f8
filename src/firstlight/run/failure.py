"""Why a run ended, as one line: a failure, or a signal."""

import errno
import os
import re
import resource
import signal
from pathlib import Path
from traceback import extract_tb

from omegaconf import DictConfig, OmegaConf

from firstlight.run.errors import MAX_MESSAGE_CHARACTERS, UserError, iter_error_chain, shorten
from firstlight.run.signals import get_received_signal

# How the system, SQLite and libraries that quote the system describe a full disk.
FULL_DISK_TEXT = re.compile("No space left on device|Disk quota exceeded|database or disk is full")

# Functions that restore a checkpoint, by file: those of Lightning 2.6, and the engine's.
RESTORE_FUNCTIONS = {
    ("checkpoint_connector.py", "_restore_modules_and_callbacks"),
    ("checkpoint_connector.py", "restore_training_state"),
    ("load.py", "load_model"),
    ("rng_state.py", "set_rng_states"),
    ("exact_resume.py", "on_state_restored"),
}


def describe_failure(error: BaseException, cfg: DictConfig) -> str:
    """Return the reason that run.json records for an error; out-of-memory errors name a smaller batch size."""
    return shorten(_describe_failure(error, cfg), MAX_MESSAGE_CHARACTERS)


def _describe_failure(error: BaseException, cfg: DictConfig) -> str:
    if (reason := find_known_reason(error, OmegaConf.select(cfg, "data.batch_size"))) is not None:
        return reason
    text = unwrap_worker_error(error)
    if isinstance(error, UserError) and text:
        return text.splitlines()[0]
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def find_known_reason(error: BaseException, batch_size: int | None = None) -> str | None:
    """Return the message for a library error whose cause and fix are known; None for any other error."""
    if (
        reason := format_file_limit_error(error) or format_disk_error(error) or describe_worker_error(error)
    ) is not None:
        return reason
    # A UserError is raised by the check before training, and its message names the batch size that fits.
    if is_oom_error(error) and not isinstance(error, UserError):
        if isinstance(batch_size, int) and batch_size:  # it may still be "auto"
            fix = f"Try data.batch_size={batch_size // 2}." if batch_size > 1 else "Use a smaller model or input."
            return f"Out of memory with data.batch_size={batch_size}. {fix}"
        detail = unwrap_worker_error(error).partition("\n")[0] or "allocation failed"
        return f"Out of memory ({detail}). Halve data.batch_size."
    if "Expected more than 1 value per channel when training" in str(error):
        return (
            "BatchNorm requires at least two samples per batch during training, but a batch had one. "
            "Set data.batch_size to 2 or more."
        )
    if "unsupported ScalarType BFloat16" in str(error):
        return "A step of the model converts bfloat16 to NumPy, which has no such type. Set trainer.precision=32-true."
    if str(error).startswith("Early stopping conditioned on metric"):
        return " ".join(str(error).split())  # names the metric and the logged ones
    return describe_restore_error(error)


def describe_restore_error(error: BaseException) -> str | None:
    """Return the message for an error that the contents of a checkpoint have caused; None for any other error."""
    frames = extract_tb(error.__traceback__)
    is_restoring = any((Path(frame.filename).name, frame.name) in RESTORE_FUNCTIONS for frame in frames)
    if isinstance(error, UserError) or not is_restoring:
        return None
    reason = " ".join([f"{type(error).__name__}:", *str(error).split()])[:300]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
    return (
        f"Cannot restore the checkpoint ({reason}, in {where}). If the code of the model has changed since, use its "
        "earlier version. Otherwise, use another checkpoint."
    )


def format_file_limit_error(error: BaseException) -> str | None:
    """Return the message for a process that may not open another file; None for any other error."""
    for link in iter_error_chain(error):
        # torch and multiprocessing raise errors of their own.
        if getattr(link, "errno", None) in (errno.EMFILE, errno.ENFILE) or "Too many open files" in str(link):
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            return (
                f"Too many open files: this process may open {limit}. Raise the limit with `ulimit -n 4096`, or use "
                "data.num_workers=0."
            )
    return None


def format_disk_error(error: BaseException) -> str | None:
    """Return the message for a full or failing disk, or a path that is not writable; None for any other error.

    Libraries raise errors of their own when a write fails: torch.save raises a RuntimeError ("unexpected pos"), whose
    context is the OSError. Libraries written in C++ or Rust quote only the text of the system.
    """
    for link in iter_error_chain(error):
        number = link.errno if isinstance(link, OSError) else None
        where = f" while writing {link.filename}" if isinstance(link, OSError) and link.filename else ""
        if number in (errno.ENOSPC, errno.EDQUOT) or (number is None and FULL_DISK_TEXT.search(str(link))):
            return f"Disk full{where}. Free some space, then resume with resume=<run>."
        if number == errno.EFBIG:
            return (
                f"File too large{where}. Use another file system, or raise the limit of file sizes (ulimit -f), then "
                "resume with resume=<run>."
            )
        if number in (errno.EIO, errno.ESTALE):
            subject = link.filename or "a file" if isinstance(link, OSError) else "a file"
            return f"Cannot read or write {subject}: {os.strerror(number)}. Check the disk, then use resume=<run>."
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"Cannot write {error.filename}: {error.strerror}. Choose another output_dir."
    return None


def unwrap_worker_error(error: BaseException) -> str:
    """Return the text of an error, without the traceback that a DataLoader worker adds."""
    text = str(error).strip()
    return text.splitlines()[-1].partition(": ")[2] if text.startswith("Caught ") and "worker process" in text else text


def is_oom_error(error: BaseException) -> bool:
    """Return True if CUDA, MPS or the CPU ran out of memory."""
    text = str(error)
    signs = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError) or any(sign in text for sign in signs)


def describe_stop(stop: BaseException) -> str:
    """Return the reason for an interruption, such as "stopped by SIGTERM"."""
    number = get_received_signal()
    if not number:
        number = stop.code - 128 if isinstance(stop, SystemExit) and isinstance(stop.code, int) else signal.SIGINT
    names = {known.value: known.name for known in signal.Signals}
    return f"stopped by {names.get(number, type(stop).__name__)}"


# Patterns of torch errors and their messages. Causes come before their consequences.
WORKER_ERRORS = {
    r"out of shared memory|signal: Bus error": (
        "DataLoader workers ran out of shared memory. Reduce data.num_workers or data.batch_size, or enlarge /dev/shm "
        "(docker run --shm-size=8g)."
    ),
    r"signal: Killed": (
        "A DataLoader worker was killed, probably because the machine ran out of memory. Reduce data.num_workers or "
        "data.batch_size."
    ),
    r"timed out after ([\d.]+) seconds": (
        "DataLoader workers produced no batch for {} s. Check that the file system of the data responds, change "
        "data.num_workers, or debug with data.num_workers=0."
    ),
    r"signal: ([\w ]+)": (
        "A DataLoader worker was terminated by signal {}. Run with data.num_workers=0 to find the sample that causes "
        "it."
    ),
    r"DataLoader worker .* exited unexpectedly": (
        "A DataLoader worker exited unexpectedly. Run with data.num_workers=0 to see the error; if there is none, the "
        "worker probably ran out of memory: reduce data.num_workers."
    ),
}


def describe_worker_error(error: BaseException) -> str | None:
    """Return the message for an error of DataLoader worker processes; None for any other error."""
    text = "".join(f"{link}\n" for link in iter_error_chain(error) if "DataLoader" in str(link))
    for pattern, message in WORKER_ERRORS.items():
        if match := re.search(pattern, text):
            return message.format(*match.groups())
    return None
