"""Upload to W&B what waits on disk:  python -m firstlight.wandb_sync runs=logs/train dry_run=true"""

from pathlib import Path

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config
from firstlight.logger.wandb_offline import RunSegment, find_pending, upload_segment


@command("wandb_sync")
def main(cfg: DictConfig) -> dict[str, str]:
    """Upload offline and interrupted runs in the order they were made; return each one's address or reason."""
    validate_config(cfg)
    if not Path(cfg.runs).is_dir():
        raise ValueError(f"runs= takes a folder of runs, but {cfg.runs} is none: give runs=logs, or that of one run")
    runs = exclude_active_runs(find_pending(Path(cfg.runs)))
    if not runs:
        print(f"nothing waits for upload in {cfg.runs}")
    elif cfg.dry_run:
        print_runs("waits", runs)
    else:
        validate_api_key()
        return upload_all(runs)
    return {}


def exclude_active_runs(runs: dict[str, list[RunSegment]]) -> dict[str, list[RunSegment]]:
    """Return the runs that nobody writes any more, and name the others."""
    running = {name: run for name, run in runs.items() if any(part.is_running for part in run)}
    print_runs("runs still", running)
    return {name: run for name, run in runs.items() if name not in running}


def upload_all(runs: dict[str, list[RunSegment]]) -> dict[str, str]:
    """Upload runs one after the other, and tell how each went.

    Raises:
        ValueError: some did not arrive.
    """
    told, failed = {}, 0
    for name, run in runs.items():
        done, told[name] = upload_segment(run)
        failed += not done
        print(f"{'uploaded' if done else 'failed':<10}  {run[-1].run_dir}  {told[name]}", flush=True)
    if failed:
        raise ValueError(f"{failed} of {len(runs)} runs did not arrive: they stay on disk, try again later")
    return told


def validate_api_key() -> None:
    """Refuse to begin without a key that the server takes.

    Raises:
        ValueError: there is none, it is no good, or the server does not answer.
    """
    # Imported late: without anything to upload it is not needed.
    import wandb

    from firstlight.logger.wandb_auth import has_api_key

    try:
        found = has_api_key(verify=True)
    except (wandb.errors.Error, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"W&B's server does not answer, or refuses the key ({reason}): try again later") from error
    if not found:
        raise ValueError("An upload needs a key of W&B, but there is none: run `wandb login` first")


def print_runs(word: str, runs: dict[str, list[RunSegment]]) -> None:
    """Print a line per run."""
    for run in runs.values():
        parts = f"  ({len(run)} parts)" if len(run) > 1 else ""
        print(f"{word:<10}  {run[-1].run_dir}{parts}", flush=True)


if __name__ == "__main__":
    main()
