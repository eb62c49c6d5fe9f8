"""What ended a run, as a sentence: an error, or a signal from outside."""

import errno
import re
import signal

from omegaconf import DictConfig, OmegaConf


def describe_failure(error: BaseException, cfg: DictConfig) -> str:
    """Return a sentence for an error; out of memory is told with what to try."""
    if (known := find_known_reason(error, OmegaConf.select(cfg, "data.batch_size"))) is not None:
        return known
    text = unwrap_worker_error(error)
    if isinstance(error, ValueError) and text:
        return text.splitlines()[0]  # a rule of ours, in one sentence
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def find_known_reason(error: BaseException, batch_size: int | None = None) -> str | None:
    """Return the sentence for an error whose cause and remedy are known whichever library raised it, else None."""
    if (told := format_disk_error(error) or describe_worker_error(error)) is not None:
        return told
    # A ValueError is the check before the first step, which says what fits.
    if is_oom_error(error) and not isinstance(error, ValueError):
        if batch_size:
            return f"out of memory with data.batch_size={batch_size}: try data.batch_size={max(batch_size // 2, 1)}"
        reason = unwrap_worker_error(error).partition("\n")[0] or "no more to be had"
        return f"out of memory ({reason}): halve data.batch_size"
    if "Expected more than 1 value per channel when training" in str(error):
        return "Batch normalisation needs two samples, but a batch held one: give data.batch_size=2 or more"
    return None


def format_disk_error(error: BaseException) -> str | None:
    """Return a sentence for a disk that is full or a place that cannot be written to."""
    if not isinstance(error, OSError):
        return None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full ({error.filename or 'no room left'}): free some space, then go on by resume=<folder>"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.filename} cannot be written to ({error.strerror}): give output_dir=<a folder of yours>"
    return None


def unwrap_worker_error(error: BaseException) -> str:
    """Return the text of an error, that of a loader's process without the traceback around it."""
    text = str(error).strip()
    return text.splitlines()[-1].partition(": ")[2] if text.startswith("Caught ") and "worker process" in text else text


def is_oom_error(error: BaseException) -> bool:
    """Say whether an error of CUDA, MPS or the CPU means that memory ran out."""
    text = str(error)
    known = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError) or any(each in text for each in known)


def describe_stop(stop: BaseException) -> str:
    """Return a sentence for what ended a run from outside."""
    number = stop.code - 128 if isinstance(stop, SystemExit) and isinstance(stop.code, int) else signal.SIGINT
    known = {each.value: each.name for each in signal.Signals}
    return f"stopped by {known.get(number, type(stop).__name__)}"


# What torch says, and the sentence for it; a cause comes before what follows from it.
WORKER_ERRORS = {
    r"out of shared memory|signal: Bus error": (
        "The shared memory in which loader processes hand over their batches is full: give fewer data.num_workers or "
        "a smaller data.batch_size, or enlarge /dev/shm (docker run --shm-size=8g)"
    ),
    r"signal: Killed": (
        "The system killed a loader process, most likely because memory ran out: give fewer data.num_workers or a "
        "smaller data.batch_size"
    ),
    r"timed out after ([\d.]+) seconds": (
        "The loader processes gave no batch for {} seconds: see whether the disk of the data answers, give other "
        "data.num_workers, or data.num_workers=0 to see where it waits"
    ),
    r"signal: ([\w ]+)": (
        "A loader process was ended by the signal {}: data.num_workers=0 shows which sample does it, if one does"
    ),
    r"DataLoader worker .* exited unexpectedly": (
        "A loader process ended without a word: data.num_workers=0 shows the error itself; if there is none, memory "
        "ran out, so give fewer data.num_workers"
    ),
}


def describe_worker_error(error: BaseException) -> str | None:
    """Return the sentence for an error of torch's DataLoader about its processes; None for any other error."""
    told = ""
    link: BaseException | None = error
    while link:
        told += f"{link}\n" if "DataLoader" in str(link) else ""
        link = link.__cause__ or link.__context__
    for pattern, sentence in WORKER_ERRORS.items():
        if found := re.search(pattern, told):
            return sentence.format(*found.groups())
    return None
