"""The base class of classifiers: optimizer, LR scheduler, train and eval mode, frozen layers."""

import pytest
import torch

from firstlight import build
from firstlight.run.errors import ConfigError, DataError
from support.options import get_tiny_model, list_options, make_tiny_overrides
from support.tiny_models import TinyImages

MODELS = list_options("model")


def test_biases_and_norms_have_no_weight_decay(compose_cfg):
    model, _, _ = build.build(compose_cfg(*make_tiny_overrides(get_tiny_model()), "optimizer.weight_decay=0.1"))
    decayed, not_decayed = model.build_optimizer().param_groups

    assert (decayed["weight_decay"], not_decayed["weight_decay"]) == (0.1, 0.0)
    assert all(param.ndim > 1 for param in decayed["params"])
    assert all(param.ndim <= 1 for param in not_decayed["params"])


@pytest.mark.parametrize("optimizer", list_options("optimizer"))
@pytest.mark.parametrize("scheduler", list_options("scheduler"))
def test_every_optimizer_works_with_every_scheduler(compose_cfg, optimizer, scheduler):
    overrides = [f"optimizer={optimizer}", f"scheduler={scheduler}", "callbacks=none", "trainer.limit_train_batches=2"]
    model, data, trainer = build.build(compose_cfg(*make_tiny_overrides(get_tiny_model()), *overrides))
    trainer.fit(model, data)

    assert trainer.global_step == 2


def test_scheduler_may_monitor_a_metric(compose_cfg):
    plateau = ["scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau", "scheduler.interval=epoch"]
    overrides = [*plateau, "~scheduler.warmup_fraction", "scheduler.monitor=val/loss", "callbacks=none"]
    model, data, trainer = build.build(compose_cfg(*make_tiny_overrides(get_tiny_model()), *overrides))
    trainer.fit(model, data)

    assert trainer.lr_scheduler_configs[0].monitor == "val/loss"


def test_scheduler_rejects_endless_run(compose_cfg):
    endless = ["trainer.max_epochs=-1", "trainer.max_time=00:00:00:05", "callbacks=none"]
    model, data, trainer = build.build(compose_cfg(*make_tiny_overrides(get_tiny_model()), *endless))

    with pytest.raises(ConfigError, match="WarmupCosineLR requires a finite run, but trainer.max_epochs=-1. Set"):
        trainer.fit(model, data)


def test_scheduler_gets_total_steps_of_run(compose_cfg):
    overrides = ["trainer.max_epochs=3", "callbacks=none", "trainer.accumulate_grad_batches=2"]
    model, data, trainer = build.build(compose_cfg(*make_tiny_overrides(get_tiny_model()), *overrides))
    trainer.fit(model, data)

    # 16 samples in batches of 4 make 4 batches and 2 optimizer steps per epoch.
    assert trainer.lr_scheduler_configs[0].scheduler.total_steps == 6


def test_step_of_fewer_batches_at_the_end_of_an_epoch_is_logged(compose_cfg, tmp_path):
    overrides = ["trainer.accumulate_grad_batches=8", "trainer.log_every_n_steps=1", f"output_dir={tmp_path}"]
    model, data, trainer = build.build(compose_cfg(*make_tiny_overrides(get_tiny_model()), *overrides))
    trainer.fit(model, data)

    assert "train/loss" in (tmp_path / "metrics.csv").read_text().splitlines()[0].split(",")


@pytest.mark.parametrize("name", MODELS)
def test_model_starts_in_train_mode(compose_cfg, name):
    model, _, _ = build.build(compose_cfg(*make_tiny_overrides(name)))

    assert all(module.training for module in model.network.modules())


@pytest.mark.parametrize("name", MODELS)
def test_dropout_is_active_only_in_training(compose_cfg, name):
    cfg = compose_cfg(*make_tiny_overrides(name), "trainer.limit_train_batches=1", "test=false")
    model, data, trainer = build.build(cfg)
    modes = []
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.register_forward_hook(lambda module, *_: modes.append((trainer.training, module.training)))
    trainer.fit(model, data)

    assert {(True, True), (False, False)} == set(modes)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "tiny_mlp"])
def test_frozen_layers_stay_unchanged_and_others_train(compose_cfg, name):
    overrides = ["model.freeze_layers=1", "callbacks=none"]
    model, data, trainer = build.build(compose_cfg(*make_tiny_overrides(name), *overrides))
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    frozen = {key for key, param in model.network.named_parameters() if not param.requires_grad}
    trainable = {key for key, param in model.network.named_parameters() if param.requires_grad}
    trainer.fit(model, data)
    after = model.network.state_dict()
    unchanged = {key for key, value in before.items() if torch.equal(value, after[key])}

    assert frozen
    # The running statistics of a frozen layer stay unchanged too.
    running_statistics = {key for key in before if "running" in key and key.startswith("block1")}
    assert frozen | running_statistics <= unchanged
    assert not unchanged & trainable


def test_freezing_too_many_layers_is_rejected(compose_cfg):
    message = "Invalid value for model.freeze_layers: expected an integer from 0 to 2, got 3"

    with pytest.raises(ConfigError, match=message):
        build.build(compose_cfg(*make_tiny_overrides("tiny_images"), "model.freeze_layers=3"))


def test_single_class_is_rejected():
    with pytest.raises(DataError, match="A classifier requires at least two classes, got .'only'."):
        TinyImages(["only"], image_size=8)


@pytest.mark.skipif("tiny_text" not in MODELS, reason="transformers is not installed")
def test_max_length_above_model_limit_is_rejected(compose_cfg):
    with pytest.raises(ConfigError, match="TinyText supports at most 512 tokens, got data.max_length=600"):
        build.build(compose_cfg(*make_tiny_overrides("tiny_text"), "data.max_length=600"))


@pytest.mark.parametrize("name", MODELS)
def test_model_overfits_single_batch(compose_cfg, name):
    single_batch = ["data.num_samples=8", "data.batch_size=8", "callbacks=none", "trainer.max_epochs=60"]
    optimizer = ["optimizer=adamw", "optimizer.lr=0.01", "scheduler=constant"]
    model, data, trainer = build.build(compose_cfg(*make_tiny_overrides(name), *single_batch, *optimizer))
    trainer.fit(model, data)

    assert trainer.callback_metrics["train/accuracy"] == 1.0
