"""What holds for every model in configs/model: a new one is tested by being there."""

import pytest
import torch

from firstlight import build, train
from firstlight.mps.dry_run import dry_run
from support.interruption import check_resume_matches_uninterrupted
from support.kill_trials import run_trials
from support.options import has_key, list_project_options, make_tiny_overrides
from support.training import check_predictions, check_same_training, train_four_steps

MODELS = list_project_options("model")
BATCH = ["data.num_samples=8", "data.batch_size=8", "test=false", "callbacks=none"]


def thawed(model: str) -> list[str]:
    return ["model.freeze_layers=0"] if has_key(model, "freeze_layers") else []


@pytest.mark.parametrize(
    "precision",
    ["32-true", *(pytest.param(p, marks=pytest.mark.slow) for p in ("bf16-mixed", "bf16-true", "64-true"))],
)
@pytest.mark.parametrize("model", MODELS)
def test_a_model_learns_a_batch_by_heart(compose_cfg, model, precision):
    # Half the usual rate: so few samples make batch statistics jump; 16 bits need more steps.
    steps = ["trainer.max_epochs=12", "trainer.log_every_n_steps=1", f"trainer.precision={precision}"]
    rate = ["optimizer.lr=0.0005", "scheduler=constant"]
    metrics = train.main(compose_cfg(*make_tiny_overrides(model), *BATCH, *steps, *rate))

    assert metrics["train/accuracy"] == 1.0


@pytest.mark.parametrize("model", MODELS)
def test_a_model_starts_in_training_mode(compose_cfg, model):
    network, _, _ = build.build(compose_cfg(*make_tiny_overrides(model), *thawed(model)))

    assert all(each.training for each in network.network.modules())


@pytest.mark.parametrize("model", MODELS)
def test_dropout_is_active_while_training(compose_cfg, model):
    cfg = compose_cfg(*make_tiny_overrides(model), *thawed(model), "trainer.limit_train_batches=1", "test=false")
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


@pytest.mark.parametrize("model", [name for name in MODELS if has_key(name, "freeze_layers")])
def test_frozen_layers_stay_as_they_are(compose_cfg, model):
    overrides = ["model.freeze_layers=2", "trainer.max_epochs=1", "test=false", "callbacks=none"]
    network, data, trainer = build.build(compose_cfg(*make_tiny_overrides(model), *overrides))
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
def test_settings_of_a_model_are_plain_values(compose_cfg, model):
    network, _, _ = build.build(compose_cfg(*make_tiny_overrides(model)))

    assert is_plain(dict(network.hparams))
    assert is_plain(network.rebuild_kwargs())


def is_plain(value) -> bool:
    if isinstance(value, dict):
        return type(value) is dict and all(isinstance(k, str | int) and is_plain(v) for k, v in value.items())
    if isinstance(value, list):
        return type(value) is list and all(is_plain(each) for each in value)
    return value is None or type(value) in (str, int, float, bool)


@pytest.mark.parametrize("model", MODELS)
def test_its_steps_have_no_fault_on_mps_in_half_precision_either(compose_cfg, model):
    parts = build.build(compose_cfg(*make_tiny_overrides(model), "callbacks=none"))

    assert dry_run(*parts, "16-mixed", deterministic=False).format_messages("error") == []


@pytest.mark.parametrize("model", MODELS)
def test_a_run_folder_shows_what_was_predicted(compose_cfg, tmp_path, model):
    train_four_steps(compose_cfg, "run", make_tiny_overrides(model), "callbacks=default")
    check_predictions(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_all_callbacks_leave_losses_and_weights_bit_for_bit(compose_cfg, model):
    without = train_four_steps(compose_cfg, "without", make_tiny_overrides(model), "callbacks=none", "logger=none")

    check_same_training(
        without,
        train_four_steps(compose_cfg, "all", make_tiny_overrides(model), "logger=wandb", "callbacks.watch.log_freq=2"),
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_stopped_training_goes_on_to_the_last_bit(model, tmp_path):
    # Counted anew by each start: the 6th batch, and then the validation of the next epoch.
    moments = [("train_batch_end", 5), ("validation_batch_start", 1)]
    check_resume_matches_uninterrupted(tmp_path, [*make_tiny_overrides(model), "trainer.max_epochs=3"], moments)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_training_that_is_killed_ends_as_an_undisturbed_one(model):
    assert run_trials(1, model) == 1
