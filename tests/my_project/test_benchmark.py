"""The trainings of the benchmark can be measured."""

import pytest

from firstlight.config.compose import compose_config as composed_from
from firstlight.config.options import CONFIG_DIR, load_yaml
from firstlight.config.validate import validate_config
from support.options import list_project_options

benchmark = pytest.importorskip("firstlight.benchmark.__main__")
TRAININGS = load_yaml(CONFIG_DIR / "benchmark.yaml")["workloads"]


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_of_the_benchmark_composes(name):
    missing = {f"model={model}" for model in list_project_options("model")}.isdisjoint(TRAININGS[name])
    if missing:
        pytest.skip(f"configs/model has nothing that {TRAININGS[name]} names")
    cfg = composed_from("benchmark", [])

    assert name in cfg.models
    validate_config(composed_from("train", benchmark.make_workload_overrides(cfg, name)))
