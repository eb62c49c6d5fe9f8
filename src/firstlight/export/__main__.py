"""Export a trained model for use in other programs:  python -m firstlight.export run=logs/train/<run> format=onnx"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.options import AUTO
from firstlight.config.validate import validate_config
from firstlight.export.atomic_dir import get_default_export_dir, validate_export_dir, validate_hub_dir
from firstlight.export.push import upload, validate_hub_options
from firstlight.run.errors import ConfigError, MissingPackageError, invalid_value, missing_package, unknown_name
from firstlight.run.files import to_plain_dict
from firstlight.run.packages import is_installed

# Format -> the module of this package that writes it, the packages that only this format needs, their extra, and the
# metadata file.
FORMATS: dict[str, tuple[str, tuple[str, ...], str, str]] = {
    "torch": ("torch_export", (), "", "model.pt2.json"),
    "onnx": ("onnx", ("onnx", "onnxscript", "onnxruntime"), "export", "model.onnx.json"),
    "safetensors": ("safetensors", (), "", "config.json"),
    "hub": ("hub", ("huggingface_hub",), "hub", "config.json"),
    "coreml": ("coreml", ("coremltools",), "coreml", "model.mlpackage.json"),
}
# Files of an export for the Hub that depend on the model and its run. Those of an earlier export are deleted.
HUB_FILES = ("load.py", "preprocess.py", "model.pt2", "tokenizer.json", "learning_curves.png", "confusion_matrix.png")
# A directory for the Hub has no files of other formats.
DEFAULT_DIRS = {"hub": "hub"}
# coremltools 9.0 has no wheel for Python 3.14. Remove this once a release has one.
HAS_COREMLTOOLS = sys.version_info < (3, 14)


@command("export")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Write the model of a run and its metadata file.

    Returns:
        The directory, the files in it, the checkpoint, the format, how the export was compared with the model, and its
        address if it was uploaded.
    """
    validate_config(cfg)
    validate_format(cfg.format)
    validate_hub_options(cfg.format, cfg.push, cfg.license)
    from firstlight.checkpoint.resolve import resolve_checkpoint
    from firstlight.cli import console
    from firstlight.export.atomic_dir import format_size

    checkpoint = resolve_checkpoint(cfg)
    output_dir = get_output_dir(cfg, checkpoint)
    names, verified = write_export(cfg, checkpoint, output_dir)
    paths = [output_dir / name for name in names]
    files = {f"  {path.name}": format_size(path) for path in paths}
    console.print_fields({"checkpoint": checkpoint, "output": str(output_dir), **files, "verified": verified})
    url = None
    if cfg.push is not None:
        url, visibility = upload(output_dir, names, cfg.push, stale=HUB_FILES)
        console.print_fields({"uploaded": f"{url} ({visibility})" if visibility else url})
    return {
        "output_dir": str(output_dir),
        "files": [str(path) for path in paths],
        "checkpoint": checkpoint,
        "format": cfg.format,
        "verified": verified,
        "url": url,
    }


def write_export(cfg: DictConfig, checkpoint: str, output_dir: Path) -> tuple[list[str], str]:
    """Write the model of a checkpoint to a directory.

    Returns:
        The names of the written files, and a line about the verification.
    """
    from firstlight.export.atomic_dir import atomic_output_dir, delete_stale_files
    from firstlight.export.source import load_source
    from firstlight.run.progress import show_progress

    source = load_source(to_plain_dict(cfg), checkpoint)
    export_model = import_module(f"firstlight.export.{FORMATS[cfg.format][0]}").export_model
    with atomic_output_dir(output_dir) as temporary_dir:
        with show_progress(f"Exporting to format={cfg.format}"):
            verified: str = export_model(source, temporary_dir)
        if cfg.format == "hub":
            from firstlight.export.model_card import CARD_FILE, write_model_card

            write_model_card(source, temporary_dir, previous=output_dir / CARD_FILE, repo_id=cfg.push)
        names = sorted(path.name for path in temporary_dir.iterdir())
    if cfg.format == "hub":
        delete_stale_files(output_dir, HUB_FILES, names)
    return names, verified


def get_output_dir(cfg: DictConfig, checkpoint: str) -> Path:
    """Return the directory of the export.

    Raises:
        ConfigError: If it cannot be written, or contains files of another program.
    """
    if not isinstance(cfg.output, str) or not cfg.output:
        raise ConfigError(invalid_value("output", cfg.output, "a directory", "Use e.g. output=model/."))
    is_default = cfg.output == AUTO
    output_dir = (
        get_default_export_dir(Path(checkpoint), DEFAULT_DIRS.get(cfg.format, "export"))
        if is_default
        else Path(cfg.output).expanduser()
    )
    if is_default and output_dir.is_symlink():  # of a run that may come from someone else
        raise ConfigError(f"{output_dir} is a link. Choose another directory with output=<directory>.")
    validate_export_dir(output_dir, FORMATS[cfg.format][3])
    if cfg.format == "hub":
        validate_hub_dir(output_dir)
    return output_dir


def validate_format(name: str) -> None:
    """Check that a format exists and that its packages are installed.

    Raises:
        ConfigError: If the format is unknown.
        MissingPackageError: If one of its packages is not installed, or not available for this Python.
    """
    if name not in FORMATS:
        raise ConfigError(unknown_name("format", name, FORMATS))
    _, packages, extra, _ = FORMATS[name]
    missing = [package for package in packages if not is_installed(package)]
    if missing and name == "coreml" and not HAS_COREMLTOOLS:
        fix = "Export with Python 3.11 to 3.13, or use format=onnx."
        raise MissingPackageError(f"format=coreml requires coremltools, which has no wheel for Python 3.14. {fix}")
    if missing:
        raise MissingPackageError(missing_package(f"format={name}", missing[0], extra))


if __name__ == "__main__":
    main()
