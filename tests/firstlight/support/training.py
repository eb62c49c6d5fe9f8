"""Training runs with callbacks, and checks of their results."""

import json
from pathlib import Path

import torch

from firstlight import build
from firstlight.callbacks import learning_curves
from firstlight.run.exit_actions import run_exit_actions


def train_four_steps(compose_cfg, run_name: str, training: list[str], *overrides: str) -> tuple[list, dict]:
    """Train and test for four steps. Return the loss of each step and the final weights."""
    overrides = (*training, *overrides, "trainer.limit_train_batches=4", "trainer.limit_val_batches=1")
    cfg = compose_cfg(*overrides, "trainer.limit_test_batches=1", run_dir=run_name)
    model, data, trainer = build.build(cfg)
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    run_exit_actions(Path(cfg.output_dir), 0)
    return learning_curves.read_metrics_csv(Path(cfg.output_dir) / "metrics.csv")["train/loss"], model.state_dict()


def check_same_training(first, second):
    """Check that two results of `train_four_steps` are identical."""
    assert first[0] == second[0]
    assert len(first[0]) == 4
    for name, tensor in first[1].items():
        torch.testing.assert_close(second[1][name], tensor, rtol=0, atol=0, msg=name)


def check_predictions(run_dir: Path) -> None:
    """Check the prediction samples of a run against its confusion matrix."""
    samples = json.loads((run_dir / "predictions.json").read_text())
    matrix = json.loads((run_dir / "confusion_matrix.json").read_text())
    is_wrong = [sample["true"] != sample["predicted"] for sample in samples]
    probabilities = [sample["probability"] for sample in samples]
    num_wrong = sum(is_wrong)

    assert is_wrong == sorted(is_wrong, reverse=True)  # wrong predictions first
    assert probabilities[:num_wrong] == sorted(probabilities[:num_wrong], reverse=True)  # most confident first
    assert probabilities[num_wrong:] == sorted(probabilities[num_wrong:])
    assert sum(map(sum, matrix["counts"])) == len(samples)
    for sample in samples:
        assert sample["text"] if "text" in sample else (run_dir / sample["image"]).is_file()
    assert (run_dir / "first_batch.png").is_file() == ("image" in samples[0])
