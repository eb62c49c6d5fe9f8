"""Export for the Hugging Face Hub: weights, config, and code that loads them without this package."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firstlight.export import safetensors, torch_export
from firstlight.export.hub_programs import PROGRAM_FILE, make_program
from firstlight.export.markdown import shorten_paths
from firstlight.export.metadata import build_metadata, write_json
from firstlight.export.parity import check_parity
from firstlight.export.preprocessing import write_preprocessing
from firstlight.export.safetensors import is_transformers, save_weights
from firstlight.export.source import ExportSource
from firstlight.export.suppress_output import suppress_output
from firstlight.model.timm_classifier import TimmClassifier
from firstlight.model.torchvision_classifier import AUX_NETWORKS, TorchvisionClassifier
from firstlight.run.errors import ConfigError, get_first_line

CONFIG_FILE = "config.json"
# The config of transformers and of timm has the metadata of the export under this key.
METADATA_KEY = "export"
PROBLEM_TYPES = {
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
# Keys of config.json whose texts are read by programs, or are names that users chose.
NAME_KEYS = ("load", "class_names", "label_names", "target_name", "id2label", "label2id")
LOADING_CODE = ["from load import load_model", "model = load_model()"]


class CannotBuildError(Exception):
    """A library cannot build a network from its name and arguments."""


def export_model(source: ExportSource, output_dir: Path) -> str:
    """Write a directory for `hf upload`, without its model card; return a line about the verification.

    A network of transformers, timm or torchvision is loaded by its library. Any other network becomes a program of
    torch.export, which PyTorch loads without the source code of the model.

    Raises:
        ConfigError: If the network is of no such library and torch.export cannot trace it, or if what is loaded
            deviates from the model.
    """
    verified = export_network(source, output_dir)
    remove_local_paths(output_dir)
    return verified


def export_network(source: ExportSource, output_dir: Path) -> str:
    """Write the network with the library that loads it, or as a program; return a line about the verification."""
    if is_transformers(source.model):
        source.model.network.config.problem_type = PROBLEM_TYPES.get(str(source.task))
        return safetensors.export_model(source, output_dir)
    write_preprocessing(source, output_dir)
    for library, model_class, write_config in LIBRARIES:
        if isinstance(source.model, model_class):
            try:
                return export_library_network(source, output_dir, library, write_config)
            except CannotBuildError as error:  # a subclass may have changed the network
                print(f"{library} cannot build this network ({error}), so model.pt2 was written.", file=sys.stderr)
    return export_program(source, output_dir)


def remove_local_paths(output_dir: Path) -> None:
    """Remove paths of this machine from the config.json of an export, and name its format."""
    config = json.loads((output_dir / CONFIG_FILE).read_text(encoding="utf-8"))
    config.pop("_name_or_path", None)  # of transformers: where the pretrained weights were
    metadata = config.get(METADATA_KEY, config)
    metadata["format"] = "hub"
    metadata["checkpoint"] = "/".join(Path(metadata["checkpoint"]).resolve().parts[-3:])
    write_json(output_dir / CONFIG_FILE, clean_strings(config))


def clean_strings(value: Any) -> Any:
    """Return nested plain values without directories of this machine; names of classes do not change."""
    match value:
        case str():
            return shorten_paths(value)
        case dict():
            return {name: item if name in NAME_KEYS else clean_strings(item) for name, item in value.items()}
        case list():
            return [clean_strings(item) for item in value]
    return value


def export_library_network(
    source: ExportSource, output_dir: Path, library: str, write_config: Callable[[ExportSource, Path], None]
) -> str:
    """Write weights, config and load.py of a network that a library builds by name; load it to verify it.

    Raises:
        CannotBuildError: If the library rejects the arguments or the weights, or builds another network.
    """
    write_config(source, output_dir / CONFIG_FILE)
    save_weights(source.model.network, output_dir)
    (output_dir / PROGRAM_FILE).write_text(make_program(source, library), encoding="utf-8")
    load: Any = runpy.run_path(str(output_dir / PROGRAM_FILE))["load_model"]
    try:
        with suppress_output():
            loaded = load()
    except (RuntimeError, TypeError, ValueError) as error:
        raise CannotBuildError(get_first_line(error)) from error
    try:
        return check_parity(source, loaded)
    except ConfigError as error:
        raise CannotBuildError("its logits differ from the model") from error


def write_timm_config(source: ExportSource, path: Path) -> None:
    """Write a config.json that timm.create_model("hf-hub:<owner>/<name>") reads."""
    from timm.models import save_for_hf

    data: Any = source.inputs.image_data
    size = data.image_size
    preprocessing = {
        "mean": list(data.mean),
        "std": list(data.std),
        "input_size": [3, size, size],
        "crop_pct": 1.0 if size < 64 else size / round(size * 8 / 7),
        "crop_mode": "center",
        "interpolation": "bilinear",
    }
    config = {"label_names": source.model.class_names, "pretrained_cfg": preprocessing}
    save_for_hf(source.model.network, str(path.parent), config, safe_serialization=True)
    config = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**config, METADATA_KEY: make_metadata(source)})


def write_torchvision_config(source: ExportSource, path: Path) -> None:
    """Write a config.json with torchvision's name of the network and the arguments of its function."""
    model = source.model
    aux = {"aux_logits": False, "init_weights": False} if model.name in AUX_NETWORKS else {}
    architecture = {"architecture": model.name, "network_kwargs": {**model.network_kwargs, **aux}}
    write_json(path, {**architecture, **make_metadata(source)})


def export_program(source: ExportSource, output_dir: Path) -> str:
    """Write model.pt2 with load.py, and the weights alone.

    Raises:
        ConfigError: If torch.export cannot trace the model, or the program deviates from the model.
    """
    verified = torch_export.export_model(source, output_dir)
    save_weights(source.model, output_dir)
    metadata_path = output_dir / "model.pt2.json"
    metadata = json.loads(metadata_path.read_text(encoding="utf-8"))
    call = metadata["load"][-1]
    write_json(output_dir / CONFIG_FILE, {**metadata, "load": [*LOADING_CODE, call]})
    metadata_path.unlink()
    (output_dir / PROGRAM_FILE).write_text(make_program(source, "torch"), encoding="utf-8")
    return verified


def make_metadata(source: ExportSource) -> dict[str, Any]:
    """Return the metadata of an image network, whose only input is named in it."""
    return build_metadata(source, "hub", [*LOADING_CODE, f"logits = model({next(iter(source.inputs.descriptions))})"])


def read_metadata(output_dir: Path) -> dict[str, Any]:
    """Return the metadata in the config.json of an export for the Hub."""
    config: dict[str, Any] = json.loads((output_dir / CONFIG_FILE).read_text(encoding="utf-8"))
    metadata: dict[str, Any] = config.get(METADATA_KEY, config)
    return metadata


def find_library(source: ExportSource, output_dir: Path) -> str:
    """Return the library that loads an export: "transformers", "timm", "torchvision" or "torch"."""
    if is_transformers(source.model):
        return "transformers"
    if (output_dir / "model.pt2").exists():
        return "torch"
    return next(library for library, model_class, _ in LIBRARIES if isinstance(source.model, model_class))


# Library, the class of its models, and the function that writes their config.
LIBRARIES: list[tuple[str, type, Callable[[ExportSource, Path], None]]] = [
    ("timm", TimmClassifier, write_timm_config),
    ("torchvision", TorchvisionClassifier, write_torchvision_config),
]
