"""Tests of `make predict`: inputs, formats and places of the predictions, and predictions that are interrupted."""

import csv
import json
import os
import stat
from pathlib import Path

import pytest
from lightning.pytorch import Callback
from omegaconf import open_dict
from PIL import Image

from firstlight import predict, train
from firstlight.build import build
from firstlight.config.compose import compose_config
from firstlight.run.errors import ConfigError, UserError
from support.options import get_tiny_model, make_tiny_overrides


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("images") / "run"
    overrides = [*make_tiny_overrides(get_tiny_model("images")), "test=false", f"output_dir={run_dir}"]
    train.main(compose_config("train", [*overrides, "trainer.limit_train_batches=1"]))
    return run_dir


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for index in range(10):
        Image.new("RGB", (40, 50), (index * 20, 30, 60)).save(tmp_path / "photos" / f"{index}.png")
    return tmp_path / "photos"


def run_predict(run_dir, photos, *overrides):
    overrides = [f"run={run_dir}", f"input={photos}", *overrides]
    return predict.main(compose_config("predict", overrides))["num_predictions"]


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def test_predictions_without_output_are_in_a_directory_of_their_own(run_dir, photos):
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*") if path.is_file()}
    assert run_predict(run_dir, photos) == 10
    assert run_predict(run_dir, f"{photos}/1*.png", "output_dir=" + str(photos.parent / "own")) == 1
    (results,) = run_dir.glob("evaluations/*")
    record = json.loads((results / "evaluation.json").read_text())

    assert len(read_rows(results / "predictions.csv")) == 10
    assert len(read_rows(photos.parent / "own" / "predictions.csv")) == 1
    assert (record["command"], record["input"], record["samples"]) == ("predict", str(photos), 10)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_all_formats_have_the_same_predictions(run_dir, photos, tmp_path):
    for suffix in (".csv", ".tsv", ".jsonl"):
        run_predict(run_dir, photos, f"output={tmp_path}/p{suffix}")
    rows = read_rows(tmp_path / "p.csv")
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]

    assert [row["id"] for row in rows] == [str(photos / f"{index}.png") for index in range(10)]
    assert rows == read_rows(tmp_path / "p.tsv")
    assert rows == [{**line, "probability": f"{line['probability']:.6f}"} for line in lines]


def test_list_of_inputs_keeps_its_order(run_dir, photos, tmp_path):
    run_predict(run_dir, f"[{photos}/7.png,{photos}/2.png]", f"output={tmp_path}/p.csv")

    assert [Path(row["id"]).name for row in read_rows(tmp_path / "p.csv")] == ["7.png", "2.png"]


class StopInThirdBatch(Callback):
    """Count the rows in the file after each batch, and fail in the third one."""

    def __init__(self, path):
        self.path, self.counts = path, []

    def on_predict_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.counts.append(len(read_rows(self.path)) if self.path.exists() else 0)
        if batch_idx == 2:
            raise KeyError("stopped")


def test_predictions_are_written_after_each_batch(run_dir, photos, tmp_path, capsys):
    cfg = compose_config("predict", [f"run={run_dir}", f"input={photos}"])
    model, data, trainer = build(cfg, str(run_dir / "checkpoints" / "last.ckpt"), read_data=False)
    stop = StopInThirdBatch(tmp_path / "p.csv")
    trainer.callbacks.append(stop)
    with pytest.raises(KeyError):
        predict.predict_inputs(cfg, tmp_path / "p.csv", model, data, trainer)

    assert stop.counts == [0, 4, 8]
    assert len(read_rows(tmp_path / "p.csv")) == 8
    assert f"predict: wrote 8 of 10 predictions to {tmp_path / 'p.csv'}" in capsys.readouterr().err


def test_unreadable_inputs_keep_earlier_predictions(run_dir, photos, tmp_path):
    run_predict(run_dir, photos, f"output={tmp_path}/p.csv")
    before = (tmp_path / "p.csv").read_bytes()
    (tmp_path / "broken.png").write_text("no image")
    with pytest.raises(UserError, match="Cannot read any of the 1 inputs"):
        run_predict(run_dir, tmp_path / "broken.png", f"output={tmp_path}/p.csv")
    assert before == (tmp_path / "p.csv").read_bytes()
    assert run_predict(run_dir, photos / "1.png", f"output={tmp_path}/p.csv") == 1
    assert len(read_rows(tmp_path / "p.csv")) == 1


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(run_dir, photos, tmp_path, umask):
    previous = os.umask(umask)
    try:
        run_predict(run_dir, photos / "1.png", f"output={tmp_path}/new/p.csv")
        run_predict(run_dir, photos / "1.png", f"output_dir={tmp_path}/own")
    finally:
        os.umask(previous)
    files = {
        path: 0o777 if path.is_dir() else 0o666 for name in ("new", "own") for path in (tmp_path / name).rglob("*")
    }
    assert len(files) == 3
    assert all(stat.S_IMODE(path.stat().st_mode) == mode & ~umask for path, mode in files.items())


