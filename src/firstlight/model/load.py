"""Load the model of a checkpoint."""

from pathlib import Path
from typing import Any

from firstlight.checkpoint import io as checkpoint_io
from firstlight.config.instantiate import locate
from firstlight.model.classifier import Classifier


def load_model(checkpoint: str | Path, trust_remote_code: bool = False) -> Classifier:
    """Load a model and its weights from a checkpoint, without downloads and without a config.

    Args:
        checkpoint: Path of the checkpoint.
        trust_remote_code: Whether Python code that comes with pretrained weights may run.

    Raises:
        CheckpointError: If the file is not a checkpoint of this project.
    """
    saved = checkpoint_io.load_checkpoint(checkpoint)
    kwargs = {**saved["hyper_parameters"], **saved["model_kwargs"]}
    if "trust_remote_code" in kwargs:
        # The checkpoint cannot grant this permission, only the caller.
        kwargs["trust_remote_code"] = trust_remote_code
    model: Classifier = locate(saved["config"]["model"]["_target_"])(**kwargs)
    model.load_state_dict(saved["state_dict"])
    return model


def allows_remote_code(config: dict[str, Any]) -> bool:
    """Return True if the config allows Python code that comes with pretrained weights to run."""
    return bool(config["model"].get("trust_remote_code"))
