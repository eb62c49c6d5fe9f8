"""Write a trained model for other programs:  python -m firstlight.export run=logs/train/<run> format=onnx"""

from importlib import import_module
from pathlib import Path

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.options import AUTO
from firstlight.config.validate import validate_config
from firstlight.run.errors import MissingPackageError, missing_package
from firstlight.run.files import to_plain_dict
from firstlight.run.packages import is_installed

# The module of this package that writes a format, the packages it needs besides, and the extra that brings them.
FORMATS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "torch": ("torch_export", (), ""),
    "onnx": ("onnx", ("onnx", "onnxscript", "onnxruntime"), "export"),
    "safetensors": ("safetensors", (), ""),
    "coreml": ("coreml", ("coremltools",), "coreml"),
}


@command("export")
def main(cfg: DictConfig) -> list[str]:
    """Write the model of a run, and what a stranger must know to use it; return the paths."""
    validate_config(cfg)
    validate_format(cfg.format)
    from firstlight.checkpoint.resolve import resolve_checkpoint
    from firstlight.cli import console
    from firstlight.export import atomic_dir
    from firstlight.export.source import load_source

    checkpoint = resolve_checkpoint(cfg)
    source = load_source(to_plain_dict(cfg), checkpoint)
    output = atomic_dir.get_default_export_dir(Path(checkpoint)) if cfg.output == AUTO else Path(cfg.output)
    export_model = import_module(f"firstlight.export.{FORMATS[cfg.format][0]}").export_model
    with atomic_dir.atomic_output_dir(output) as temporary:
        checked = export_model(source, temporary)
        names = sorted(each.name for each in temporary.iterdir())
    paths = [output / name for name in names]
    files = {f"  {path.name}": atomic_dir.format_size(path) for path in paths}
    console.print_fields({"checkpoint": checkpoint, "written": str(output), **files, "checked": checked})
    return [str(path) for path in paths]


def validate_format(name: str) -> None:
    """Refuse a format that is unknown, or whose packages are not here.

    Raises:
        ValueError: so it is.
    """
    if name not in FORMATS:
        raise ValueError(f"format is one of {', '.join(FORMATS)}, but format={name}: choose one of these")
    _, packages, extra = FORMATS[name]
    if missing := [package for package in packages if not is_installed(package)]:
        raise MissingPackageError(missing_package(f"format={name}", missing[0], extra))


if __name__ == "__main__":
    main()
