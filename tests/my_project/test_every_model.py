"""Tests that every model in configs/model must pass, including models of the user."""

import pytest
import torch

from firstlight import build, train
from firstlight.mps.dry_run import dry_run
from firstlight.run.errors import ConfigError
from support.interruption import check_resume_matches_uninterrupted
from support.kill_trials import run_trials
from support.options import has_key, list_project_options, make_tiny_overrides
from support.tracked_memory import track_training_peak
from support.training import check_predictions, check_same_training, train_four_steps

MODELS = list_project_options("model")
SINGLE_BATCH = ["data.num_samples=8", "data.batch_size=8", "test=false", "callbacks=none"]


def make_unfrozen_overrides(name: str) -> list[str]:
    return [*make_tiny_overrides(name), *(["model.freeze_layers=0"] if has_key(name, "freeze_layers") else [])]


@pytest.mark.parametrize(
    "precision",
    ["32-true", *(pytest.param(p, marks=pytest.mark.slow) for p in ("bf16-mixed", "bf16-true", "64-true"))],
)
@pytest.mark.parametrize("name", MODELS)
def test_model_overfits_single_batch(compose_cfg, name, precision):
    # Half of the default learning rate, because batch statistics of so few samples vary. 16 bits require more steps.
    steps = ["trainer.max_epochs=12", "trainer.log_every_n_steps=1", f"trainer.precision={precision}"]
    optimizer = ["optimizer.lr=0.0005", "scheduler=constant"]
    metrics = train.main(compose_cfg(*make_tiny_overrides(name), *SINGLE_BATCH, *steps, *optimizer))["metrics"]

    assert metrics["train/accuracy"] == 1.0


@pytest.mark.parametrize("name", MODELS)
def test_model_starts_in_train_mode(compose_cfg, name):
    model, _, _ = build.build(compose_cfg(*make_unfrozen_overrides(name)))

    assert all(module.training for module in model.network.modules())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.slow
def test_dropout_and_batch_norm_are_active_only_in_training(compose_cfg, name):
    cfg = compose_cfg(*make_unfrozen_overrides(name), "trainer.limit_train_batches=1", "test=false")
    model, data, trainer = build.build(cfg)
    modes = []
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.BatchNorm2d):
            module.register_forward_hook(lambda module, *_: modes.append((trainer.training, module.training)))
    trainer.fit(model, data)

    assert (True, True) in modes or not modes
    assert (True, False) not in modes
    assert (False, True) not in modes


@pytest.mark.parametrize("name", [name for name in MODELS if has_key(name, "freeze_layers")])
def test_frozen_layers_stay_unchanged_and_others_train(compose_cfg, name):
    overrides = ["model.freeze_layers=2", "trainer.max_epochs=1", "test=false", "callbacks=none"]
    model, data, trainer = build.build(compose_cfg(*make_tiny_overrides(name), *overrides))
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    frozen = {key for key, param in model.network.named_parameters() if not param.requires_grad}
    trainable = {key for key, param in model.network.named_parameters() if param.requires_grad}
    trainer.fit(model, data)
    after = model.network.state_dict()
    unchanged = {key for key, value in before.items() if torch.equal(value, after[key])}

    assert frozen
    assert frozen <= unchanged
    assert not unchanged & trainable
    # The running statistics of a frozen layer stay unchanged too.
    frozen_layers = {key.rpartition(".")[0] for key in frozen}
    assert {key for key in before if "running" in key and key.rpartition(".")[0] in frozen_layers} <= unchanged


@pytest.mark.parametrize("name", MODELS)
def test_load_overrides_are_plain_values(compose_cfg, name):
    model, _, _ = build.build(compose_cfg(*make_tiny_overrides(name)))

    assert is_plain(model.get_load_overrides())


def is_plain(value) -> bool:
    if isinstance(value, dict):
        return type(value) is dict and all(isinstance(k, str | int) and is_plain(v) for k, v in value.items())
    if isinstance(value, list):
        return type(value) is list and all(is_plain(item) for item in value)
    return value is None or type(value) in (str, int, float, bool)


@pytest.mark.parametrize("name", MODELS)
def test_dry_run_in_half_precision_finds_no_error(compose_cfg, name):
    model, data, trainer = build.build(compose_cfg(*make_tiny_overrides(name), "callbacks=none"))

    assert dry_run(model, data, trainer, "16-mixed", deterministic=False).format_messages("error") == []


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_run_directory_contains_predictions(compose_cfg, tmp_path, name):
    train_four_steps(compose_cfg, "run", make_tiny_overrides(name), "callbacks=default")
    check_predictions(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_callbacks_do_not_change_losses_and_weights(compose_cfg, name):
    tiny = make_tiny_overrides(name)
    expected = train_four_steps(compose_cfg, "without", tiny, "callbacks=none", "logger=none")
    actual = train_four_steps(compose_cfg, "all", tiny, "logger=wandb", "callbacks.watch.log_freq=2")

    check_same_training(expected, actual)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_stopped_run_resumes_bit_for_bit(name, tmp_path):
    # Each attempt counts from zero: first after the 6th training batch, then in the validation of the next epoch.
    moments = [("train_batch_end", 5), ("validation_batch_start", 1)]
    check_resume_matches_uninterrupted(tmp_path, [*make_tiny_overrides(name), "trainer.max_epochs=3"], moments)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_killed_run_resumes_bit_for_bit(name):
    assert run_trials(1, name) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_activation_checkpointing_does_not_change_losses_and_weights(compose_cfg, name):
    tiny = [*make_unfrozen_overrides(name), "callbacks=none", "logger=none"]
    expected = train_four_steps(compose_cfg, "without", tiny)
    try:
        actual = train_four_steps(compose_cfg, "with", tiny, "trainer.activation_checkpointing=true")
    except ConfigError as error:
        pytest.skip(str(error))

    check_same_training(expected, actual)


@pytest.mark.slow
@pytest.mark.parametrize("activation_checkpointing", ["false", pytest.param("true", marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("name", MODELS)
def test_memory_of_dry_run_matches_tracker_of_torch(compose_cfg, name, activation_checkpointing):
    setting = f"trainer.activation_checkpointing={activation_checkpointing}"
    cfg = compose_cfg(*make_unfrozen_overrides(name), "callbacks=none", "trainer.gradient_clip_val=null", setting)
    try:
        model, data, trainer = build.build(cfg)
    except ConfigError as error:
        pytest.skip(str(error))

    peak = dry_run(model, data, trainer, "32-true", deterministic=False).peaks["training"]

    # Both count each storage; torch counts temporaries of an operator that ends, too.
    # In a network that is smaller than its inputs, the copies of the preprocessing count.
    slack = 4096 if peak["activations"] > peak["inputs"] else 3 * peak["inputs"]
    assert peak == pytest.approx(track_training_peak(model, data, trainer), rel=0.01, abs=slack)
