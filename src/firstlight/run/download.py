"""Directories of downloads, and the progress of a download: how much a directory grows."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from firstlight.run.errors import iter_error_chain, shorten
from firstlight.run.network import is_network_error
from firstlight.run.progress import WorkProgress, show_progress

# Between two measurements of a directory, in seconds.
MEASURE_INTERVAL_S = 1.0
BYTES_PER_MB = 1_000_000


def get_cache_home(environment: Mapping[str, str]) -> str:
    """Return the directory of the caches of a user."""
    return environment.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")


def get_torch_home(environment: Mapping[str, str]) -> str:
    """Return the directory of the weights that torch.hub and torchvision download."""
    return os.path.expanduser(environment.get("TORCH_HOME") or os.path.join(get_cache_home(environment), "torch"))


def get_torch_hub_dir(environment: Mapping[str, str]) -> Path:
    """Return the directory of the weight files of torch.hub and torchvision."""
    return Path(get_torch_home(environment)) / "hub" / "checkpoints"


def list_hub_caches(environment: Mapping[str, str]) -> list[str]:
    """Return the cache directories of the Hugging Face libraries, which have one entry per model or dataset."""
    home = os.path.expanduser(environment.get("HF_HOME") or os.path.join(get_cache_home(environment), "huggingface"))
    names = {"HF_HUB_CACHE": "hub", "HF_DATASETS_CACHE": "datasets", "HF_MODULES_CACHE": "modules"}
    return [environment.get(variable) or os.path.join(home, name) for variable, name in names.items()]


def get_hub_model_dir(name: str, environment: Mapping[str, str]) -> Path:
    """Return the cache directory of a model of the Hugging Face Hub."""
    return Path(list_hub_caches(environment)[0]) / f"models--{name.replace('/', '--')}"


@contextmanager
def show_download(description: str, directory: Path, total_mb: int | None = None) -> Iterator[None]:
    """Show the progress of a download in megabytes, if it takes more than two seconds.

    Args:
        description: What is downloaded, such as "Downloading model.weights=DEFAULT".
        directory: Directory of the file, which grows meanwhile. It need not exist.
        total_mb: Size of the download in megabytes. If None, it is unknown.
    """
    with show_progress(f"{description} (MB)", total_mb) as progress:
        is_done = threading.Event()
        arguments = (progress, directory, count_bytes(directory), is_done)
        thread = threading.Thread(target=_measure, args=arguments, daemon=True, name="download")
        thread.start()
        try:
            yield
        finally:
            is_done.set()
            thread.join()


def _measure(progress: WorkProgress, directory: Path, before: int, is_done: threading.Event) -> None:
    while not is_done.wait(MEASURE_INTERVAL_S):
        progress.completed = max(count_bytes(directory) - before, 0) // BYTES_PER_MB


def count_bytes(directory: Path) -> int:
    """Return the size of all files in a directory in bytes, without following links; 0 if it does not exist."""
    total = 0
    for path, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):  # a temporary file that has got its final name meanwhile
                total += os.lstat(os.path.join(path, name)).st_size
    return total


def is_hub_offline() -> bool:
    """Return True if the environment forbids huggingface_hub to connect, with the values that it knows."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def describe_failed_download(error: BaseException, download: str, setting: str) -> str | None:
    """Return how to bring what could not be downloaded by hand; None if the network is not the reason.

    Args:
        error: The error.
        download: The command or the URL that fetches it elsewhere.
        setting: The key, and the value that it gets then, such as "model.weights=<directory>".
    """
    if not is_network_error(error):
        return None
    *_, root_cause = iter_error_chain(error)
    reason = shorten(" ".join(str(root_cause).split()), 200).rstrip(".")
    reason = "HF_HUB_OFFLINE is set" if is_hub_offline() else reason
    return (
        f"it is not in the cache, and there is no connection ({reason}). On a machine with network access, run "
        f"`make prepare`, or {download}; copy the result here, and set {setting}."
    )
