"""The workloads of the benchmark compose."""

import pytest

from firstlight.config.compose import compose_config
from firstlight.config.options import CONFIG_DIR, load_yaml
from firstlight.config.validate import validate_config
from support.options import list_project_options

benchmark = pytest.importorskip("firstlight.benchmark.workloads")
WORKLOADS = load_yaml(CONFIG_DIR / "benchmark.yaml")["workloads"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_workload_composes(name):
    has_model = not {f"model={model}" for model in list_project_options("model")}.isdisjoint(WORKLOADS[name])
    if not has_model:
        pytest.skip(f"configs/model has no model of {WORKLOADS[name]}")
    cfg = compose_config("benchmark", [])

    assert name in cfg.models
    validate_config(compose_config("train", benchmark.make_workload_overrides(cfg, name)))
