"""The engine's part of a checkpoint: separate from the keys of the module, and checked when it is loaded."""

from types import SimpleNamespace

import pytest
import torch

from firstlight.callbacks import exact_resume
from firstlight.callbacks.exact_resume import ExactResume
from firstlight.callbacks.save_config import SaveConfigInCheckpoint
from firstlight.checkpoint.io import AtomicCheckpointIO, load_checkpoint
from firstlight.cli.errors import format_user_error
from firstlight.model.load import load_model
from firstlight.run.errors import CheckpointError, ConfigError
from firstlight.run.files import ENGINE_KEY
from support.tiny_models import TinyMLP
from support.tiny_training import CLASSES

NODE = {"_target_": "support.tiny_models.TinyMLP", "class_names": CLASSES, "image_size": 2}


def make_checkpoint(**changes):
    """Return the contents of a checkpoint with changes to the engine's part."""
    added = {"format_version": 1, "config": {"model": NODE}, "model_kwargs": {}, **changes}
    return {ENGINE_KEY: added, "state_dict": TinyMLP(CLASSES, 2).state_dict()}


def test_keys_of_a_module_do_not_replace_those_of_the_engine(tmp_path, monkeypatch):
    monkeypatch.setattr(exact_resume, "get_loop_state", lambda *args: {})
    model = TinyMLP(CLASSES, 2)
    trainer = SimpleNamespace(
        callback_metrics={"val/loss": torch.tensor(0.5)}, loggers=[], global_step=3, validating=False
    )
    trainer.lightning_module = model
    checkpoint = {"state_dict": model.state_dict(), "loops": {"fit_loop": {}}}
    SaveConfigInCheckpoint({"model": NODE}, {}).on_save_checkpoint(trainer, model, checkpoint)
    ExactResume().on_save_checkpoint(trainer, model, checkpoint)
    own = dict.fromkeys(("config", "model_kwargs", "steps", "metrics", "rng_states", "format_version"), "of the module")
    AtomicCheckpointIO().save_checkpoint(checkpoint | own, tmp_path / "last.ckpt")
    saved = load_checkpoint(tmp_path / "last.ckpt")

    assert {name: saved[name] for name in own} == own
    assert saved[ENGINE_KEY]["metrics"] == {"val/loss": 0.5}
    assert type(load_model(saved)) is type(load_model(make_checkpoint()))


@pytest.mark.parametrize(
    "changes",
    [
        {"config": None},
        {"config": {"model": None}},
        {"config": {"model": {"_target_": 3}}},
        {"config": {"model": {"_target_": "x", 3: 4}}},
        {"model_kwargs": [1]},
        {"model_kwargs": {3: 4}},
    ],
)
def test_damaged_entry_is_reported(tmp_path, changes):
    torch.save(make_checkpoint(**changes), tmp_path / "last.ckpt")

    with pytest.raises(CheckpointError, match=r"last\.ckpt is corrupt \(its (config describes|model_kwargs are)"):
        load_checkpoint(tmp_path / "last.ckpt")


def test_checkpoint_replaces_a_sharded_one(tmp_path):
    (tmp_path / "last.ckpt").mkdir()
    AtomicCheckpointIO().save_checkpoint(make_checkpoint(), tmp_path / "last.ckpt")

    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert load_checkpoint(tmp_path / "last.ckpt")[ENGINE_KEY]["format_version"] == 1


def test_contents_that_cannot_be_restored_are_one_line():
    saved = make_checkpoint(config={"model": {**NODE, "image_size": "x"}})
    with pytest.raises(Exception) as caught:
        load_model(saved)
    message = format_user_error(caught.value, "evaluate", [])

    assert message is not None
    assert "\n" not in message


@pytest.mark.parametrize("source", ["config", "model_kwargs"])
def test_checkpoint_cannot_name_other_weights(tmp_path, source):
    node = {"_target_": "firstlight.model.torchvision_classifier.TorchvisionClassifier", "name": "resnet18"}
    weights = {"weights": str(tmp_path / "private.pt")}
    kwargs = {"class_names": CLASSES, **(weights if source == "model_kwargs" else {})}
    saved = make_checkpoint(config={"model": {**node, **(weights if source == "config" else {})}}, model_kwargs=kwargs)

    with pytest.raises(CheckpointError, match="The weights do not fit TorchvisionClassifier"):
        load_model(saved)


def test_model_of_a_checkpoint_is_a_module():
    with pytest.raises(ConfigError, match=r"model cannot be a CSVLogger\. Use a subclass of Module\."):
        load_model(make_checkpoint(config={"model": {"_target_": "lightning.pytorch.loggers.CSVLogger"}}))
