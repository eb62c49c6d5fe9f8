"""Train, check and export any network by name."""

import re
from pathlib import Path

import pytest
import torch

from firstlight import build
from firstlight.export.source import ExportSource, describe_image_inputs, describe_text_inputs
from firstlight.mps.dry_run import dry_run
from support.options import QUICK_OVERRIDES

TINY_DATA = ["data.num_samples=8", "data.num_classes=2", "data.batch_size=8", "test=false", "callbacks=none"]
# Half of the default learning rate, because batch statistics of so few samples vary.
STEADY = ["optimizer.lr=0.0005", "scheduler=constant"]


def make_network_overrides(model: str, *overrides: str) -> list[str]:
    """Return the overrides that train a network on a single batch of random samples."""
    data = "fake_text" if model == "text_classifier" else "fake_images"
    return [f"model={model}", f"data={data}", *TINY_DATA, *QUICK_OVERRIDES, *STEADY, *overrides]


def train_on_single_batch(compose_cfg, overrides: list[str], max_epochs: int = 20):
    """Train a network until it knows a single batch; return model and data."""
    model, data, trainer = build.build(compose_cfg(*overrides, f"trainer.max_epochs={max_epochs}"))
    trainer.fit(model, data)

    assert float(trainer.callback_metrics["train/accuracy"]) == 1.0
    return model, data


def check_overfits(compose_cfg, overrides: list[str], max_epochs: int = 20) -> None:
    """Check that a network learns a single batch, and that its logits have one column per class."""
    model, data = train_on_single_batch(compose_cfg, overrides, max_epochs)
    inputs = make_input_spec(model, data).sample(3, 8)
    with torch.no_grad():
        assert tuple(model.eval()(inputs).shape) == (3, 2)


def check_network(compose_cfg, overrides: list[str], export_dir: Path, max_epochs: int = 20) -> str:
    """Check training, the dry run for MPS, and that the ONNX export returns the same logits.

    Returns:
        The maximum deviation of the exported logits, and the spread of the logits over different inputs.
    """
    onnx = pytest.importorskip("firstlight.export.onnx", reason="the extra export is not installed")
    report = dry_run(*build.build(compose_cfg(*overrides)), "32-true", deterministic=False)
    assert report.format_messages("error") == []
    assert not [line for line in report.format_messages("warning") if "stopped" in line or "Not checked" in line]

    model, data = train_on_single_batch(compose_cfg, overrides, max_epochs)
    spec = make_input_spec(model, data)
    estimate_running_statistics(model, spec.sample(16, 32))
    model.eval().requires_grad_(False)
    export_dir.mkdir(exist_ok=True)
    line = onnx.export_model(ExportSource(model, spec, "", {"model": {}}), export_dir)
    deviation = float(re.search(r"max deviation (\S+)", line).group(1))
    logits = model(spec.sample(16, 32))
    spread = float((logits.amax(0) - logits.amin(0)).max())
    # Logits that hardly depend on the inputs, as those of a network with a zero head, would agree in any program.
    assert deviation < 0.01 * spread
    return f"deviation {deviation:.1e}, spread of the logits {spread:.1e}"


def make_input_spec(model, data):
    """Return the inputs of a model, as an export describes them."""
    return describe_text_inputs(model, data) if model.modality == "text" else describe_image_inputs(data)


def estimate_running_statistics(model, inputs) -> None:
    """Set the running statistics to those of a batch: after few steps, the logits in eval mode explode or vanish."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
    with torch.no_grad():
        model.train()(inputs)
