"""Rank variables count only as part of a launcher's complete set."""

import os

import pytest

from firstlight.run import rank
from firstlight.run.rank import CHILD_VARIABLE, is_nonzero_rank, remove_stray_variables

ADDRESS = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", **ADDRESS, "TORCHELASTIC_RUN_ID": "none"}
SLURM = {"SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_NODEID": "2", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "7"}
CHILD = {"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2", **ADDRESS, CHILD_VARIABLE: "1"}


@pytest.fixture
def set_environment(monkeypatch):
    """Return a function that sets the rank variables of this process."""
    names = {name for names in rank.LAUNCHER_VARIABLES.values() for name in names} | {*rank.RANK_VARIABLES}
    for name in [*names, "SLURM_JOB_NAME"]:
        monkeypatch.delenv(name, raising=False)

    def set_variables(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_variables


@pytest.mark.parametrize(
    ("variables", "launcher"),
    [
        (TORCHRUN, "torchrun"),
        (SLURM, "Slurm"),
        ({**SLURM, **TORCHRUN}, "torchrun"),  # one torchrun per Slurm task
        (CHILD, "Lightning"),
        ({**CHILD, "LOCAL_RANK": "0", "NODE_RANK": "1"}, "Lightning"),
        ({**ADDRESS, "NODE_RANK": "1"}, "the machine"),
    ],
)
def test_complete_set_counts(set_environment, variables, launcher):
    set_environment(**variables)

    assert rank.get_launcher() == launcher
    assert is_nonzero_rank()
    assert remove_stray_variables(os.environ) == ""
    assert variables.items() <= dict(os.environ).items()


@pytest.mark.parametrize(
    ("variables", "removed"),
    [
        ({"RANK": "1"}, "RANK=1"),
        ({"LOCAL_RANK": "0"}, "LOCAL_RANK=0"),  # set in some images
        ({"NODE_RANK": "1"}, "NODE_RANK=1"),
        ({"RANK": "first"}, "RANK=first"),
        ({"WORLD_SIZE": "8", **ADDRESS}, "WORLD_SIZE=8"),
        ({"SLURM_PROCID": "1"}, "SLURM_PROCID=1"),
        ({"JSM_NAMESPACE_RANK": "1"}, "JSM_NAMESPACE_RANK=1"),
        # One pod of a Kubeflow job, and an older launcher of torch.
        ({"RANK": "1", "WORLD_SIZE": "2", **ADDRESS}, "RANK=1, WORLD_SIZE=2"),
        ({name: value for name, value in CHILD.items() if name != CHILD_VARIABLE}, "LOCAL_RANK=1, WORLD_SIZE=2"),
        ({**TORCHRUN, "MASTER_PORT": "none"}, "RANK=3, LOCAL_RANK=1, WORLD_SIZE=4"),
        ({**SLURM, "SLURM_JOB_NAME": "bash"}, "SLURM_PROCID=2"),  # a shell of Slurm
        ({**TORCHRUN, "NODE_RANK": ""}, ""),
    ],
)
def test_incomplete_set_is_ignored_with_one_line(set_environment, variables, removed):
    set_environment(**variables)
    line = remove_stray_variables(os.environ)

    assert line.startswith(
        f"Ignored {removed}: the variables of torchrun, Slurm or Lightning are incomplete" if removed else ""
    )
    assert not any(item.partition("=")[0] in os.environ for item in filter(None, removed.split(", ")))


def test_slurm_batch_script_prints_nothing(set_environment):
    set_environment(SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_JOB_ID="7")

    assert remove_stray_variables(os.environ) == ""
    assert not is_nonzero_rank()
