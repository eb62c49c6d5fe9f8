"""run.json is right however a run ends."""

import json
import multiprocessing
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from firstlight import train
from firstlight.checkpoint import io as checkpoint_io
from firstlight.run.errors import ConfigError
from firstlight.run.record import claim_run_dir, describe_failure, record_run
from support.options import make_tiny_overrides


def record_of(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def test_a_finished_run_says_so(compose_cfg, tmp_path):
    with record_run(compose_cfg()):
        assert record_of(tmp_path / "run")["status"] == "running"
    record = record_of(tmp_path / "run")

    assert record["status"] == "finished"
    assert record["ended"] >= record["started"]
    assert record["command"].startswith("python -m firstlight.train")
    assert {"commit", "dirty"} == set(record["git"])


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ConfigError("no good\nat all"), "failed", "no good"),
        (
            RuntimeError("CUDA out of memory. Tried"),
            "failed",
            "Out of memory with data.batch_size=32. Try data.batch_s",
        ),
        (RuntimeError("MPS backend out of memory (MPS allocated"), "failed", "Out of memory with data.batch_size=32"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), "failed", "Out of memory with data.batch_si"),
        (MemoryError(), "failed", "Out of memory with data.batch_size=32. Try data.batch_size=16"),
        (KeyboardInterrupt(), "interrupted", "stopped by SIGINT"),
        (SystemExit(143), "interrupted", "stopped by SIGTERM"),
        (SystemExit(1), "interrupted", "stopped by SystemExit"),
    ],
)
def test_a_run_that_ends_early_says_why(compose_cfg, tmp_path, error, status, reason):
    with pytest.raises(type(error)), record_run(compose_cfg("data.batch_size=32")):
        raise error
    record = record_of(tmp_path / "run")

    assert status == record["status"]
    assert record["reason"].startswith(reason)
    assert record["ended"] is not None


def test_a_run_that_fails_in_a_step_keeps_what_it_saved(compose_cfg, tmp_path, monkeypatch):
    monkeypatch.setenv("FAULT", "step==2:broke down")

    with pytest.raises(RuntimeError, match="broke down"):
        train.main(compose_cfg(*make_tiny_overrides("tiny_faulty"), "callbacks.last.every_n_train_steps=1"))
    assert record_of(tmp_path / "run")["reason"] == "RuntimeError: broke down"
    assert checkpoint_io.load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 2


def claim(folder: str) -> str:
    return str(claim_run_dir(OmegaConf.create({"output_dir": folder})))


@pytest.mark.slow
def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        folders = pool.map(claim, [str(tmp_path / "run")] * 8, chunksize=1)

    assert len(set(folders)) == 8
    assert all((Path(each) / "run.json").exists() for each in folders)


def test_the_resolved_configuration_is_kept(compose_cfg, tmp_path):
    with record_run(compose_cfg()):
        pass
    saved = OmegaConf.load(tmp_path / "run" / "config.yaml")

    assert str(tmp_path / "run" / "checkpoints") == saved.callbacks.best.dirpath
    assert "${" not in (tmp_path / "run" / "config.yaml").read_text()


def test_memory_is_told_by_the_size_to_try(compose_cfg):
    cfg = compose_cfg("data.batch_size=1")

    assert describe_failure(MemoryError(), cfg) == "Out of memory with data.batch_size=1. Try data.batch_size=1."
