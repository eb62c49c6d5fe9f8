"""What ended a run, as a sentence: an error, or a signal from outside."""

import errno
import signal

from omegaconf import DictConfig, OmegaConf

from firstlight.data.worker import worker_fault


def explain(error: BaseException, cfg: DictConfig) -> str:
    """Return a sentence for an error; out of memory is told with what to try."""
    text = unwrapped(error)
    if (told := disk_fault(error) or worker_fault(error)) is not None:
        return told
    if out_of_memory(error) and isinstance(error, ValueError):
        return text  # the check before the first step says what fits
    if out_of_memory(error):
        size = OmegaConf.select(cfg, "data.batch_size")
        return f"out of memory with data.batch_size={size}: try data.batch_size={max((size or 2) // 2, 1)}"
    if isinstance(error, ValueError) and text:
        return text.splitlines()[0]  # a rule of ours, in one sentence
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def disk_fault(error: BaseException) -> str | None:
    """Return a sentence for a disk that is full or a place that cannot be written to."""
    if not isinstance(error, OSError):
        return None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full ({error.filename or 'no room left'}): free some space, then go on by resume=<folder>"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.filename} cannot be written to ({error.strerror}): give output_dir=<a folder of yours>"
    return None


def unwrapped(error: BaseException) -> str:
    """Return the text of an error, that of a loader's process without the traceback around it."""
    text = str(error).strip()
    return text.splitlines()[-1].partition(": ")[2] if text.startswith("Caught ") and "worker process" in text else text


def out_of_memory(error: BaseException) -> bool:
    """Say whether an error of CUDA, MPS or the CPU means that memory ran out."""
    text = str(error)
    known = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError) or any(each in text for each in known)


def stopped_by(stop: BaseException) -> str:
    """Return a sentence for what ended a run from outside."""
    number = stop.code - 128 if isinstance(stop, SystemExit) and isinstance(stop.code, int) else signal.SIGINT
    known = {each.value: each.name for each in signal.Signals}
    return f"stopped by {known.get(number, type(stop).__name__)}"
