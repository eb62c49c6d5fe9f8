"""Export a trained model for use in other programs:  python -m firstlight.export run=logs/train/<run> format=onnx"""

from importlib import import_module
from pathlib import Path

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.options import AUTO
from firstlight.config.validate import validate_config
from firstlight.run.errors import ConfigError, MissingPackageError, missing_package, unknown_name
from firstlight.run.files import to_plain_dict
from firstlight.run.packages import is_installed

# Format -> the module of this package that writes it, the packages that only this format needs, and their extra.
FORMATS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "torch": ("torch_export", (), ""),
    "onnx": ("onnx", ("onnx", "onnxscript", "onnxruntime"), "export"),
    "safetensors": ("safetensors", (), ""),
    "coreml": ("coreml", ("coremltools",), "coreml"),
}


@command("export")
def main(cfg: DictConfig) -> list[str]:
    """Write the model of a run and its metadata file; return the paths."""
    validate_config(cfg)
    validate_format(cfg.format)
    from firstlight.checkpoint.resolve import resolve_checkpoint
    from firstlight.cli import console
    from firstlight.export import atomic_dir
    from firstlight.export.source import load_source

    checkpoint = resolve_checkpoint(cfg)
    source = load_source(to_plain_dict(cfg), checkpoint)
    output_dir = atomic_dir.get_default_export_dir(Path(checkpoint)) if cfg.output == AUTO else Path(cfg.output)
    export_model = import_module(f"firstlight.export.{FORMATS[cfg.format][0]}").export_model
    with atomic_dir.atomic_output_dir(output_dir) as temporary_dir:
        verified = export_model(source, temporary_dir)
        names = sorted(path.name for path in temporary_dir.iterdir())
    paths = [output_dir / name for name in names]
    files = {f"  {path.name}": atomic_dir.format_size(path) for path in paths}
    console.print_fields({"checkpoint": checkpoint, "output": str(output_dir), **files, "verified": verified})
    return [str(path) for path in paths]


def validate_format(name: str) -> None:
    """Check that a format exists and that its packages are installed.

    Raises:
        ConfigError: If the format is unknown.
        MissingPackageError: If one of its packages is not installed.
    """
    if name not in FORMATS:
        raise ConfigError(unknown_name("format", name, FORMATS))
    _, packages, extra = FORMATS[name]
    if missing := [package for package in packages if not is_installed(package)]:
        raise MissingPackageError(missing_package(f"format={name}", missing[0], extra))


if __name__ == "__main__":
    main()
