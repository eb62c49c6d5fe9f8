"""Which of the processes of a training this one is."""

import os

# A rank's number, as torchrun, Lightning and Slurm tell it; all of the first process's are 0.
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")


def is_worker_rank() -> bool:
    """Say whether this process is one of the others."""
    return any(int(os.environ.get(name) or 0) for name in RANK_VARIABLES)
