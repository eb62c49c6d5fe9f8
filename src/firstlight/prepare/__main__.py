"""Fetch and compute what a training run needs:  python -m firstlight.prepare model=bert data=imdb"""

import os

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config
from firstlight.prepare.report import convert_network_errors, format_train_command, list_config_paths, print_stores
from firstlight.prepare.used_files import UsedFiles


@command("prepare")
def main(cfg: DictConfig) -> list[str]:
    """Prepare a training run, print the used files and directories, and return their paths."""
    validate_config(cfg)
    used = UsedFiles(list_config_paths(cfg), os.environ)
    with used, convert_network_errors(used):
        from firstlight.prepare.dry_start import run_hooks

        if (tokens_dir := run_hooks(cfg)) is not None:
            used.add(tokens_dir)
    print_stores(used)
    print(f"Train with: {format_train_command(used)}", flush=True)
    return list(used.stores)


if __name__ == "__main__":
    main()
