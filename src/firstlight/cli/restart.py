"""Continue the same run after torchrun has restarted its processes (`--max-restarts`)."""

import os

from firstlight.cli.job import move_attempt_files
from firstlight.config.run_config import has_checkpoint
from firstlight.run.rank import get_launcher


def apply_restart(overrides: list[str]) -> list[str]:
    """Return the overrides of this attempt: after a restart, those that continue the run of the previous attempt.

    Args:
        overrides: Command-line overrides, which are the same in each attempt.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if get_launcher() != "torchrun" or attempt == "0":
        return overrides
    from firstlight.distributed.ranks import receive_run_dir

    run_dir = receive_run_dir()
    if run_dir is None:
        print(f"Attempt {attempt} of torchrun starts a new run: the previous attempt had none yet.", flush=True)
        return overrides
    if has_checkpoint(run_dir):
        print(f"Attempt {attempt} of torchrun: resuming {run_dir} from its last checkpoint.", flush=True)
        return [f"resume={run_dir}"]
    print(f"Attempt {attempt} of torchrun: restarting {run_dir}, which has no checkpoint yet.", flush=True)
    move_attempt_files(run_dir)
    return [*(override for override in overrides if not override.startswith("output_dir=")), f"output_dir={run_dir}"]
