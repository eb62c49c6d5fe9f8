"""What a benchmark measures: the parts of network, optimizer and trainer that decide how long a step takes."""

from dataclasses import dataclass
from typing import Any

from lightning.pytorch import LightningModule
from torch.nn.modules.batchnorm import _BatchNorm

from firstlight.trainer.compile import TorchCompile
from firstlight.trainer.trainer import Trainer


@dataclass
class Conditions:
    """Conditions of a measurement, as they were in effect.

    Attributes:
        input: Size of an image or maximum length of a text; empty: unknown.
        batch_norm: Whether the network has batch normalization.
        precision: Lightning's name.
        compile_mode: Mode of `torch.compile`; None: not compiled.
        memory_format: Memory format of convolutions; None: the network has none.
        optimizer: Class of the optimizer, and whether it is fused; None outside training.
        gradient_clip_val: Maximum norm of the gradient; None: no clipping.
    """

    input: str
    batch_norm: bool
    precision: str
    compile_mode: str | None
    memory_format: str | None
    optimizer: str | None
    gradient_clip_val: float | None


@dataclass
class BenchmarkResult:
    """Result of one loop in one phase; throughputs are the median, the lowest and the highest over the repeats.

    If the number of samples of a batch is unknown, the throughputs are in steps/s and the batch size is 0. If the
    FLOPs are unknown, they are 0.
    """

    phase: str
    loop: str
    device: str
    batch_size: int
    steps: int
    repeats: int
    samples_per_s: float
    lowest: float
    highest: float
    peak_memory_gib: float
    flops_per_sample: float
    flops_per_s: float
    conditions: Conditions


def read_conditions(model: LightningModule, data: Any, trainer: Trainer, phase: str) -> Conditions:
    """Return the conditions of a phase after the trainer has run it."""
    modules = list(model.modules())
    compiles = [callback for callback in trainer.callbacks if isinstance(callback, TorchCompile)]  # type: ignore[attr-defined]
    is_compiled = bool(compiles) and any(module._compiled_call_impl is not None for module in modules)
    has_convolutions = any(param.ndim == 4 for param in model.parameters())
    is_training = phase == "train"
    return Conditions(
        input=describe_input(data),
        batch_norm=any(isinstance(module, _BatchNorm) for module in modules),
        precision=str(trainer.precision),
        compile_mode=compiles[0].mode if is_compiled else None,
        memory_format=("channels_last" if trainer.channels_last else "contiguous") if has_convolutions else None,
        optimizer=", ".join(map(describe_optimizer, trainer.optimizers)) if is_training else None,
        gradient_clip_val=trainer.gradient_clip_val if is_training else None,
    )


def describe_input(data: Any) -> str:
    """Return the size of the inputs of a datamodule, such as "224 px"; empty if it is unknown."""
    for name, unit in {"image_size": "px", "max_length": "tokens"}.items():
        if isinstance(size := getattr(data, name, None), int):
            return f"{size} {unit}"
    return ""


def describe_optimizer(optimizer: Any) -> str:
    """Return the class of an optimizer, and whether its step is fused."""
    is_fused = any(group.get("fused") for group in optimizer.param_groups)
    return f"{type(optimizer).__name__}{' (fused)' if is_fused else ''}"


def format_conditions(result: dict[str, Any]) -> str:
    """Return the conditions of a result in one line.

    Args:
        result: A result of benchmark.json.
    """
    parts = [result["input"]] if result["input"] else []
    parts.append("batch norm" if result["batch_norm"] else "no batch norm")
    if result["optimizer"] is not None:
        clipping = result["gradient_clip_val"]
        parts += [result["optimizer"], f"clipping {clipping:g}" if clipping else "no clipping"]
    mode = result["compile_mode"]
    parts += [result["precision"], f"compiled ({mode})" if mode else "not compiled"]
    return ", ".join([*parts, *filter(None, [result["memory_format"]])])
