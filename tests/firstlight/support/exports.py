"""What a stranger gets from an export, for the tests of the formats and for those of each model."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from firstlight import train
from firstlight.config.compose import compose_config
from firstlight.export import __main__ as export
from firstlight.model.load import load_model
from support.options import make_tiny_overrides

# What a stranger does: the lines of the description, in its folder, without this package.
LOADING_PROGRAM = """
import json, sys
sys.modules["firstlight"] = None
from safetensors.torch import load_file, save_file
description = json.load(open(sys.argv[1]))
globals().update(load_file("inputs.safetensors"))
if description.get("format") == "onnx":
    globals().update({name: value.numpy() for name, value in load_file("inputs.safetensors").items()})
exec("\\n".join(description.get("export", description)["load"]))
import torch
save_file({"logits": torch.as_tensor(logits).detach()}, "logits.safetensors")
"""
METADATA_FILES = {"torch": "model.pt2.json", "onnx": "model.onnx.json", "safetensors": "config.json"}


def train_for_export(model: str, folder: Path) -> tuple[Path, dict[str, torch.Tensor], torch.Tensor]:
    """Train a step; return the folder of the run, and inputs by name with the logits that its model gives for them."""
    words = [*make_tiny_overrides(model), "trainer.limit_train_batches=1", "test=false", f"output_dir={folder}"]
    train.main(compose_config("train", words))
    made = load_model(folder / "checkpoints" / "last.ckpt").eval()
    if made.modality == "images":
        inputs = torch.randn(3, 3, 32, 32)
    else:
        mask = torch.tensor([[1] * 20, [1] * 5 + [0] * 15])
        inputs = {"input_ids": torch.randint(len(made.tokenizer), (2, 20)) * mask, "attention_mask": mask}
    with torch.no_grad():
        logits = made(inputs)
    return folder, inputs if isinstance(inputs, dict) else {"images": inputs}, logits


def run_export(run: Path, output: Path, *words: str) -> list[str]:
    """Export the last checkpoint of a run."""
    return export.main(compose_config("export", [f"run={run}", "ckpt=last", f"output={output}", *words]))


def load_without_firstlight(folder: Path, description: str, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the logits of an exported model, by the lines of its description alone."""
    save_file({name: value.contiguous() for name, value in inputs.items()}, folder / "inputs.safetensors")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # Weights alone need the model's class, and so this package.
    needs_class = "load_state_dict" in (folder / description).read_text()
    script = LOADING_PROGRAM.replace('sys.modules["firstlight"] = None\n', "") if needs_class else LOADING_PROGRAM
    environment |= {"PYTHONPATH": os.environ["PYTHONPATH"]} if needs_class else {}
    command = [sys.executable, "-c", script, description]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return load_file(folder / "logits.safetensors")["logits"]
