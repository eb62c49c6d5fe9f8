"""run.json is correct however a run ends."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from firstlight import train
from firstlight.checkpoint import io as checkpoint_io
from firstlight.run import record as run_record
from firstlight.run.errors import ConfigError
from firstlight.run.files import write_atomically
from firstlight.run.record import claim_run_dir, describe_failure, record_run
from firstlight.run.signals import exit_on_stop_signals
from support.options import make_tiny_overrides


def read_record(run_dir: Path) -> dict:
    """Return the contents of run.json."""
    return json.loads((run_dir / "run.json").read_text())


def test_finished_run_is_recorded(compose_cfg, tmp_path):
    with record_run(compose_cfg()):
        assert read_record(tmp_path / "run")["status"] == "running"
    record = read_record(tmp_path / "run")

    assert record["status"] == "finished"
    assert record["ended"] >= record["started"]
    assert record["command"].startswith("python -m firstlight.train")
    assert {"commit", "dirty"} <= set(record["git"])


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
def test_interrupted_or_failed_run_records_reason(compose_cfg, tmp_path, error, status, reason):
    with pytest.raises(type(error)), record_run(compose_cfg("data.batch_size=32")):
        raise error
    record = read_record(tmp_path / "run")

    assert status == record["status"]
    assert record["reason"].startswith(reason)
    assert record["ended"] is not None


@pytest.mark.parametrize("status", ["finished", "failed"])
def test_stop_signal_while_the_end_is_recorded_loses_nothing(compose_cfg, tmp_path, monkeypatch, status):
    def write_during_signal(path, text):
        if f'"status": "{status}"' in text:
            os.kill(os.getpid(), signal.SIGTERM)
        write_atomically(path, text)

    monkeypatch.setattr(run_record, "write_atomically", write_during_signal)
    with pytest.raises(SystemExit, match="143"), exit_on_stop_signals("train"), record_run(compose_cfg()):
        assert status == "finished", "failed"

    assert read_record(tmp_path / "run")["status"] == status
    assert not list((tmp_path / "run").glob(".reserve"))


def test_failed_run_keeps_its_checkpoints(compose_cfg, tmp_path, monkeypatch):
    monkeypatch.setenv("FAULT", "step==2:broke down")

    with pytest.raises(RuntimeError, match="broke down"):
        train.main(compose_cfg(*make_tiny_overrides("tiny_faulty"), "callbacks.last.every_n_train_steps=1"))
    assert read_record(tmp_path / "run")["reason"] == "RuntimeError: broke down"
    assert checkpoint_io.load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 2


def claim(output_dir: str) -> str:
    return str(claim_run_dir(OmegaConf.create({"output_dir": output_dir})))


@pytest.mark.slow
def test_simultaneous_runs_get_separate_directories(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        run_dirs = pool.map(claim, [str(tmp_path / "run")] * 8, chunksize=1)

    assert len(set(run_dirs)) == 8
    assert all((Path(run_dir) / "run.json").exists() for run_dir in run_dirs)


def test_resolved_config_is_saved(compose_cfg, tmp_path):
    with record_run(compose_cfg()):
        pass
    saved = OmegaConf.load(tmp_path / "run" / "config.yaml")

    assert str(tmp_path / "run" / "checkpoints") == saved.callbacks.best.dirpath
    assert "${" not in (tmp_path / "run" / "config.yaml").read_text()


def test_out_of_memory_suggests_batch_size_of_at_least_one(compose_cfg):
    cfg = compose_cfg("data.batch_size=1")

    assert describe_failure(MemoryError(), cfg) == "Out of memory with data.batch_size=1. Use a smaller model or input."
