"""Read the config of an earlier run, from its config.yaml or from a checkpoint."""

from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf

from firstlight.run.containment import find_run_dir, read_text_inside, validate_run_files
from firstlight.run.errors import CheckpointError, corrupt_file
from firstlight.run.files import ENGINE_KEY, has_valid_checksum

YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_YAML_DEPTH = 100
# Last sentence of messages about an unreadable config.yaml.
RESTORE_CONFIG = "Restore the file, or start a new run."


def load_run_config(source: Path) -> DictConfig:
    """Return the config of a run directory or of a checkpoint.

    Raises:
        CheckpointError: If there is no run or checkpoint, or its config cannot be read.
    """
    run_dir = find_run_dir(source)
    has_config = (run_dir / "config.yaml").is_file()
    if has_config or (source.suffix != ".ckpt" and source.is_dir()):
        validate_run_files(run_dir)
    if has_config or has_checkpoint(run_dir):
        try:
            return rebase_paths(load_verified_config(run_dir / "config.yaml"), run_dir)
        except CheckpointError as error:
            if not has_checkpoint(run_dir):
                raise
            return load_config_from_checkpoint(run_dir, source, error)
    if not source.is_file() and not (source.is_dir() and source.suffix == ".ckpt"):
        runs = sorted(run_dir.parent.glob("*/config.yaml"), key=lambda file: file.stat().st_mtime)
        hint = f"Use e.g. {runs[-1].parent}." if runs else "Use the run directory printed by `make train`."
        raise CheckpointError(f"No run found in {source}. {hint}")
    from firstlight.checkpoint import io as checkpoint_io

    config: dict[str, Any] = checkpoint_io.load_checkpoint(source)[ENGINE_KEY]["config"]
    return rebase_paths(OmegaConf.create(config), run_dir)


def load_config_from_checkpoint(run_dir: Path, source: Path, error: CheckpointError) -> DictConfig:
    """Return the config stored in a checkpoint, in place of the unreadable file that `error` names."""
    from firstlight.checkpoint import io as checkpoint_io

    path = source if source.suffix == ".ckpt" else checkpoint_io.find_latest_valid_checkpoint(run_dir)[0]
    config: dict[str, Any] = checkpoint_io.load_checkpoint(path)[ENGINE_KEY]["config"]
    problem = str(error).removesuffix(f" {RESTORE_CONFIG}")
    print(f"Warning: {problem} Using the config stored in {path.name}.", flush=True)
    return rebase_paths(OmegaConf.create(config), run_dir)


def load_verified_config(file: Path) -> DictConfig:
    """Return the config in the config.yaml of a run.

    Raises:
        CheckpointError: If the file is corrupt or was modified after the run wrote it.
    """
    try:
        text = read_text_inside(file)
        validate_yaml_structure(text)
        config = OmegaConf.create(text)
    except Exception as error:  # YAML and OmegaConf raise many kinds
        raise CheckpointError(corrupt_file(str(file), type(error).__name__, RESTORE_CONFIG)) from error
    if not isinstance(config, DictConfig) or not isinstance(config.get("output_dir"), str):
        raise CheckpointError(f"{file} is not the config of a run. {RESTORE_CONFIG}")
    if not has_valid_checksum(text):
        raise CheckpointError(f"{file} was modified after the run wrote it (checksum mismatch). {RESTORE_CONFIG}")
    return config


def load_plain_yaml(text: str) -> Any:
    """Return the contents of a YAML text, which may come from a stranger, without Hydra's interpolations.

    Raises:
        ValueError: If the text contains an alias, or is nested more deeply than the config of a run.
        Exception: If the text is damaged; PyYAML raises many kinds, e.g. KeyError for `!!bool foo`.
    """
    validate_yaml_structure(text)
    return yaml.load(text, YAML_LOADER)


def validate_yaml_structure(text: str) -> None:
    """Check that a YAML text, which may come from a stranger, can be loaded within milliseconds.

    Raises:
        ValueError: If the text contains an alias, or is nested more deeply than the config of a run.
        yaml.YAMLError: If the text is not valid YAML.
    """
    depth = 0
    for event in yaml.parse(text, YAML_LOADER):
        # A few nested aliases describe billions of values; a run writes none.
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("the file contains an alias")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        # libyaml takes half a minute for 100,000 brackets.
        if depth > MAX_YAML_DEPTH:
            raise ValueError(f"the file has more than {MAX_YAML_DEPTH} levels")


def rebase_paths(saved: Any, run_dir: Path | str) -> DictConfig:
    """Rewrite the paths in a saved config to the current location of the run directory."""
    before = str(saved.get("output_dir"))

    def rebase(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: rebase(item) for name, item in value.items()}
        if isinstance(value, str) and (value == before or value.startswith(f"{before}/")):
            return f"{run_dir}{value[len(before) :]}"
        return value

    return OmegaConf.create(rebase(OmegaConf.to_container(saved)))


def has_checkpoint(run_dir: Path) -> bool:
    """Return True if a run has saved a checkpoint."""
    return any((run_dir / "checkpoints").glob("*.ckpt"))
