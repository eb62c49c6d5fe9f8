"""Processes find each other, or say for what they wait; a restart of torchrun continues the same run."""

import os
import socket
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch.distributed as dist
from lightning.fabric.plugins import environments

from firstlight.cli.restart import apply_restart
from firstlight.distributed import ranks
from firstlight.distributed.environment import detect_cluster_environment, remove_stray_address
from firstlight.run.errors import ConfigError, TrainingError
from firstlight.run.rank import LAUNCHER_VARIABLES, RANK_VARIABLES


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """Remove the variables of all launchers."""
    for name in {*RANK_VARIABLES, *(name for names in LAUNCHER_VARIABLES.values() for name in names)}:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def set_torchrun(monkeypatch):
    """Return a function that sets the variables of a torchrun process."""

    def set_variables(port, attempt=0, rank=0):
        variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        variables |= {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_USE_AGENT_STORE": "True"}
        for name, value in {**variables, "TORCHELASTIC_RESTART_COUNT": attempt}.items():
            monkeypatch.setenv(name, str(value))

    return set_variables


@pytest.fixture
def agent_store():
    """Return a store as torchrun serves it."""
    return dist.TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=20), wait_for_workers=False)


def test_port_in_use_is_a_config_error():
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        port = listener.getsockname()[1]
        environment = SimpleNamespace(main_address="127.0.0.1", main_port=port)

        with pytest.raises(ConfigError, match=f"MASTER_PORT={port} is in use by another process of this machine"):
            ranks.connect_store(environment, is_server=True)


def test_wait_for_rank_zero_is_reported_and_ends(monkeypatch, capsys, set_torchrun):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    set_torchrun(port, rank=1)
    monkeypatch.setattr(ranks, "REPORT_WAIT_AFTER_S", 0.1)
    monkeypatch.setattr(ranks, "STORE_TIMEOUT", timedelta(seconds=0.8))

    with pytest.raises(TrainingError, match="Rank 0 did not send the config"):
        ranks.receive_config(detect_cluster_environment())
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Waiting for rank 0 at 127.0.0.1:{port} for 0 s.")
    assert "unset RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT, TORCHELASTIC_RUN_ID (now RANK=1" in line


def test_process_without_its_rank_zero_ends(monkeypatch):
    values = ("1", "0", "2", "127.0.0.1", "1", "1234567")  # the ID of a process that is not the parent
    for name, value in zip(LAUNCHER_VARIABLES["Lightning"], values, strict=True):
        monkeypatch.setenv(name, value)

    with pytest.raises(TrainingError, match="Rank 0 has exited before it sent the config"):
        ranks.receive_config(detect_cluster_environment())


def test_config_of_rank_zero_is_received(set_torchrun, agent_store):
    set_torchrun(agent_store.port, rank=1)
    agent_store.set("firstlight/0", "seed: 1\n")

    assert ranks.receive_config(detect_cluster_environment()) == "seed: 1\n"


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_NTASKS": "4"},  # a shell with an allocation
        {"TORCHELASTIC_RUN_ID": "none"},
        {"LSB_JOBID": "1", "LSB_DJOB_RANKFILE": "x", "JSM_NAMESPACE_LOCAL_RANK": "0", "JSM_NAMESPACE_SIZE": "2"},
    ],
)
def test_incomplete_variables_do_not_select_an_environment(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert type(detect_cluster_environment()) is environments.LightningEnvironment


def test_unsupported_options_of_slurm_are_a_config_error(monkeypatch):
    for name, value in zip(LAUNCHER_VARIABLES["Slurm"], ("0", "0", "0", "4", "7"), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE", raising=False)

    with pytest.raises(ConfigError, match="--ntasks-per-node=4"):
        detect_cluster_environment()


def test_address_of_another_machine_is_ignored_on_one_machine(monkeypatch, capsys):
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    remove_stray_address(num_nodes=2)
    assert os.environ["MASTER_ADDR"] == "10.0.0.1"
    remove_stray_address(num_nodes=1)

    assert "MASTER_ADDR" not in os.environ
    line = "Ignored MASTER_ADDR=10.0.0.1, MASTER_PORT=1: the processes of one machine use a free port of it.\n"
    assert capsys.readouterr().err == line


def test_restart_continues_the_same_run(tmp_path, monkeypatch, capsys, set_torchrun, agent_store):
    monkeypatch.chdir(tmp_path)
    overrides = ["model=net", "output_dir=run"]
    run_dir = tmp_path / "run"
    (run_dir / "checkpoints").mkdir(parents=True)
    (run_dir / "run.json").write_text('{"status": "failed"}')

    set_torchrun(agent_store.port)
    assert apply_restart(overrides) == overrides
    set_torchrun(agent_store.port, attempt=1)
    assert apply_restart(overrides) == overrides
    assert "Attempt 1 of torchrun starts a new run" in capsys.readouterr().out

    ranks.publish_run_dir(run_dir)
    assert apply_restart(overrides) == ["model=net", "output_dir=run"]
    assert not (run_dir / "run.json").exists()
    assert (run_dir / "run.previous.json").exists()
    assert "restarting run, which has no checkpoint yet" in capsys.readouterr().out

    (run_dir / "checkpoints/last.ckpt").touch()
    assert apply_restart(overrides) == ["resume=run"]
    assert "resuming run from its last checkpoint" in capsys.readouterr().out


def test_missing_ranks_are_reported_once(capsys):
    from firstlight.distributed.watchdog import RankWatchdog

    watchdog = RankWatchdog(SimpleNamespace(global_rank=0, world_size=3), None, "", None)
    watchdog.heartbeats[1] = ("1", 0.0)
    for waited_s in (1.0, 26.0, 27.0):
        watchdog.report_missing_ranks(waited_s)

    assert capsys.readouterr().out == "Waiting for rank 2 of 3 for 26 s.\n"
