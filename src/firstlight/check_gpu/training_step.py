"""Run the first training step of a model on a device with small inputs, and record its loss and its gradients."""

import io
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue
from torch import Tensor

from firstlight.build import Settings, resolve_auto_settings
from firstlight.check_gpu.operator_check import describe_kernel_error
from firstlight.config.compose import compose_config
from firstlight.config.options import list_option_files, load_option
from firstlight.config.schema import read_signature
from firstlight.config.validate import validate_config
from firstlight.run.errors import UserError
from firstlight.run.files import to_plain_dict
from firstlight.run.network import is_network_error
from firstlight.trial.recorders import scale_learning_rates
from firstlight.trial.runner import TrialRunner

COMMON = ["callbacks=none", "logger=none", "output_dir=."]
# Small inputs of each modality. A network that cannot process images of 32 px gets images of 224 px. Any other model
# gets a small batch of the dataset in its config.
MAX_BATCH_SIZE = 8
BATCH = [f"data.batch_size={MAX_BATCH_SIZE}", "data.num_samples=8", "data.num_workers=0", "data.num_classes=3"]
DATA: dict[object, list[list[str]]] = {
    "images": [
        ["data=fake_images", *BATCH, f"data.image_size={size}", "data.cache_on_device=false"] for size in (32, 224)
    ],
    "text": [["data=fake_text", *BATCH, "data.max_length=32"]],
}
# Neither compiled nor in mixed precision: both devices must compute the same operators.
EXACT: Settings = {"matmul_precision": "highest", "compile": False, "fused_optimizer": False, "benchmark": False}
EXACT |= {"accumulate_grad_batches": 1, "deterministic": None, "detect_anomaly": False}
# Replaces the zeros of a norm weight. Larger values amplify the rounding errors of deep residual networks.
FILL_VALUE = 0.1


class StepUnavailableError(Exception):
    """The training step of a model cannot be checked; the message says why."""


