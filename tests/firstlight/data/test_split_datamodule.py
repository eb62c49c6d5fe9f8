"""Datasets of the engine keep the split of a run: from a checkpoint, in a Trainer, and for changed or other files."""

import shutil

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image

from firstlight.data.image_folder import ImageFolderDataModule
from firstlight.data.images import InMemoryImageDataModule
from firstlight.data.text_file import TextFileDataModule
from firstlight.run.errors import DataError
from support.datamodules import count_samples


def write_images(root, names, seed=0):
    for index, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (index, seed, 0)).save(path)


@pytest.fixture
def photos(tmp_path):
    write_images(tmp_path / "photos", [f"{name}/{index}.png" for name in "ab" for index in range(20)])
    return tmp_path / "photos"


def load_images(root, run=None, is_evaluation=True, **kwargs):
    """Return a dataset of images, restored from the dataset of a training run."""
    data = ImageFolderDataModule(str(root), image_size=8, batch_size=4, num_workers=0, **kwargs)
    return set_up(data, run, is_evaluation)


def set_up(data, run, is_evaluation=True):
    if run is not None:
        data.splitter.is_evaluation = is_evaluation
        data.load_state_dict(run.state_dict())
    data.setup("fit")
    return data


def list_paths(data, split):
    return {"/".join(path.parts[-2:]) for path in data.datasets[split].paths}


def test_one_more_image_moves_no_other(photos, capsys):
    run = load_images(photos)
    write_images(photos, [f"a/{index}_new.png" for index in range(5)], seed=1)
    (photos / "b" / "0.png").unlink()
    write_images(photos, ["b/1.png"], seed=2)
    later = load_images(photos, run)

    for split in ("train", "val", "test"):
        old = {name for name in list_paths(later, split) if "new" not in name}
        assert old == list_paths(run, split) - {"b/0.png"}
    assert "(samples: 5 added, 1 removed, 1 modified)" in capsys.readouterr().out


def test_new_run_on_grown_data_tests_no_image_that_the_old_run_trained_on(photos):
    run = load_images(photos)
    write_images(photos, ["a/new.png"])

    assert not list_paths(load_images(photos), "test") & list_paths(run, "train")


def test_other_directory_is_evaluated_completely(photos, tmp_path, capsys):
    run = load_images(photos)
    write_images(tmp_path / "new", [f"{name}/new{index}.png" for name in "ab" for index in range(30)])

    assert count_samples(load_images(tmp_path / "new", run)) == {"train": 60, "val": 60, "test": 60}
    assert f"data: {tmp_path}/new is not the data of the run. All its 60 samples are used." in capsys.readouterr().out


def test_moved_and_copied_directories_keep_the_split(photos, tmp_path, capsys):
    run = load_images(photos)
    shutil.copytree(photos, tmp_path / "copy")
    photos.rename(tmp_path / "moved")

    for root in (tmp_path / "copy", tmp_path / "moved"):
        assert list_paths(load_images(root, run), "test") == list_paths(run, "test")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("is_empty", [True, False])
def test_classes_may_be_missing_in_evaluated_data(photos, tmp_path, is_empty):
    run = load_images(photos)
    write_images(tmp_path / "new", ["b/0.png", "b/1.png"])
    if is_empty:
        (tmp_path / "new" / "a").mkdir()
    data = load_images(tmp_path / "new", run)

    assert data.class_names == ["a", "b"]
    assert data.datasets["test"].labels.tolist() == [1, 1]


def test_missing_class_is_rejected_in_a_resumed_run(photos):
    run = load_images(photos)
    shutil.rmtree(photos / "a")

    with pytest.raises(DataError, match="No training samples for the classes: a"):
        load_images(photos, run, is_evaluation=False)


def test_other_classes_are_not_hidden(photos, tmp_path):
    run = load_images(photos)
    write_images(tmp_path / "new", ["b/0.png", "c/1.png"])

    assert load_images(tmp_path / "new", run).class_names == ["b", "c"]


