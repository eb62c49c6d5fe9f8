"""What every classifier does: its optimizer and schedule, its modes, what it keeps."""

import pytest
import torch

from firstlight import build
from firstlight.model.classifier import Classifier
from support.options import get_tiny_model, list_options, make_tiny_overrides
from support.tiny_models import TinyImages

MODELS = list_options("model")


def test_a_model_that_could_not_be_loaded_again_is_refused_before_it_trains(compose_cfg, monkeypatch):
    monkeypatch.setattr(Classifier, "save_hyperparameters", lambda model, **settings: None)

    with pytest.raises(ValueError, match=r"but \w+ keeps none: call self.save_hyperparameters\(logger=False\) in its"):
        build.build(compose_cfg(*make_tiny_overrides(get_tiny_model())))


def test_weight_decay_spares_biases_and_norms(compose_cfg):
    network, _, _ = build.build(compose_cfg(*make_tiny_overrides(get_tiny_model()), "optimizer.weight_decay=0.1"))
    decayed, spared = network.build_optimizer().param_groups

    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert all(each.ndim > 1 for each in decayed["params"])
    assert all(each.ndim <= 1 for each in spared["params"])


@pytest.mark.parametrize("optimizer", list_options("optimizer"))
@pytest.mark.parametrize("scheduler", list_options("scheduler"))
def test_every_optimizer_works_with_every_schedule(compose_cfg, optimizer, scheduler):
    choices = [f"optimizer={optimizer}", f"scheduler={scheduler}", "callbacks=none", "trainer.limit_train_batches=2"]
    network, data, trainer = build.build(compose_cfg(*make_tiny_overrides(get_tiny_model()), *choices))
    trainer.fit(network, data)

    assert trainer.global_step == 2


def test_a_schedule_can_follow_a_metric(compose_cfg):
    plateau = ["scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau", "scheduler.interval=epoch"]
    remaining = ["~scheduler.warmup_fraction", "scheduler.monitor=val/loss", "callbacks=none"]
    network, data, trainer = build.build(compose_cfg(*make_tiny_overrides(get_tiny_model()), *plateau, *remaining))
    trainer.fit(network, data)

    assert trainer.lr_scheduler_configs[0].monitor == "val/loss"


def test_a_schedule_without_an_end_is_refused(compose_cfg):
    cfg = compose_cfg(
        *make_tiny_overrides(get_tiny_model()),
        "trainer.max_epochs=-1",
        "trainer.max_time=00:00:00:05",
        "callbacks=none",
    )
    network, data, trainer = build.build(cfg)

    with pytest.raises(ValueError, match="WarmupCosine needs to know the end, but trainer.max_epochs=-1: give"):
        trainer.fit(network, data)


def test_total_steps_are_those_of_the_run(compose_cfg):
    steps = ["trainer.max_epochs=3", "callbacks=none", "trainer.accumulate_grad_batches=2"]
    network, data, trainer = build.build(compose_cfg(*make_tiny_overrides(get_tiny_model()), *steps))
    trainer.fit(network, data)

    # 16 samples in batches of 4 make 4 batches, 2 optimizer steps an epoch.
    assert trainer.lr_scheduler_configs[0].scheduler.total_steps == 6


@pytest.mark.parametrize("model", MODELS)
def test_a_model_starts_in_training_mode(compose_cfg, model):
    network, _, _ = build.build(compose_cfg(*make_tiny_overrides(model)))

    assert all(each.training for each in network.network.modules())


@pytest.mark.parametrize("model", MODELS)
def test_dropout_is_active_while_training_only(compose_cfg, model):
    cfg = compose_cfg(*make_tiny_overrides(model), "trainer.limit_train_batches=1", "test=false")
    network, data, trainer = build.build(cfg)
    seen = []
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.register_forward_hook(lambda module, *_: seen.append((trainer.training, module.training)))
    trainer.fit(network, data)

    assert {(True, True), (False, False)} == set(seen)


@pytest.mark.parametrize("model", [name for name in MODELS if name != "tiny_mlp"])
def test_frozen_layers_stay_as_they_are_and_the_others_learn(compose_cfg, model):
    words = ["model.freeze_layers=1", "callbacks=none"]
    network, data, trainer = build.build(compose_cfg(*make_tiny_overrides(model), *words))
    before = {name: value.clone() for name, value in network.network.state_dict().items()}
    frozen = {name for name, each in network.network.named_parameters() if not each.requires_grad}
    trainer.fit(network, data)
    after = network.network.state_dict()
    same = {name for name, value in before.items() if torch.equal(value, after[name])}

    assert frozen
    # Batch statistics of a frozen layer stay as well.
    statistics = {name for name in before if "running" in name and name.startswith("block1")}
    assert frozen | statistics <= same
    assert not same & {name for name, each in network.network.named_parameters() if each.requires_grad}


def test_freezing_more_layers_than_there_are_is_refused(compose_cfg):
    with pytest.raises(ValueError, match="model.freeze_layers is 0 to 2 here, but it is 3"):
        build.build(compose_cfg(*make_tiny_overrides("tiny_images"), "model.freeze_layers=3"))


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="tells two classes or more apart, but the data has"):
        TinyImages(["only"], image_size=8)


@pytest.mark.skipif("tiny_text" not in MODELS, reason="transformers is not installed")
def test_texts_longer_than_the_model_reads_are_refused(compose_cfg):
    with pytest.raises(ValueError, match="TinyText reads 512 tokens, but data.max_length=600: give data.max_length=5"):
        build.build(compose_cfg(*make_tiny_overrides("tiny_text"), "data.max_length=600"))


@pytest.mark.parametrize("model", MODELS)
def test_a_model_learns_a_batch_by_heart(compose_cfg, model):
    words = ["data.num_samples=8", "data.batch_size=8", "callbacks=none", "trainer.max_epochs=60"]
    rate = ["optimizer=adamw", "optimizer.lr=0.01", "scheduler=constant"]
    network, data, trainer = build.build(compose_cfg(*make_tiny_overrides(model), *words, *rate))
    trainer.fit(network, data)

    assert trainer.callback_metrics["train/accuracy"] == 1.0
