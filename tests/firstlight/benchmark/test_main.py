"""Which trainings `make benchmark` measures."""

import pytest
from omegaconf import OmegaConf

from firstlight.benchmark import __main__ as benchmark


def test_a_training_whose_option_was_deleted_is_skipped(capsys):
    trainings = {"gone": ["model=no_such_model"], "here": ["data=fake_images", "optimizer=no_matter"]}
    cfg = OmegaConf.create({"models": ["gone", "here"], "workloads": trainings})

    assert benchmark.list_available_workloads(cfg) == ["here"]
    assert "skipped   gone: there is no model=no_such_model" in capsys.readouterr().out


def test_without_any_training_the_file_to_edit_is_named():
    cfg = OmegaConf.create({"models": ["gone"], "workloads": {"gone": ["model=no_such_model"]}})

    with pytest.raises(ValueError, match=r"there is no model=no_such_model\. Add one of .* in configs/benchmark\.yaml"):
        benchmark.list_available_workloads(cfg)
