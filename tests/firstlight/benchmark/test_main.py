"""What `make benchmark` does with a failing workload, and with a directory that has files."""

import json

import pytest

from firstlight.benchmark import __main__ as benchmark
from firstlight.config.compose import compose_config
from firstlight.run.errors import ConfigError, TrainingError

FAST = ["accelerators=[cpu]", "precision=32-true", "min_seconds=0.01", "repeats=1", "logger=none"]

IMAGES = ["data=fake_images", "data.num_samples=16", "data.batch_size=4", "callbacks=none"]


def run_benchmark(output_dir, *overrides):
    return benchmark.main(compose_config("benchmark", [*FAST, f"output_dir={output_dir}", *overrides]))


def test_benchmark_keeps_a_directory_with_files(tmp_path):
    (tmp_path / "run" / "runs").mkdir(parents=True)

    with pytest.raises(ConfigError, match="run is not empty, and its files could be overwritten"):
        run_benchmark(tmp_path / "run", "model=tiny_mlp")
    assert (tmp_path / "run" / "runs").is_dir()


@pytest.mark.slow
def test_failing_workload_is_a_row_and_the_others_are_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FAULT", "batch>0:planted failure")
    monkeypatch.setattr("firstlight.benchmark.suite.measure_matmul_flops", lambda device, precision: 1e11)
    with pytest.raises(TrainingError, match=r"^Failed: tiny_text, tiny_faulty\. The reasons are in the table above"):
        run_benchmark(tmp_path / "run", "model=tiny_text,tiny_faulty,tiny_mlp", "phases=[train,eval]", *IMAGES)
    results = json.loads((tmp_path / "run" / "benchmark.json").read_text())

    measured = {(result["model"], result["phase"]) for result in results["results"]}
    assert measured == {("tiny_faulty", "eval"), ("tiny_mlp", "train"), ("tiny_mlp", "eval")}
    invalid, failed = results["failures"]
    assert (invalid["model"], invalid["phase"]) == ("tiny_text", None)
    assert invalid["reason"].startswith("TinyText expects text, but FakeImageDataModule provides images.")
    assert failed == {
        "model": "tiny_faulty",
        "device": "cpu",
        "phase": "train",
        "reason": failed["reason"],
    }
    assert failed["reason"].startswith("RuntimeError: planted failure (in tiny_models.py:")
    assert "failed" in capsys.readouterr().out


def test_error_of_the_only_workload_is_raised(tmp_path):
    with pytest.raises(ConfigError, match="TinyText expects text"):
        run_benchmark(tmp_path / "run", "model=tiny_text", "data=fake_images")
    assert not (tmp_path / "run").exists()


def test_unknown_dataset_is_an_error(tmp_path):
    with pytest.raises(Exception, match="no_such_data"):
        run_benchmark(tmp_path / "run", "model=tiny_mlp", "data=no_such_data")
