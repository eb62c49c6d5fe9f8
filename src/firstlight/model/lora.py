"""Low-rank adaptation (LoRA) of a transformers network with peft: train small matrices next to frozen weights.

A layer with the frozen weight W of shape (out, in) computes (W + alpha / rank * B A) x, with A of shape (rank, in) and
B of shape (out, rank). B starts at zero, so that the network is unchanged at first.

Source: E. Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021, arXiv:2106.09685, section 4.1.
"""

import warnings
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from firstlight.run.errors import CheckpointError, ConfigError, MissingPackageError, missing_package
from firstlight.run.packages import is_installed

ALL_LINEAR = "all-linear"


@dataclass(frozen=True)
class LoRASettings:
    """Arguments of `TextClassifier` for LoRA.

    Attributes:
        rank: Rank of the update of each weight. If None, LoRA is off, and the other values must be the defaults.
        alpha: The update is multiplied by alpha / rank. If None, alpha is the rank.
        dropout: Dropout probability of the inputs of the adapters, 0 to 1.
        target_modules: Names of the adapted layers, or "all-linear". If None, those that peft knows for the
            architecture, or all linear layers.

    Raises:
        ConfigError: If LoRA is off, and another value is set.
    """

    rank: int | None = None
    alpha: float | None = None
    dropout: float = 0.0
    target_modules: str | list[str] | None = None

    def __post_init__(self) -> None:
        chosen = {"alpha": self.alpha, "dropout": self.dropout or None, "target_modules": self.target_modules}
        for name, value in chosen.items() if self.rank is None else ():
            if value is not None:
                raise ConfigError(
                    f"model.lora_{name}={value} has no effect, because model.lora_rank is null. Set e.g. "
                    "model.lora_rank=8."
                )


def add_adapters(network: Any, settings: LoRASettings) -> None:
    """Add adapters to the layers of a network, in place; only they and the head stay trainable.

    Args:
        network: A text classification network of transformers.
        settings: With a rank.

    Raises:
        MissingPackageError: If peft is not installed.
        ConfigError: If the network has no such layers.
    """
    if not is_installed("peft"):
        raise MissingPackageError(missing_package(f"model.lora_rank={settings.rank}", "peft", "lora"))
    from peft import LoraConfig, inject_adapter_in_model
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN

    base, rank = network.base_model, int(settings.rank or 0)
    if base is network:
        raise ConfigError(f"model.lora_rank={rank} requires a network with a separate head. Use other weights.")
    targets = settings.target_modules or (None if network.config.model_type in KNOWN else ALL_LINEAR)
    alpha: Any = rank if settings.alpha is None else settings.alpha
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=settings.dropout, target_modules=targets)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "fan_in_fan_out is set to False")  # GPT-2's layers; peft corrects it
            inject_adapter_in_model(config, base)
    except ValueError as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise ConfigError(
            f"model.lora_target_modules={targets} does not fit {type(network).__name__}: {why}. Use e.g. "
            f"model.lora_target_modules={ALL_LINEAR}."
        ) from error


def merge_adapters(network: Any) -> None:
    """Replace each adapted layer by a plain one whose weight is W + alpha / rank * B A, in place."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = {name: module for name, module in network.named_modules() if isinstance(module, BaseTunerLayer)}
    for name, module in adapted.items():
        module.merge()
        network.set_submodule(name, module.get_base_layer())
    del network.base_model.peft_config


def rename_adapted_layers(state_dict: dict[str, Tensor], model: nn.Module, file: str) -> dict[str, Tensor]:
    """Return the weights of a network without adapters with the names that they have in a network with adapters.

    Args:
        state_dict: Weights of any network.
        model: The module that will load them.
        file: Where they come from, for messages.

    Raises:
        CheckpointError: If only the weights have adapters.
    """
    expected = model.state_dict()
    if any(".lora_A." in name for name in state_dict) and not any(".lora_A." in name for name in expected):
        raise CheckpointError(
            f"init_from.path={file} has LoRA adapters, but this model has none. Merge them with `make export` and "
            "format=safetensors, or set the model.lora_rank of that run."
        )
    renamed = {name.replace(".base_layer.", "."): name for name in expected if ".base_layer." in name}
    return {name if name in expected else renamed.get(name, name): tensor for name, tensor in state_dict.items()}


def is_adapter(name: str) -> bool:
    """Return True if a parameter with this name belongs to an adapter, which is new in each run."""
    return ".lora_" in name
