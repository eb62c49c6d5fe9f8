"""load.py of an export for the Hub: plain PyTorch code that loads the model and predicts images or texts."""

from firstlight.export.source import ExportSource

PROGRAM_FILE = "load.py"
HEADER = '''"""Load the model{purpose}

Requires {requirements}.
"""

import json
import sys
from pathlib import Path

import torch

DIRECTORY = Path(__file__).resolve().parent
CONFIG = json.loads((DIRECTORY / "config.json").read_text(encoding="utf-8"))
METADATA = CONFIG.get("export", CONFIG)
'''
LOAD = {
    "timm": '''

def load_model():
    """Return the network of timm in eval mode on the CPU, with its weights."""
    import timm

    return timm.create_model(f"local-dir:{DIRECTORY}", pretrained=True).eval()
''',
    "torchvision": '''

def load_model():
    """Return the network of torchvision in eval mode on the CPU, with its weights."""
    from safetensors.torch import load_file
    from torchvision.models import get_model

    num_classes = len(METADATA["class_names"])
    model = get_model(CONFIG["architecture"], weights=None, num_classes=num_classes, **CONFIG["network_kwargs"])
    model.load_state_dict(load_file(DIRECTORY / "model.safetensors"))
    return model.eval()
''',
    "torch": '''

def load_model():
    """Return the program of torch.export on the CPU. Load only files that you trust: they can run code."""
    return torch.export.load(DIRECTORY / "model.pt2").module()
''',
}
LOAD_IMAGE = '''

def load_inputs(path):
    """Return an image file as the model takes it: float32 (1, 3, size, size)."""
    sys.path.insert(0, str(DIRECTORY))
    from preprocess import load_image

    return load_image(path)
'''
LOAD_TEXT = '''

def load_inputs(text):
    """Return a text as the model takes it: "input_ids" and "attention_mask", int64 (1, tokens)."""
    from tokenizers import Tokenizer

    row = Tokenizer.from_file(str(DIRECTORY / "tokenizer.json")).encode(text)
    return {"input_ids": torch.tensor([row.ids]), "attention_mask": torch.tensor([row.attention_mask])}
'''
FORMAT = '''

def format_prediction(logits):
    """Return {formatted} from the logits of one input."""
{code}
'''
FORMATS = {
    "classification": (
        "the probability of each class",
        '    return dict(zip(METADATA["class_names"], logits[0].softmax(0).tolist()))',
    ),
    "multilabel": (
        "the probability of each label",
        '    return dict(zip(METADATA["label_names"], logits[0].sigmoid().tolist()))',
    ),
    "regression": (
        "the target",
        '    return {{METADATA["target_name"]: float(logits.reshape(-1)[0]) * {std!r} + {mean!r}}}',
    ),
}
MAIN = """

if __name__ == "__main__":
    model = load_model()
    for argument in sys.argv[1:]:
        with torch.no_grad():
            prediction = format_prediction(model(load_inputs(argument)))
        print(argument)
        for name, value in sorted(prediction.items(), key=lambda item: -item[1])[:5]:
            print(f"  {value:.6g}  {name}")
"""
REQUIREMENTS = {
    "timm": "torch, timm",
    "torchvision": "torch, torchvision, safetensors",
    "torch": "torch",
}


def make_program(source: ExportSource, library: str) -> str:
    """Return load.py as text.

    Args:
        source: The model.
        library: "timm", "torchvision" or "torch".
    """
    example = get_example(source)
    purpose = f" and predict:  python load.py {example}" if example else "."
    parts = [HEADER.format(purpose=purpose, requirements=get_requirements(source, library)), LOAD[library]]
    if example:
        parts.append(LOAD_IMAGE if source.inputs.image_data is not None else LOAD_TEXT)
        parts += [make_format_function(source.model), MAIN]
    return "".join(parts)


def get_requirements(source: ExportSource, library: str) -> str:
    """Return the packages that load.py imports, for a sentence."""
    names = REQUIREMENTS[library].split(", ")
    if source.inputs.image_data is not None:
        names += ["torchvision", "Pillow"]
    elif source.inputs.max_length is not None:
        names.append("tokenizers")
    return ", ".join(dict.fromkeys(names))


def get_example(source: ExportSource) -> str:
    """Return an argument of load.py, or "" if the inputs or the outputs of the model are not known to it."""
    if getattr(source.model, "task", None) not in FORMATS:
        return ""
    if source.inputs.image_data is not None:
        return "photo.jpg"
    return '"A text"' if source.inputs.max_length is not None else ""


def make_format_function(model: object) -> str:
    """Return the code that converts logits to probabilities or to the target."""
    task = str(getattr(model, "task", ""))
    formatted, code = FORMATS[task]
    if task == "regression":
        code = code.format(std=model.target_std, mean=model.target_mean)  # type: ignore[attr-defined]
    return FORMAT.format(formatted=formatted, code=code)
