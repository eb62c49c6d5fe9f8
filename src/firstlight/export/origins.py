"""Where pretrained weights and data of an export come from, as far as its config says."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstlight.export.source import ExportSource
from firstlight.model.timm_classifier import TimmClassifier, get_hub_name
from firstlight.model.torchvision_classifier import TorchvisionClassifier

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class BaseModel:
    """Pretrained weights from which a training started.

    Attributes:
        name: Their name for readers.
        hub_id: Their name on the Hugging Face Hub, or None.
        license: Their license as their library states it, or None.
    """

    name: str
    hub_id: str | None = None
    license: str | None = None


def find_base_model(source: ExportSource) -> BaseModel | None:
    """Return the pretrained weights of a model, or None if the config names none."""
    config, init_from = source.config["model"], source.config.get("init_from") or {}
    if isinstance(init_from, dict) and init_from.get("path"):
        return BaseModel(str(init_from["path"]))
    weights = config.get("weights")
    if not isinstance(weights, str):
        return None
    if isinstance(source.model, TimmClassifier) and weights == "pretrained":
        from timm import get_pretrained_cfg

        pretrained: Any = get_pretrained_cfg(source.model.name)
        hub_id = get_hub_name(source.model.name)
        return BaseModel(hub_id, hub_id, getattr(pretrained, "license", None) or None)
    if isinstance(source.model, TorchvisionClassifier) and not Path(weights).exists():
        return BaseModel(f"torchvision {source.model.name}, {weights}")
    is_on_hub = HUB_ID.fullmatch(weights) and not Path(weights).exists()
    return BaseModel(weights, weights if is_on_hub else None)


def find_hub_dataset(config: dict[str, Any]) -> str | None:
    """Return the name of a dataset on the Hugging Face Hub, or None if the data comes from elsewhere."""
    data = config.get("data") or {}
    name = data.get("dataset_name")
    return name if isinstance(name, str) and HUB_ID.fullmatch(name) and not Path(name).exists() else None
