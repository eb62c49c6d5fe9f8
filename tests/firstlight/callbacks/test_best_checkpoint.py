"""The best checkpoint: its metric, direction, files and record, and training loaders that are read several times."""

import csv
import functools

import pytest
import torch

import firstlight
from firstlight import train
from firstlight.callbacks.best_checkpoint import BestCheckpoint, choose_monitor
from firstlight.config.compose import compose_config
from firstlight.run.errors import ConfigError
from firstlight.run.files import read_json_or_empty
from firstlight.run.metrics import find_direction
from support.plain_projects import BATCHES, make_overrides


@pytest.mark.parametrize(
    ("monitor", "score", "direction"),
    [
        ("auto", ["val/f1", "val_loss"], "val_loss"),
        ("auto", ["val/acc", "val/iou"], None),
        ("auto", ["image_AUROC"], "image_AUROC"),
        ("auto", [], None),
    ],
)
def test_monitor_is_chosen_among_validation_metrics(monitor, score, direction):
    assert choose_monitor(score) == direction


@pytest.mark.parametrize(
    ("metric", "direction"),
    [("val/loss", "min"), ("valRMSE", "min"), ("val/cls/Acc", "max"), ("image_AUROC", "max"), ("val/steps", None)],
)
def test_direction_follows_from_name(metric, direction):
    assert find_direction(metric) == direction


def test_unknown_direction_requires_mode():
    with pytest.raises(ConfigError, match="The direction of callbacks.best.monitor=val/steps is unknown"):
        BestCheckpoint("checkpoints", monitor="val/steps")


def test_best_checkpoint_waits_for_first_validation(tmp_path):
    overrides = [*make_overrides("autoencoder"), "trainer.check_val_every_n_epoch=2", "logger=none"]
    train.main(compose_config("train", [*overrides, f"output_dir={tmp_path}"]))

    assert read_json_or_empty(tmp_path / "best.json")["monitor"] == "val_loss"


def test_run_keeps_the_validation_metrics_of_the_best_checkpoint(tmp_path):
    # The loss falls: with the wrong direction, the first epoch is the best one.
    overrides = [*make_overrides("autoencoder"), "callbacks.best.monitor=val_loss", "callbacks.best.mode=max"]
    train.main(compose_config("train", [*overrides, "logger=none", f"output_dir={tmp_path}"]))
    with (tmp_path / "metrics.csv").open() as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file) if row["val_loss"]]
    record = read_json_or_empty(tmp_path / "run.json")

    assert len(losses) == 2
    assert losses[0] > losses[1]
    assert record["metrics"]["val_loss"] == pytest.approx(losses[0])
    assert read_json_or_empty(tmp_path / "best.json")["metrics"]["val_loss"] == record["metrics"]["val_loss"]


def test_several_best_checkpoints_have_names_of_their_own(tmp_path):
    overrides = [*make_overrides("autoencoder"), "callbacks.best.save_top_k=3", "trainer.max_epochs=4", "logger=none"]
    train.main(compose_config("train", [*overrides, f"output_dir={tmp_path}"]))
    saved = {path.name for path in (tmp_path / "checkpoints").glob("best*.ckpt")}

    assert len(saved) == 3
    assert read_json_or_empty(tmp_path / "best.json")["path"].rpartition("/")[2] in saved


def test_restored_checkpoint_paths_stay_in_the_run(tmp_path):
    best = BestCheckpoint(str(tmp_path / "checkpoints"))
    outside = str(tmp_path / "old" / ".." / ".." / "victim")
    state = {**best.state_dict(), "dirpath": str(tmp_path / "old"), "best_k_models": {outside: 0.5}, "monitor": "x"}
    best.load_state_dict({**state, "kth_best_model_path": outside, "best_model_path": "local:///victim", "mode": "min"})

    assert best.best_k_models == {}
    assert (best.kth_best_model_path, best.best_model_path) == ("", "")


def test_shorter_of_two_train_loaders_starts_again(tmp_path):
    experiment = firstlight.create(make_overrides("gan", f"output_dir={tmp_path}"))
    data = experiment.data
    long, short = torch.utils.data.TensorDataset(torch.arange(10)), torch.utils.data.TensorDataset(torch.arange(3))
    hook = data.train_dataloader.args[0]
    data.train_dataloader = functools.partial(
        data.train_dataloader.func,
        lambda: {name: torch.utils.data.DataLoader(d, 1, shuffle=True) for name, d in [("a", long), ("b", short)]},
        *data.train_dataloader.args[1:],
    )
    seen = []
    experiment.model.training_step = lambda batch, batch_idx: seen.append((int(batch["a"][0]), int(batch["b"][0])))
    experiment.trainer.fit(experiment.model, data)

    assert hook is not None
    assert len(seen) == 20
    assert sorted(a for a, _ in seen[:10]) == list(range(10))
    assert {b for _, b in seen[:10]} == {0, 1, 2}


def test_hook_may_iterate_over_the_train_loader(tmp_path):
    experiment = firstlight.create(make_overrides("autoencoder", f"output_dir={tmp_path}"))
    counts = []
    experiment.model.on_train_epoch_end = lambda: counts.append(sum(1 for _ in experiment.trainer.train_dataloader))
    experiment.trainer.fit(experiment.model, experiment.data)

    assert counts == [BATCHES["autoencoder"]] * 2
    assert experiment.trainer.global_step == 2 * BATCHES["autoencoder"]
