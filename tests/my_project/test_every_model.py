"""What holds for every model in configs/model: a new one is tested by being there."""

import pytest
import torch

from firstlight import build, train
from firstlight.config.instantiate import locate
from firstlight.config.options import choice
from firstlight.model.classifier import Classifier
from support.choices import a_model, names, takes, tiny

MODELS = names("model")
BATCH = ["data.num_samples=8", "data.batch_size=8", "test=false", "callbacks=none"]


def thawed(model: str) -> list[str]:
    return ["model.freeze_layers=0"] if takes(model, "freeze_layers") else []


@pytest.mark.parametrize(
    "precision",
    ["32-true", *(pytest.param(p, marks=pytest.mark.slow) for p in ("bf16-mixed", "bf16-true", "64-true"))],
)
@pytest.mark.parametrize("model", MODELS)
def test_a_model_learns_a_batch_by_heart(composed, model, precision):
    # Half the usual rate: so few samples make batch statistics jump; 16 bits need more steps.
    steps = ["trainer.max_epochs=12", "trainer.log_every_n_steps=1", f"trainer.precision={precision}"]
    rate = ["optimizer.lr=0.0005", "scheduler=constant"]
    metrics = train.main(composed(*tiny(model), *BATCH, *steps, *rate))

    assert metrics["train/accuracy"] == 1.0


@pytest.mark.parametrize("model", MODELS)
def test_a_model_starts_in_training_mode(composed, model):
    network, _, _ = build.build(composed(*tiny(model), *thawed(model)))

    assert all(each.training for each in network.network.modules())


def test_a_model_that_could_not_be_loaded_again_is_refused_before_it_trains(composed, monkeypatch):
    monkeypatch.setattr(Classifier, "save_hyperparameters", lambda model, **settings: None)

    with pytest.raises(ValueError, match=r"but \w+ keeps none: call self.save_hyperparameters\(logger=False\) in its"):
        build.build(composed(*tiny(a_model())))


@pytest.mark.parametrize("model", MODELS)
def test_dropout_is_active_while_training(composed, model):
    cfg = composed(*tiny(model), *thawed(model), "trainer.limit_train_batches=1", "test=false")
    network, data, trainer = build.build(cfg)
    seen = []
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.BatchNorm2d):
            module.register_forward_hook(
                lambda module, inputs, output: seen.append((trainer.training, module.training))
            )
    trainer.fit(network, data)

    assert (True, True) in seen or not seen
    assert (True, False) not in seen
    assert (False, True) not in seen


@pytest.mark.parametrize("model", [name for name in MODELS if takes(name, "freeze_layers")])
def test_frozen_layers_stay_as_they_are(composed, model):
    overrides = ["model.freeze_layers=2", "trainer.max_epochs=1", "test=false", "callbacks=none"]
    network, data, trainer = build.build(composed(*tiny(model), *overrides))
    before = {name: value.clone() for name, value in network.network.state_dict().items()}
    frozen = {name for name, each in network.network.named_parameters() if not each.requires_grad}
    trainer.fit(network, data)
    after = network.network.state_dict()
    same = {name for name, value in before.items() if torch.equal(value, after[name])}

    assert frozen
    assert frozen <= same
    assert not (same & {name for name, each in network.network.named_parameters() if each.requires_grad})
    # Batch statistics of a frozen layer stay as well.
    parents = {name.rpartition(".")[0] for name in frozen}
    assert {name for name in before if "running" in name and name.rpartition(".")[0] in parents} <= same


@pytest.mark.parametrize("model", MODELS)
def test_settings_of_a_model_are_plain_values(composed, model):
    network, _, _ = build.build(composed(*tiny(model)))

    assert is_plain(dict(network.hparams))
    assert is_plain(network.rebuild_settings())


def is_plain(value) -> bool:
    if isinstance(value, dict):
        return type(value) is dict and all(isinstance(k, str | int) and is_plain(v) for k, v in value.items())
    if isinstance(value, list):
        return type(value) is list and all(is_plain(each) for each in value)
    return value is None or type(value) in (str, int, float, bool)


def test_weight_decay_spares_biases_and_norms(composed):
    network, _, _ = build.build(composed(*tiny(a_model()), "optimizer.weight_decay=0.1"))
    decayed, spared = network.build_optimizer().param_groups

    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert all(each.ndim > 1 for each in decayed["params"])
    assert all(each.ndim <= 1 for each in spared["params"])


@pytest.mark.parametrize("optimizer", names("optimizer"))
@pytest.mark.parametrize("scheduler", names("scheduler"))
def test_every_optimizer_works_with_every_schedule(composed, optimizer, scheduler):
    choices = [f"optimizer={optimizer}", f"scheduler={scheduler}", "callbacks=none", "trainer.limit_train_batches=2"]
    network, data, trainer = build.build(composed(*tiny(a_model()), *choices))
    trainer.fit(network, data)

    assert trainer.global_step == 2


def test_a_schedule_can_follow_a_metric(composed):
    plateau = ["scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau", "scheduler.interval=epoch"]
    remaining = ["~scheduler.warmup_fraction", "scheduler.monitor=val/loss", "callbacks=none"]
    network, data, trainer = build.build(composed(*tiny(a_model()), *plateau, *remaining))
    trainer.fit(network, data)

    assert trainer.lr_scheduler_configs[0].monitor == "val/loss"


def test_a_schedule_without_an_end_is_refused(composed):
    cfg = composed(*tiny(a_model()), "trainer.max_epochs=-1", "trainer.max_time=00:00:00:05", "callbacks=none")
    network, data, trainer = build.build(cfg)

    with pytest.raises(ValueError, match="WarmupCosine needs to know the end, but trainer.max_epochs=-1: give"):
        trainer.fit(network, data)


def test_total_steps_are_those_of_the_run(composed):
    steps = ["trainer.max_epochs=3", "callbacks=none", "trainer.accumulate_grad_batches=2"]
    network, data, trainer = build.build(composed(*tiny(a_model()), *steps))
    trainer.fit(network, data)

    # 16 samples in batches of 4 make 4 batches, 2 optimizer steps an epoch.
    assert trainer.lr_scheduler_configs[0].scheduler.total_steps == 6


@pytest.mark.parametrize(
    "name", ["torch.optim.AdamW", *(choice("model", name)["model"]["_target_"] for name in MODELS)]
)
def test_classes_are_found_by_their_path(name):
    assert name.rpartition(".")[2] == locate(name).__name__
