"""The workloads that `make benchmark` measures, and the overrides from which they are made."""

import pytest
from omegaconf import OmegaConf

from firstlight.benchmark.workloads import list_available_models, make_workload_overrides, make_workloads
from firstlight.config.compose import compose_config
from firstlight.run.errors import ConfigError

MLP = "tiny_mlp"
WORKLOAD = (
    "+workloads.tiny_mlp=['model=tiny_mlp','data=fake_images','data.image_size=${image_size}','data.batch_size=16']"
)


def compose_benchmark(*overrides):
    return compose_config("benchmark", [WORKLOAD, f"model={MLP}", *overrides])


def compose_train(*overrides):
    cfg = compose_benchmark(*overrides)
    return [compose_config("train", workload.overrides) for workload in make_workloads(cfg)]


def test_workload_with_deleted_option_is_skipped(capsys):
    workloads = {"deleted": ["model=no_such_model"], "existing": ["data=fake_images", "optimizer=no_matter"]}
    cfg = OmegaConf.create({"models": ["deleted", "existing"], "workloads": workloads})

    assert list_available_models(cfg) == ["existing"]
    assert capsys.readouterr().out == "Skipped deleted: model=no_such_model does not exist.\n"


def test_error_without_workloads_names_file_to_edit():
    cfg = OmegaConf.create({"models": ["deleted"], "workloads": {"deleted": ["model=no_such_model"]}})

    with pytest.raises(ConfigError, match=r"do not exist: model=no_such_model\. Add a .* in configs/benchmark\.yaml"):
        list_available_models(cfg)


def test_overrides_of_training_are_passed_directly():
    cfg = compose_benchmark("model.width=6", "optimizer=adamw", "trainer.gradient_clip_val=null", "repeats=2")
    (train_cfg,) = [compose_config("train", workload.overrides) for workload in make_workloads(cfg)]

    assert cfg.repeats == 2
    assert train_cfg.model.width == 6
    assert train_cfg.optimizer._target_ == "torch.optim.AdamW"
    assert train_cfg.trainer.gradient_clip_val is None


def test_default_optimizer_and_clipping_are_those_of_training():
    (train_cfg,) = compose_train()
    default = compose_config("train", [f"model={MLP}"])

    assert train_cfg.optimizer == default.optimizer
    assert train_cfg.trainer.gradient_clip_val == default.trainer.gradient_clip_val == "auto"


def test_trainer_option_selects_the_accelerator():
    assert list(compose_benchmark("trainer=cpu").accelerators) == ["cpu"]
    assert list(compose_benchmark("trainer=cpu,cuda").accelerators) == ["cpu", "cuda"]


def test_overrides_with_several_values_are_combined():
    cfg = compose_benchmark("model.batch_norm=true,false", "optimizer=adamw,sgd", "model.width=6")
    workloads = make_workloads(cfg)
    train_cfgs = [compose_config("train", workload.overrides) for workload in workloads]

    assert [workload.name for workload in workloads] == [
        "tiny_mlp model.batch_norm=true optimizer=adamw",
        "tiny_mlp model.batch_norm=true optimizer=sgd",
        "tiny_mlp model.batch_norm=false optimizer=adamw",
        "tiny_mlp model.batch_norm=false optimizer=sgd",
    ]
    assert [cfg.model.batch_norm for cfg in train_cfgs] == [True, True, False, False]
    assert [cfg.optimizer._target_.rpartition(".")[2] for cfg in train_cfgs] == ["AdamW", "SGD", "AdamW", "SGD"]
    assert {cfg.model.width for cfg in train_cfgs} == {6}


def test_other_data_replaces_the_data_of_the_workload():
    (train_cfg,) = compose_train("data=plain_images")

    assert train_cfg.data._target_.endswith("ImagesDataModule")
    assert "image_size" not in train_cfg.data


def test_workload_without_changed_network_has_published_results():
    names = [
        make_workloads(compose_benchmark(*overrides))[0].published
        for overrides in (
            [],
            ["optimizer=sgd"],
            ["trainer.precision=32-true"],
            ["model.width=6"],
            ["data=plain_images"],
        )
    ]

    assert names == [MLP, MLP, MLP, None, None]


def test_workloads_use_settings_of_benchmark():
    default, changed = (
        compose_config("train", make_workload_overrides(compose_benchmark(*overrides), MLP))
        for overrides in ([], ["image_size=48", "batch_size=3", "precision=bf16-mixed"])
    )

    assert (changed.data.image_size, changed.data.batch_size, changed.trainer.precision) == (48, 3, "bf16-mixed")
    assert (default.data.image_size, default.data.batch_size) == (224, 16)


def test_direct_overrides_exclude_the_list():
    with pytest.raises(ConfigError, match=r"overrides= cannot be combined with optimizer=sgd\. Pass all overrides"):
        compose_benchmark('overrides=["seed=1"]', "optimizer=sgd")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("models=[alexnet]", r"models: expected a non-empty subset of \[.*tiny_text.*\], got \['alexnet'\]"),
        ("phases=[test]", r"phases: expected a non-empty subset of \[train, eval, predict\], got \['test'\]"),
        ("accelerators=[tpu]", r"accelerators: expected a non-empty subset of \[cpu, cuda, mps\], got \['tpu'\]"),
        ("models=[]", r"models: expected a non-empty subset of .*, got \[\]"),
        ("batch_size=0", r"batch_size: expected a positive integer, got 0\."),
        ("min_seconds=-1", r"min_seconds: expected a positive number, got -1\."),
        ("max_seconds=0", r"max_seconds: expected a positive number, got 0\."),
        ("repeats=1.5", r"repeats: expected a positive integer, got 1\.5\."),
        ("compare=logs", r"compare: expected true or false, got 'logs'\."),
    ],
)
def test_invalid_config_is_rejected(override, message):
    from firstlight.benchmark import __main__ as benchmark

    with pytest.raises(ConfigError, match=f"^Invalid value for {message}"):
        benchmark.main(compose_config("benchmark", [WORKLOAD, "models=[tiny_mlp]", override]))