class GradientRecorder(Callback):
    """Record the loss and the gradients of the first training step, and stop. The step does not change the weights.

    Args:
        accelerator: Where the step must run.
        seed: Seed of the step.

    Attributes:
        values: The loss, if the module returns one, and the gradients by the names of their parameters, on the CPU.
    """

    def __init__(self, accelerator: str, seed: int = 0) -> None:
        self.accelerator = accelerator
        self.seed = seed
        self.values: dict[str, Tensor] = {}

    def on_train_start(self, trainer: Any, pl_module: LightningModule) -> None:
        """Prepare the weights, and set the learning rates to 0, so that a second optimizer sees the same weights."""
        torch.manual_seed(self.seed)
        if pl_module.device.type != self.accelerator:
            raise RuntimeError(f"the step must run on {self.accelerator}, but the module is on {pl_module.device}")
        fill_zero_weights(pl_module)
        scale_learning_rates(trainer, 0.0)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Seed the step."""
        torch.manual_seed(self.seed)

    def on_before_optimizer_step(self, trainer: Any, pl_module: LightningModule, optimizer: Any) -> None:
        """Copy the gradients of the parameters of an optimizer."""
        own = {id(param) for group in optimizer.param_groups for param in group["params"]}
        for name, param in pl_module.named_parameters():
            if param.grad is not None and id(param) in own:
                self.values[f"gradient of {name}"] = param.grad.detach().cpu().clone()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Copy the loss, and stop."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor) and loss.numel() == 1:
            self.values["loss"] = loss.detach().cpu().clone()
        trainer.should_stop = True


class TrainingStep:
    """The first training step of an option of configs/model, with the smallest inputs with which it runs on the CPU.

    Args:
        name: The option.

    Attributes:
        reference: The values of the step in float32 on the CPU.

    Raises:
        StepUnavailableError: If the option lacks a value, a package or a file, or its step fails on the CPU.
    """

    def __init__(self, name: str) -> None:
        modality = read_signature(load_option("model", name)["model"]["_target_"]).constants.get("modality")
        candidates = [overrides for overrides in DATA.get(modality, []) if has_dataset(overrides)]
        errors: list[Exception] = []
        for overrides in [*candidates, None]:
            try:
                overrides = limit_batch_size(name) if overrides is None else overrides
                self.overrides = [f"model={name}", *overrides, *COMMON]
                with forbid_network(), suppress_messages():
                    self.runner = TrialRunner(self.resolve_settings("cpu"))
                    self.batches = self.runner.load_batches(1)
                self.reference = self.run("cpu", "32-true")
                return
            except Exception as error:  # a module and its data can raise anything
                errors.append(error)
        *generated, own = errors
        # If the model rejects generated data, its own dataset is the reason. Otherwise, that may only be missing here.
        is_rejected = not generated or isinstance(generated[-1], UserError | MissingMandatoryValue)
        reason = own if is_rejected else generated[-1]
        raise StepUnavailableError(describe_reason(reason, name)) from reason

    def resolve_settings(self, accelerator: str) -> Settings:
        """Return the settings of a training run on an accelerator."""
        cfg = compose_config("train", [*self.overrides, f"trainer.accelerator={accelerator}"])
        validate_config(cfg)
        return to_plain_dict(resolve_auto_settings(cfg))

    def run(self, accelerator: str, precision: str, seed: int = 0) -> dict[str, Tensor]:
        """Return the loss and the gradients of the step without dropout, on the CPU.

        Args:
            accelerator: Where the step runs. An accelerator uses its own memory format.
            precision: Lightning's name.
            seed: Seed of the random numbers that the step uses.
        """
        channels_last = accelerator != "cpu" and self.resolve_settings(accelerator)["trainer"]["channels_last"]
        recorder = GradientRecorder(accelerator, seed)
        values = EXACT | {"accelerator": accelerator, "precision": precision, "channels_last": channels_last}
        with suppress_messages():
            self.runner.run(recorder, self.batches, values, without_dropout=True)
        return recorder.values


def fill_zero_weights(module: LightningModule) -> None:
    """Replace the zeros of scales, e.g. of the last norm of a residual block, behind which all gradients would be 0."""
    for name, param in module.named_parameters():
        if param.dim() <= 1 and not name.endswith("bias") and not bool(param.detach().cpu().any()):
            torch.nn.init.constant_(param, FILL_VALUE)


def limit_batch_size(name: str) -> list[str]:
    """Return the override that reduces the batch size of the dataset in the config of a model, if it is large."""
    batch_size = OmegaConf.select(compose_config("train", [f"model={name}"]), "data.batch_size")
    is_large = isinstance(batch_size, int) and batch_size > MAX_BATCH_SIZE
    return [f"data.batch_size={MAX_BATCH_SIZE}"] if is_large else []


def has_dataset(overrides: list[str]) -> bool:
    """Return True if the option of configs/data exists, which a project may delete."""
    return overrides[0].removeprefix("data=") in list_option_files("data")


def describe_reason(error: Exception, name: str) -> str:
    """Return why a step cannot be checked, as the end of a sentence."""
    if isinstance(error, MissingMandatoryValue):
        return f"it requires a value for {error.full_key}"
    if is_network_error(error):
        return f"it requires files that are not on this machine; fetch them with `make prepare model={name}`"
    if isinstance(error, UserError):
        return " ".join(str(error).split()).rstrip(".")
    return f"its step fails on the CPU ({describe_kernel_error(error)})"


@contextmanager
def forbid_network() -> Iterator[None]:
    """Context manager in which no host is found, so that nothing is downloaded during the check."""
    find, before = socket.getaddrinfo, os.environ.get("HF_HUB_OFFLINE")

    def raise_error(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror("no downloads during this check")

    os.environ["HF_HUB_OFFLINE"] = "1"  # otherwise, the Hub's client would try again several times
    socket.getaddrinfo = raise_error
    try:
        yield
    finally:
        socket.getaddrinfo = find
        os.environ.pop("HF_HUB_OFFLINE")
        os.environ |= {"HF_HUB_OFFLINE": before} if before is not None else {}


@contextmanager
def suppress_messages() -> Iterator[None]:
    """Context manager that drops warnings and printed lines, such as the number of loaded weights."""
    output = io.StringIO()
    with warnings.catch_warnings(action="ignore"), redirect_stdout(output), redirect_stderr(output):
        yield
