"""Weights of the Hugging Face Hub: the progress of their download, and what to do without a connection."""

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from firstlight.run.download import describe_failed_download, get_hub_model_dir, show_download
from firstlight.run.errors import get_first_line


def describe_loading_error(weights: str, error: Exception, fix: str, hint: str) -> str:
    """Return the message for weights that cannot be loaded; if they cannot be downloaded, how to bring them by hand."""
    download = f"`hf download {weights} --local-dir <directory>`"
    by_hand = describe_failed_download(error, download, "model.weights=<directory>")
    if by_hand and not Path(weights).is_dir():
        return f"Could not load model.weights={weights}: {by_hand} Or use {hint or 'model.weights=null.'}"
    detail = get_first_line(error)
    return f"Could not load model.weights={weights} ({detail}). {fix}"


def show_hub_download(weights: str) -> AbstractContextManager[None]:
    """Show the progress of the download of weights of the Hub; a local directory is not downloaded."""
    if Path(weights).is_dir():
        return nullcontext()
    return show_download(f"Downloading model.weights={weights}", get_hub_model_dir(weights, os.environ))