def test_table_is_split_by_file_name(tmp_path):
    write_images(tmp_path, [f"{index}.png" for index in range(40)])
    rows = [f"{index}.png,{index / 40}" for index in range(40)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,y", *rows]))
    arguments = {"label_column": "y", "task": "regression"}
    run = load_images(tmp_path, **arguments)
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,y", "39.png,0.5", *rows[5:39][::-1]]))
    later = load_images(tmp_path, run, **arguments)

    assert count_samples(run) == {"train": 32, "val": 4, "test": 4}
    removed = {f"{tmp_path.name}/{index}.png" for index in range(5)}
    assert [list_paths(later, name) for name in count_samples(run)] == [
        list_paths(run, name) - removed for name in count_samples(run)
    ]
    assert "(samples: 5 removed, 1 modified)" in later.splitter.notes[0]


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_equal_texts_share_a_split(tmp_path, task):
    rng = np.random.default_rng(0)
    labels = {"classification": "ab", "multilabel": ["x", "x;y"], "regression": "12"}[task]
    rows = [
        f"{'  '[: 1 + index % 2].join(['text', str(rng.integers(60))])},{labels[index % 2]}" for index in range(300)
    ]
    (tmp_path / "x.csv").write_text("\n".join(["text,label", *rows]))
    data = set_up(TextFileDataModule(str(tmp_path / "x.csv"), task=task), None)
    found = {name: {" ".join(text.split()) for text in texts} for name, (texts, _) in data.texts.items()}

    assert sum(len(texts) for texts, _ in data.texts.values()) == 300
    assert sum(map(len, found.values())) == len(set.union(*found.values())) == 60
    assert ("occur in several classes" in "".join(data.splitter.notes)) == (task == "classification")


def test_text_files_keep_their_split(tmp_path, capsys):
    file = tmp_path / "x.csv"
    rows = [f"text {index},{'ab'[index % 2]}" for index in range(120)]
    file.write_text("\n".join(["text,label", *rows]))
    run = set_up(TextFileDataModule(str(file)), None)
    file.write_text("\n".join(["text,label", "new text,a", *rows[:-1], "text 119,a"]))
    later = set_up(TextFileDataModule(str(file)), run)
    other = tmp_path / "other.csv"
    other.write_text("\n".join(["text,label", "text 0,a", "unknown,a"]))

    for split, (texts, _) in later.texts.items():
        assert [text for text in texts if text != "new text"] == run.texts[split][0]
    assert "(samples: 1 added, 1 modified)" in capsys.readouterr().out
    for data in (TextFileDataModule(str(other)), TextFileDataModule(str(file), test_path=str(other))):
        assert set_up(data, run).texts["test"][0] == ["text 0", "unknown"]
        assert data.texts["test"][1].tolist() == [0, 0]
        assert "All its 2 samples are used." in capsys.readouterr().out


class Squares(InMemoryImageDataModule):
    """Images of one value each, which may occur several times."""

    def __init__(self, values, image_size=4):
        super().__init__(image_size=image_size)
        self.values = values

    def load_arrays(self):
        images = np.repeat(np.array(self.values, dtype=np.uint8), 48).reshape(-1, 3, 4, 4)
        return ["even", "odd"], {"train": (images, np.array(self.values) % 2)}


def test_images_in_memory_are_split_by_their_pixels():
    values = [value for value in range(100) for _ in range(2)]
    run = set_up(Squares(values), None)
    later = set_up(Squares(values[::-1][:-2]), run)

    def list_values(data, split):
        return set(data.datasets[split].images[:, 0, 0, 0].tolist())

    assert count_samples(run) == {"train": 160, "val": 20, "test": 20}
    assert sum(len(list_values(run, split)) for split in run.datasets) == 100
    for split in run.datasets:
        assert list_values(later, split) == list_values(run, split) - {0}


class NoNetwork(pl.LightningModule):
    """Records the labels of the test."""

    def test_step(self, batch, batch_idx):
        self.ids = [*getattr(self, "ids", []), *batch["ids"].tolist()]


def test_checkpoint_restores_the_split_in_a_plain_trainer(photos, tmp_path):
    run = load_images(photos)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.test(NoNetwork(), run, verbose=False)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    write_images(photos, [f"a/{index}_new.png" for index in range(20)])
    data = ImageFolderDataModule(str(photos), image_size=8, batch_size=4, num_workers=0)
    trainer.test(NoNetwork(), data, ckpt_path=tmp_path / "x.ckpt", verbose=False, weights_only=True)

    assert list_paths(data, "test") >= list_paths(run, "test")
    assert not list_paths(data, "test") & list_paths(run, "train")
    state = torch.load(tmp_path / "x.ckpt", weights_only=True)["ImageFolderDataModule"]
    assert state["records"]["test"]["num_samples"] == 4
    assert set(state["rule"]["boundaries"]) == {"a", "b"}
