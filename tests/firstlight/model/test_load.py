"""A module whose `setup` adds layers is evaluated and resumed with the weights of its checkpoint."""

import pytest
import torch

import firstlight
from firstlight import evaluate, train
from firstlight.config.compose import compose_config
from firstlight.model.classifier import Classifier
from firstlight.model.load import accepts_random_weights
from firstlight.run.errors import CheckpointError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the directory and the metrics of a finished run."""
    run_dir = tmp_path_factory.mktemp("layers") / "run"
    overrides = ["model=plain_layers_in_setup", "trainer=cpu", "trainer.max_epochs=2", "logger=none"]
    return run_dir, train.main(compose_config("train", [*overrides, f"output_dir={run_dir}"]))["metrics"]


def test_evaluation_loads_the_weights_after_setup(trained):
    run_dir, metrics = trained
    evaluated = evaluate.main(compose_config("evaluate", [f"run={run_dir}"]))["metrics"]

    assert evaluated == {"test_loss": metrics["test_loss"]}


def test_state_of_the_scheduler_is_resumed(trained):
    run_dir, _ = trained
    train.main(compose_config("train", [f"resume={run_dir}", "trainer.max_epochs=3"]))
    state = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)

    assert state["lr_schedulers"][0]["last_epoch"] == 3
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0.001)


def test_loading_without_a_trainer_is_a_one_line_error(trained):
    with pytest.raises(CheckpointError, match="If setup adds layers, only `make evaluate` and `make predict`"):
        firstlight.load(trained[0])


class StartsFromName(Classifier):
    """A model whose `weights` selects an initialization and must not be None."""

    def __init__(self, class_names: list[str], image_size: int, weights: str = "zeros") -> None:
        super().__init__(class_names)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("support.tiny_models.TinyImages", True),
        ("firstlight.model.text_classifier.TextClassifier", True),
        ("torch.nn.Linear", False),
    ],
)
def test_checkpoint_replaces_weights_that_may_be_none(target, expected):
    assert accepts_random_weights(target) is expected


def test_weights_that_must_not_be_none_are_kept(monkeypatch):
    monkeypatch.setattr("firstlight.model.load.locate", lambda target: StartsFromName)

    assert not accepts_random_weights("my_module.StartsFromName")
