"""Training switches: off while their main key is null, and which settings exclude each other."""

import pytest

from firstlight import train
from firstlight.config import instantiate as instantiation
from firstlight.config.compose import compose_config
from firstlight.config.instantiate import instantiate_entries, validate_classes
from firstlight.config.options import load_option
from firstlight.config.switches import describe_unreached, is_switched_off, list_active_switches
from firstlight.config.validate import validate_config
from firstlight.run.errors import ConfigError
from firstlight.run.files import to_plain_dict
from support.tiny_training import NO_PLOTS, OVERRIDES

SWITCHES = {"ema": "decay", "early_stopping": "patience", "accumulation": "scheduling", "unfreezing": "schedule"}


def test_switches_are_off_by_default_and_nothing_is_imported(compose_cfg, monkeypatch):
    imported, locate = [], instantiation.locate
    monkeypatch.setattr(instantiation, "locate", lambda target: (imported.append(target), locate(target))[1])
    settings = to_plain_dict(compose_cfg(*OVERRIDES))
    validate_classes(settings)
    callbacks = instantiate_entries(settings["callbacks"])

    assert {name for name, node in load_option("callbacks", "default").items() if is_switched_off(node)} == {*SWITCHES}
    assert len(callbacks) == len(load_option("callbacks", "default")) - len(SWITCHES)
    assert not [target for target in imported if target.rpartition(".")[0].endswith(tuple(SWITCHES))]


@pytest.mark.parametrize("option", ["default", "wandb"])
@pytest.mark.parametrize(("name", "key"), SWITCHES.items())
def test_every_option_with_callbacks_has_the_switches(option, name, key):
    assert load_option("callbacks", option)[name][key] is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+callbacks.ema.decays=0.9"], "Unknown setting 'callbacks.ema.decays'. Did you mean 'callbacks.ema.decay'"),
        (["callbacks.ema.decay=1.5"], "callbacks.ema.decay: expected a value between 0 and 1, got 1.5"),
        (["callbacks.ema.decay=0.9", "callbacks.ema.update_every_n_steps=0"], "expected a value of at least 1"),
        (["callbacks.early_stopping.patience=0"], "callbacks.early_stopping.patience: expected a value of at least 1"),
        (["callbacks.early_stopping.patience=1.5"], "expected an integer"),
        (
            ["callbacks.accumulation.scheduling={0:4}", "trainer.accumulate_grad_batches=2"],
            "callbacks.accumulation.scheduling and trainer.accumulate_grad_batches=2 exclude each other. Remove one",
        ),
        (["callbacks.accumulation.scheduling={0:0}"], r"expected a mapping from epochs \(from 0\) to batches per step"),
        (["callbacks.accumulation.scheduling={}"], "expected a mapping from epochs"),
        (["callbacks.accumulation.scheduling={a:2}"], "expected a mapping from epochs"),
        (["callbacks.accumulation.scheduling=4"], "expected a mapping, got 4"),
        (
            ["callbacks.accumulation.scheduling={3:2,5:4}", "trainer.max_epochs=3"],
            "scheduling starts in epoch 3, which the run does not reach: .* and trainer.max_epochs=3. Decrease",
        ),
        (["callbacks.unfreezing.schedule={1:['*']}"], "schedule starts in epoch 1, which the run does not reach"),
        (["callbacks.unfreezing.schedule={0:network.*}"], "expected a mapping from epochs .* to lists of patterns"),
        (["callbacks.unfreezing.schedule={-1:[network.*]}"], "expected a mapping from epochs .* to lists of patterns"),
        (
            ["callbacks.ema.decay=0.9", "trainer.strategy=fsdp"],
            "callbacks.ema.decay does not support trainer.strategy=fsdp. Use",
        ),
        (
            ["callbacks.unfreezing.schedule={0:[a],1:['*']}", "trainer.max_epochs=2", "trainer.strategy=fsdp"],
            "schedule does not support trainer.strategy=fsdp",
        ),
    ],
)
def test_invalid_values_are_one_line(overrides, message):
    with pytest.raises(ConfigError, match=message):
        validate_config(compose_config("train", [*OVERRIDES, "output_dir=run", *overrides]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["callbacks.ema.decay=0"], "callbacks.ema.decay: expected a number greater than 0 and less than 1, got 0"),
        (
            ["callbacks.ema.decay=0.9", "trainer.precision=bf16-true"],
            "does not support trainer.precision=bf16-true, which .* Use trainer.precision=bf16-mixed",
        ),
        (["callbacks.unfreezing.schedule={0:['*']}"], r"has no effect with epoch 0 only: .* use freeze=\[<pattern>\]"),
    ],
)
def test_values_without_effect_are_one_line(overrides, message):
    with pytest.raises(ConfigError, match=message):
        validate_config(compose_config("train", [*OVERRIDES, "output_dir=run", *overrides]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "callbacks.ema.update_every_n_steps=2",
            "=2 has no effect, because callbacks.ema.decay is null. Set callbacks.",
        ),
        ("callbacks.early_stopping.min_delta=1", "=1 has no effect, because callbacks.early_stopping.patience is null"),
        ("callbacks.early_stopping.mode=min", "=min has no effect, because callbacks.early_stopping.patience is null"),
    ],
)
def test_key_of_a_switch_that_is_off_is_an_error(monkeypatch, override, message):
    monkeypatch.setattr("firstlight.config.overrides.list_overridden_keys", lambda: [override.partition("=")[0]])
    with pytest.raises(ConfigError, match=message):
        validate_config(compose_config("train", [*OVERRIDES, "output_dir=run", override]))


def test_note_names_the_epochs_that_are_not_reached():
    schedule = {0: 8, 2: 4, 4: 1}

    expected = "note      trainer.max_epochs=2 does not reach epochs 2, 4 (from 0) of key"
    assert describe_unreached("key", schedule, 2) == expected
    assert all(describe_unreached("key", schedule, epochs) is None for epochs in (5, -1, None))


def test_sweep_may_switch_an_entry_off(monkeypatch):
    overrides = ["callbacks.ema.decay=null", "callbacks.ema.update_every_n_steps=2"]
    keys = [override.partition("=")[0] for override in overrides]
    monkeypatch.setattr("firstlight.config.overrides.list_overridden_keys", lambda: keys)

    validate_config(compose_config("train", [*OVERRIDES, "output_dir=run", *overrides]))


def test_resumed_run_keeps_its_switches(tmp_path):
    run = [*OVERRIDES, *NO_PLOTS, "callbacks.ema.decay=0.9", "callbacks.accumulation.scheduling={0:2}", "test=false"]
    train.main(compose_config("train", [*run, f"output_dir={tmp_path}"]))
    resume = [f"resume={tmp_path}", "trainer.max_epochs=2"]

    with pytest.raises(ConfigError, match=r"Cannot change callbacks.ema.decay from 0.9 to 0.5 when resuming"):
        compose_config("train", [*resume, "callbacks.ema.decay=0.5"])
    for key in ("callbacks.ema", "callbacks.ema.decay", "callbacks", "trainer.gradient_clip_val", "data.num_classes"):
        with pytest.raises(ConfigError, match=f"Cannot delete {key} when resuming. Start a new run, or remove ~"):
            compose_config("train", [*resume, f"~{key}"])
    assert compose_config("train", [*resume, "callbacks.accumulation.scheduling={0: 2}", "~callbacks.early_stopping"])
    assert list_active_switches(compose_config("train", [*resume, "callbacks=none"])).keys() == {"ema", "accumulation"}
