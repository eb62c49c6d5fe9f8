"""The rank of this process in a distributed run."""

import os

# Set by torchrun, Lightning or Slurm; all of them are 0 or unset on rank 0.
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")


def is_nonzero_rank() -> bool:
    """Return True if this process is not rank 0."""
    return any(int(os.environ.get(name) or 0) for name in RANK_VARIABLES)
