"""Load the model of a checkpoint."""

from pathlib import Path
from typing import Any

from firstlight.checkpoint import io as checkpoint_io
from firstlight.config.instantiate import locate
from firstlight.model.classifier import Classifier


def load_model(checkpoint: str | Path, trust_remote_code: bool = False) -> Classifier:
    """Return the model of a checkpoint with its weights: nothing is downloaded, no setting repeated.

    Raises:
        ValueError: If the file is no checkpoint of this project.
    """
    saved = checkpoint_io.load_checkpoint(checkpoint)
    known = {**saved["hyper_parameters"], **saved["model_kwargs"]}
    if "trust_remote_code" in known:
        known["trust_remote_code"] = trust_remote_code  # the file's own word for it counts nothing
    model: Classifier = locate(saved["config"]["model"]["_target_"])(**known)
    model.load_state_dict(saved["state_dict"])
    return model


def allows_remote_code(settings: dict[str, Any]) -> bool:
    """Return True if the command line said that code which comes with weights may run."""
    return bool(settings["model"].get("trust_remote_code"))
