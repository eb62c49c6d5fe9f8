"""The workloads that `make benchmark` measures."""

import pytest
from omegaconf import OmegaConf

from firstlight.benchmark import __main__ as benchmark
from firstlight.run.errors import ConfigError


def test_workload_with_deleted_option_is_skipped(capsys):
    workloads = {"deleted": ["model=no_such_model"], "existing": ["data=fake_images", "optimizer=no_matter"]}
    cfg = OmegaConf.create({"models": ["deleted", "existing"], "workloads": workloads})

    assert benchmark.list_available_workloads(cfg) == ["existing"]
    assert capsys.readouterr().out == "Skipped deleted: model=no_such_model does not exist.\n"


def test_error_without_workloads_names_file_to_edit():
    cfg = OmegaConf.create({"models": ["deleted"], "workloads": {"deleted": ["model=no_such_model"]}})

    with pytest.raises(ConfigError, match=r"do not exist: model=no_such_model\. Add a .* in configs/benchmark\.yaml"):
        benchmark.list_available_workloads(cfg)


def test_benchmark_keeps_a_directory_with_files(compose_cfg, tmp_path):
    (tmp_path / "run" / "runs").mkdir(parents=True)

    with pytest.raises(ConfigError, match="run is not empty, and its files could be overwritten"):
        benchmark.main(compose_cfg("models=[tiny_mlp]", root="benchmark"))
    assert (tmp_path / "run" / "runs").is_dir()
