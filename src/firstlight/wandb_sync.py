"""Upload stored runs to W&B:  python -m firstlight.wandb_sync runs=logs/train dry_run=true"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config
from firstlight.logger.wandb_offline import RunSegment, find_pending, upload_segments
from firstlight.run.errors import ConfigError, UserError, get_first_line
from firstlight.run.json_output import update_result


@command("wandb_sync")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Upload offline and interrupted runs in chronological order.

    Returns:
        The URL of each uploaded run by run ID, and the directories of the runs that `dry_run` lists.

    Raises:
        ConfigError: If the config is invalid or there is no API key.
        UserError: If W&B is not reachable or an upload fails.
    """
    validate_config(cfg)
    if not Path(cfg.runs).is_dir():
        raise ConfigError(f"{cfg.runs} is not a directory. Pass runs=logs or runs=<run directory>.")
    runs = exclude_active_runs(exclude_unsafe_runs(find_pending(Path(cfg.runs))))
    if not runs:
        print(f"Nothing to upload in {cfg.runs}.")
    elif cfg.dry_run:
        print_runs("pending", runs)
    else:
        validate_api_key()
    pending = [str(segments[-1].run_dir) for segments in runs.values()] if cfg.dry_run else []
    return {"uploaded": {} if cfg.dry_run or not runs else upload_all(runs), "pending": pending}


def exclude_unsafe_runs(runs: dict[str, list[RunSegment]]) -> dict[str, list[RunSegment]]:
    """Print the runs that would upload files from outside their directories, and return the others."""
    safe: dict[str, list[RunSegment]] = {}
    for run_id, segments in runs.items():
        unsafe = next((file for segment in segments if (file := segment.unsafe_file)), None)
        if unsafe is None:
            safe[run_id] = segments
        else:
            reason = "leads out of the run directory" if unsafe.is_symlink() else "is not a regular file"
            print(f"{'skipped':<10}  {segments[-1].run_dir}  {unsafe.name} {reason}", flush=True)
    return safe


def exclude_active_runs(runs: dict[str, list[RunSegment]]) -> dict[str, list[RunSegment]]:
    """Print the runs that a process is still writing, and return the others."""
    active = {run_id for run_id, segments in runs.items() if any(segment.may_be_running for segment in segments)}
    print_runs("running", {run_id: segments for run_id, segments in runs.items() if run_id in active})
    return {run_id: segments for run_id, segments in runs.items() if run_id not in active}


def upload_all(runs: dict[str, list[RunSegment]]) -> dict[str, str]:
    """Upload runs one after another, print the result of each upload, and return the URLs by run ID.

    Raises:
        UserError: If an upload fails; the remaining runs are uploaded first.
    """
    urls: dict[str, str] = {}
    num_failed = 0
    for run_id, segments in runs.items():
        is_uploaded, url = upload_segments(segments)
        num_failed += not is_uploaded
        urls |= {run_id: url} if is_uploaded else {}
        update_result(uploaded=urls, pending=[])
        print(f"{'uploaded' if is_uploaded else 'failed':<10}  {segments[-1].run_dir}  {url}", flush=True)
    if num_failed:
        raise UserError(
            f"{num_failed} of {len(runs)} runs could not be uploaded. These runs remain on disk. Run `make wandb-sync` "
            "again later."
        )
    return urls


def validate_api_key() -> None:
    """Check that an API key is configured and that the server accepts it.

    Raises:
        ConfigError: If there is no API key.
        UserError: If the key is invalid or the server is not reachable.
    """
    # Imported here because it is not needed if there is nothing to upload.
    import wandb

    from firstlight.logger.wandb_auth import has_api_key

    try:
        has_key = has_api_key(verify=True)
    except (wandb.errors.Error, ValueError) as error:
        reason = get_first_line(error)
        raise UserError(
            f"Cannot connect to W&B, or the API key was rejected ({reason}). Try again later, or run `wandb login`."
        ) from error
    if not has_key:
        raise ConfigError("No W&B API key found. Run `wandb login` first.")


def print_runs(status: str, runs: dict[str, list[RunSegment]]) -> None:
    """Print one line per run: its status and run directory, and the number of segments if there are several."""
    for segments in runs.values():
        count = f"  ({len(segments)} segments)" if len(segments) > 1 else ""
        print(f"{status:<10}  {segments[-1].run_dir}{count}", flush=True)


if __name__ == "__main__":
    main()