PREDICTIONS = "id,label,probability\r\n1,a,0.5\r\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", PREDICTIONS, None),
        ("p.csv", "id,labels,a,b\r\n1,a,0.5,0.5\r\n", None),
        ("p.tsv", PREDICTIONS.replace(",", "\t"), None),
        ("p.jsonl", '{"id": "1", "label": "a", "probability": 0.5}\n', None),
        ("p.csv", "", None),
        ("p.csv", "id,label\r\n1,a\r\n", "already exists"),
        ("p.csv", "id,price\r\n1,2\r\n", "already exists"),
        ("p.csv", "text,label\r\na,b\r\n", "already exists"),
        ("p.jsonl", PREDICTIONS, "already exists"),
        ("p.jsonl", '[["id"]]', "already exists"),
        ("p.csv", "\x00\x01", "already exists"),
        ("p.pt", "a checkpoint", "already exists"),
        ("metrics.csv", "epoch,step\n", "already exists"),
        ("p.parquet", "", "expected a file name ending in .csv, .tsv, .jsonl or .pt"),
    ],
)
def test_only_predictions_are_replaced(run_dir, photos, tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content.encode())
    cfg = compose_config("predict", [f"run={run_dir}", f"input={photos}", f"output={path}"])
    if message is None:
        assert predict.validate_output(cfg, []) == path
    else:
        with pytest.raises(ConfigError, match=message):
            predict.validate_output(cfg, [])
    assert path.read_bytes() == content.encode()


def test_predictions_that_are_an_input_are_kept(run_dir, tmp_path):
    (tmp_path / "p.csv").write_bytes(PREDICTIONS.encode())
    (tmp_path / "link.csv").symlink_to("p.csv")
    for source, output in (("p.csv", "p.csv"), ("p.csv", "link.csv"), ("link.csv", "p.csv")):
        with pytest.raises(ConfigError, match="would overwrite the input"):
            run_predict(run_dir, tmp_path / source, f"output={tmp_path / output}")
    assert (tmp_path / "p.csv").read_bytes() == PREDICTIONS.encode()


def test_predictions_that_are_training_data_are_kept(run_dir, photos, tmp_path):
    (tmp_path / "p.csv").write_bytes(PREDICTIONS.encode())
    cfg = compose_config("predict", [f"run={run_dir}", f"input={photos}", f"output={tmp_path / 'p.csv'}"])
    with open_dict(cfg):
        cfg.data.path = str(tmp_path / "p.csv")
    with pytest.raises(ConfigError, match="would overwrite the input"):
        predict.validate_output(cfg, [])


def test_two_places_are_rejected(run_dir, photos):
    with pytest.raises(ConfigError, match="output_dir=there has no effect with output=. Remove one of them."):
        run_predict(run_dir, photos, "output=p.csv", "output_dir=there")


def test_tensor_format_is_rejected_for_a_task(run_dir, photos, tmp_path):
    with pytest.raises(ConfigError, match="expected a file name ending in .csv, .tsv or .jsonl for the predictions of"):
        run_predict(run_dir, photos, f"output={tmp_path}/p.pt")


@pytest.mark.usefixtures("requires_text_packages")
def test_text_files_are_predicted_together(tmp_path):
    run_dir = tmp_path / "run"
    overrides = [*make_tiny_overrides("tiny_text"), "test=false", f"output_dir={run_dir}"]
    train.main(compose_config("train", [*overrides, "trainer.limit_train_batches=1"]))
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("text\nword1 word2\nword3\n")
    assert run_predict(run_dir, f"{tmp_path}/?.csv", f"output={tmp_path}/p.tsv") == 4
    names = [row["id"] for row in read_rows(tmp_path / "p.tsv")]

    assert names == [f"{tmp_path}/{name}.csv:{row}" for name in ("a", "b") for row in (1, 2)]
    with pytest.raises(UserError, match=r"is a directory, but texts are read from files. Use e.g. 'input=.*/\*.csv'."):
        run_predict(run_dir, tmp_path)
