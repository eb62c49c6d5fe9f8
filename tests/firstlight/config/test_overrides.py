"""Overrides of Hydra's own config, and of the class of a section."""

import pytest
from omegaconf import OmegaConf

from firstlight.config.compose import compose_config
from firstlight.config.overrides import validate_hydra_overrides
from firstlight.config.validate import validate_config
from firstlight.run.errors import ConfigError

STEP_LR = ["scheduler=cosine", "scheduler._target_=torch.optim.lr_scheduler.StepLR", "+scheduler.step_size=1"]


@pytest.mark.parametrize(
    ("override", "equivalent"),
    [
        ("hydra/launcher=joblib", "Use launcher=<option> with `make sweep`."),
        ("hydra.launcher.n_jobs=2", "Use launcher.<key>=<value> with `make sweep`."),
        ("hydra/sweeper=optuna", "Use sweeper=<option> with `make sweep`."),
        ("+hydra.sweeper.n_trials=2", "Use sweeper.<key>=<value> with `make sweep`."),
        ("hydra.run.dir=out", "Use output_dir=<directory>."),
        ("hydra.job.chdir=true", "Paths are relative to the working directory."),
    ],
)
def test_settings_of_hydra_that_commands_set_are_rejected(override, equivalent):
    for is_sweep in (False, True):
        with pytest.raises(ConfigError) as caught:
            validate_hydra_overrides(["seed=0", override], is_sweep)
        assert str(caught.value).startswith(f"{override} has no effect")
        assert equivalent in str(caught.value)


@pytest.mark.parametrize("override", ["hydra.sweep.dir=out", "hydra.sweep.subdir=x", "hydra.mode=RUN"])
def test_sweep_rejects_what_belongs_to_multirun(override):
    validate_hydra_overrides([override])

    with pytest.raises(ConfigError, match=r"has no effect"):
        validate_hydra_overrides([override], is_sweep=True)


@pytest.mark.parametrize("override", ["hydra.verbose=true", "hydra.searchpath=[file://x]", "hydra.job.env_set.A=1"])
def test_other_settings_of_hydra_are_accepted(override):
    validate_hydra_overrides([override], is_sweep=True)


def test_another_class_drops_the_keys_of_the_option():
    cfg = compose_config("train", [*STEP_LR, "optimizer._target_=torch.optim.SGD", "output_dir=logs"])

    assert "warmup_fraction" not in cfg.scheduler
    assert "betas" not in cfg.optimizer
    assert OmegaConf.select(cfg, "optimizer.lr") is not None
    validate_config(cfg)


def test_another_class_keeps_what_the_command_line_sets():
    cfg = compose_config("train", [*STEP_LR, "scheduler.warmup_fraction=0.2", "output_dir=logs"])

    with pytest.raises(ConfigError, match=r"Unknown setting 'scheduler.warmup_fraction'"):
        validate_config(cfg)


@pytest.mark.parametrize(("option", "message"), [("gpu", "trainer=cuda or trainer=mps? "), ("tpu", "")])
def test_accelerator_names_of_lightning_are_not_taken_for_the_cpu(option, message):
    from firstlight.config.options import format_unknown_option

    expected = f"Unknown option trainer={option}. " + (f"Did you mean {message}" if message else "") + "Available: auto"
    assert format_unknown_option("trainer", option).startswith(expected)


def test_experiment_without_package_is_rejected():
    cfg = compose_config("train", ["output_dir=logs", "+experiment.trainer.max_epochs=3"])

    with pytest.raises(ConfigError, match=r"The keys of the experiment have no effect: trainer. Start its file"):
        validate_config(cfg)
