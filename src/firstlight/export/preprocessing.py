"""The preprocessing of an export: what predict does to its inputs, as files next to the exported model."""

import ast
import copy
import importlib
import inspect
from pathlib import Path
from typing import Any

from firstlight.data.images import ImageDataModule
from firstlight.export.source import ExportSource
from firstlight.export.tracing import InputShapes

IMAGE_FILE = "preprocess.py"
REQUIRED = "Pillow, torch and torchvision"
# These modules read the lock files of the project, which other programs do not have.
PROJECT_MODULES = ("firstlight.run.errors", "firstlight.run.packages")
IS_INSTALLED = "def is_installed(name):\n    return importlib.util.find_spec(name) is not None"
# Modules with the functions that `IMAGE_CODE` calls.
IMAGE_MODULES = ("firstlight.data.image_io", "firstlight.data.normalization")
IMAGE_CODE = '''
IMAGE_SIZE = {size}
MEAN = {mean}
STD = {std}


def load_image(path):
    """Return an image file as the exported model takes it, float32 (1, 3, {size}, {size})."""
    pixels = read_image_crop(Path(path), IMAGE_SIZE, get_center_crop_box)
    return normalize(pixels.unsqueeze(0), MEAN, STD)
'''


def write_preprocessing(source: ExportSource, output_dir: Path, shapes: InputShapes | None = None) -> None:
    """Write the tokenizer of a text model, or preprocess.py of an image model.

    Args:
        source: The model.
        output_dir: Directory of the exported model.
        shapes: Shapes of the exported inputs. If None, texts of any length are valid.
    """
    tokenizer = getattr(source.model, "tokenizer", None)
    if tokenizer is not None:
        length = (shapes or {}).get("input_ids", ["batch", "length"])[1]
        limit_length(tokenizer, source.inputs.max_length, length if isinstance(length, int) else None).save_pretrained(
            output_dir
        )
    if source.inputs.image_data is not None:
        text = make_image_program(source.inputs.image_data)
        (output_dir / IMAGE_FILE).write_text(text, encoding="utf-8")


def limit_length(tokenizer: Any, max_length: int | None, fixed_length: int | None) -> Any:
    """Return a copy of a tokenizer that truncates and pads texts as predict does.

    Args:
        tokenizer: A fast tokenizer of transformers. Any other is returned unchanged.
        max_length: Maximum tokens of a text; None if it is unlimited.
        fixed_length: Number of tokens to pad to; if None, the longest text of a batch.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or max_length is None:
        return tokenizer
    limited = copy.deepcopy(tokenizer)
    limited.model_max_length = max_length
    limited.backend_tokenizer.enable_truncation(max_length, direction=limited.truncation_side)
    limited.backend_tokenizer.enable_padding(
        direction=limited.padding_side, pad_id=limited.pad_token_id, pad_token=limited.pad_token, length=fixed_length
    )
    return limited


def make_image_program(data: ImageDataModule) -> str:
    """Return a Python module that reads images as predict does. It requires Pillow, torch and torchvision only."""
    inlined: set[str] = set()
    parts = [f'"""Read an image as predict does:  images = load_image("photo.jpg")  (requires {REQUIRED})"""']
    parts += [inline_module(name, inlined) for name in IMAGE_MODULES]
    code = IMAGE_CODE.format(size=data.image_size, mean=tuple(data.mean), std=tuple(data.std))
    return "\n\n".join(filter(None, parts)) + "\n\n" + code


def inline_module(name: str, inlined: set[str]) -> str:
    """Return the source of a module of this package, with the source of its own modules in place of their imports.

    Args:
        name: Import path of the module.
        inlined: Modules that are already part of the text.
    """
    if name in inlined:
        return ""
    inlined.add(name)
    source = inspect.getsource(importlib.import_module(name))
    lines, parts = source.splitlines(), []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and node.module in PROJECT_MODULES:
            parts.append("\n\n".join(replace_definition(node.module, alias.name, inlined) for alias in node.names))
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("firstlight."):
            parts.append(inline_module(str(node.module), inlined))
        elif not (isinstance(node, ast.Expr) or (isinstance(node, ast.ImportFrom) and node.module == "__future__")):
            first = min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", []))])
            parts.append("\n".join(lines[first - 1 : node.end_lineno]))
    return "\n\n".join(filter(None, parts))


def replace_definition(module: str, name: str, inlined: set[str]) -> str:
    """Return the definition of an error class, or of a function that returns a message, without the package."""
    if f"{module}.{name}" in inlined:
        return ""
    inlined.add(f"{module}.{name}")
    if name == "is_installed":
        return f"import importlib.util\n\n{IS_INSTALLED}"
    if isinstance(getattr(importlib.import_module(module), name), type):
        return f"class {name}(ValueError):\n    pass"
    return f'def {name}(*parts, **named):\n    return " ".join(map(str, [*parts, *named.values()]))'
