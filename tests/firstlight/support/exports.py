"""Train, export and load models, for the tests of the export formats and of each model."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from firstlight import train
from firstlight.checkpoint.io import load_checkpoint
from firstlight.config.compose import compose_config
from firstlight.export import __main__ as export
from firstlight.model.load import load_model
from support.options import make_tiny_overrides

# Runs the loading code of the metadata file in the directory of the export, without this package.
LOADING_PROGRAM = """
import json, sys
sys.modules["firstlight"] = None
from safetensors.torch import load_file, save_file
metadata = json.load(open(sys.argv[1]))
globals().update(load_file("inputs.safetensors"))
if metadata.get("format") == "onnx":
    globals().update({name: tensor.numpy() for name, tensor in load_file("inputs.safetensors").items()})
exec("\\n".join(metadata.get("export", metadata)["load"]))
import torch
save_file({"logits": torch.as_tensor(logits).detach()}, "logits.safetensors")
"""
METADATA_FILES = {"torch": "model.pt2.json", "onnx": "model.onnx.json", "safetensors": "config.json"}


def train_for_export(model: str, run_dir: Path) -> tuple[Path, dict[str, torch.Tensor], torch.Tensor]:
    """Train for one step; return the run directory, inputs by name, and the logits of the model for these inputs."""
    overrides = [*make_tiny_overrides(model), "trainer.limit_train_batches=1", "test=false", f"output_dir={run_dir}"]
    train.main(compose_config("train", overrides))
    loaded = load_model(load_checkpoint(run_dir / "checkpoints" / "last.ckpt")).eval()
    if loaded.modality == "images":
        inputs = torch.randn(3, 3, 32, 32)
    else:
        mask = torch.tensor([[1] * 20, [1] * 5 + [0] * 15])
        inputs = {"input_ids": torch.randint(len(loaded.tokenizer), (2, 20)) * mask, "attention_mask": mask}
    with torch.no_grad():
        logits = loaded(inputs)
    return run_dir, inputs if isinstance(inputs, dict) else {"images": inputs}, logits


def run_export(run_dir: Path, output_dir: Path, *overrides: str) -> list[str]:
    """Export the last checkpoint of a run."""
    overrides = [f"run={run_dir}", "ckpt=last", f"output={output_dir}", *overrides]
    return export.main(compose_config("export", overrides))["files"]


def load_without_firstlight(export_dir: Path, metadata_file: str, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the logits of an exported model, computed in another process by the loading code of its metadata file."""
    save_file({name: tensor.contiguous() for name, tensor in inputs.items()}, export_dir / "inputs.safetensors")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # Weights without a program require the model's class, and therefore this package.
    needs_class = "load_state_dict" in (export_dir / metadata_file).read_text()
    script = LOADING_PROGRAM.replace('sys.modules["firstlight"] = None\n', "") if needs_class else LOADING_PROGRAM
    env |= {"PYTHONPATH": os.environ["PYTHONPATH"]} if needs_class else {}
    command = [sys.executable, "-c", script, metadata_file]
    done = subprocess.run(command, cwd=export_dir, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return load_file(export_dir / "logits.safetensors")["logits"]
