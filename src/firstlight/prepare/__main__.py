"""Fetch and compute what a training run needs:  python -m firstlight.prepare model=bert data=imdb"""

import os
from typing import Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config
from firstlight.prepare.report import convert_network_errors, format_train_command, list_config_paths, print_stores
from firstlight.prepare.used_files import UsedFiles


@command("prepare")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Prepare a training run, and print the used files and directories.

    Returns:
        Their paths, and the command that trains without network access.
    """
    validate_config(cfg)
    used = UsedFiles(list_config_paths(cfg), os.environ)
    with used, convert_network_errors(used):
        from firstlight.prepare.dry_start import run_hooks

        if (tokens_dir := run_hooks(cfg)) is not None:
            used.add(tokens_dir)
    print_stores(used)
    command = format_train_command(used)
    print(f"Train with: {command}", flush=True)
    return {"paths": list(used.stores), "train_command": command}


if __name__ == "__main__":
    main()
