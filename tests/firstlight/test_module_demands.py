"""Demands of published modules on the engine, each with the smallest module that makes it."""

from types import SimpleNamespace

import lightning.pytorch as pl
import pytest

from firstlight import build, evaluate, train
from firstlight.callbacks.last_checkpoint import LastCheckpoint
from firstlight.config.compose import compose_config
from firstlight.run.errors import ConfigError
from support.plain_projects import make_overrides


def make_foreign_class(name):
    """Return a class that derives from one of the package pytorch_lightning."""
    base = type("LightningModule", (), {"__module__": "pytorch_lightning.core.module"})
    return type(name, (base,), {})


@pytest.mark.parametrize(
    "components",
    [
        (make_foreign_class("Theirs")(), pl.LightningDataModule()),
        (pl.LightningModule(), make_foreign_class("Theirs")()),
    ],
)
def test_class_of_pytorch_lightning_is_rejected_in_one_line(components):
    with pytest.raises(ConfigError) as caught:
        build.validate_namespace(*components)

    assert str(caught.value).startswith(
        "Theirs is a class of the package pytorch_lightning, which cannot be mixed with"
    )
    assert "\n" not in str(caught.value)


def test_callbacks_of_the_module_are_kept_next_to_those_of_the_config(tmp_path, monkeypatch):
    trainers = []
    connect = build.connect_components

    def keep_trainer(model, data, trainer, seed=0):
        trainers.append(SimpleNamespace(trainer=trainer, model=model))
        connect(model, data, trainer, seed)

    monkeypatch.setattr(build, "connect_components", keep_trainer)
    overrides = make_overrides("own_callbacks", "logger=none", f"output_dir={tmp_path}")
    overrides += ["model._target_=support.plain.module_callback.ModuleWithCallback"]
    train.main(compose_config("train", overrides))
    trainer = trainers[0].trainer

    assert trainers[0].model.counter in trainer.callbacks
    assert any(isinstance(callback, LastCheckpoint) for callback in trainer.callbacks)
    assert trainers[0].model.counter.num_batches == 2 * 3
    assert (tmp_path / "table.txt").is_file()

    evaluate.main(compose_config("evaluate", [f"run={tmp_path}"]))
    (results,) = (tmp_path / "evaluations").iterdir()

    assert (results / "table.txt").is_file()
