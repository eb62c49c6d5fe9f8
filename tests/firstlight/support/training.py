"""Trainings that callbacks observe."""

import json
from pathlib import Path

import torch

from firstlight import build
from firstlight.callbacks import learning_curves
from firstlight.run.record import run_exit_actions


def train_four_steps(compose_cfg, folder: str, training: list[str], *words: str) -> tuple[list, dict]:
    """Return the losses of the steps and the weights of a training of four steps."""
    words = (*training, *words, "trainer.limit_train_batches=4", "trainer.limit_val_batches=1")
    cfg = compose_cfg(*words, "trainer.limit_test_batches=1", folder=folder)
    model, data, trainer = build.build(cfg)
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    run_exit_actions(0)
    return learning_curves.read_metrics_csv(Path(cfg.output_dir) / "metrics.csv")["train/loss"], model.state_dict()


def check_same_training(one, other):
    assert one[0] == other[0]
    assert len(one[0]) == 4
    for name, tensor in one[1].items():
        torch.testing.assert_close(other[1][name], tensor, rtol=0, atol=0, msg=name)


def check_predictions(folder: Path) -> None:
    """Hold what a run shows of its predictions against its confusion matrix."""
    found = json.loads((folder / "predictions.json").read_text())
    matrix = json.loads((folder / "confusion_matrix.json").read_text())
    wrong = [row["true"] != row["predicted"] for row in found]
    sure = [row["probability"] for row in found]

    assert wrong == sorted(wrong, reverse=True)  # mistakes first
    assert sure[: sum(wrong)] == sorted(sure[: sum(wrong)], reverse=True)  # the surest of them first
    assert sure[sum(wrong) :] == sorted(sure[sum(wrong) :])
    assert sum(map(sum, matrix["counts"])) == len(found)
    for row in found:
        assert row["text"] if "text" in row else (folder / row["image"]).is_file()
    assert (folder / "first_batch.png").is_file() == ("image" in found[0])
