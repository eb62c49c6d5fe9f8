"""Damaged samples: skipped as far as that is allowed, else refused in one sentence; and what ends a loader."""

import gc
import io
import json
import os
import signal
import time

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from firstlight.data.hub_text import HubText
from firstlight.data.image_file import central_part, read_image
from firstlight.data.image_folder import ImageFolder, LabelledFiles, random_part
from firstlight.data.labels import require_labels
from firstlight.data.module import whole_batch
from firstlight.data.table import rows
from firstlight.data.text_file import TextFile
from firstlight.data.worker import worker_fault

# The folder of a test is shared by its examples, each of which writes the file anew.
fuzz = settings(
    max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def sentence(call) -> str | None:
    """Return the one line in which a call refuses its data, or None where it works."""
    try:
        call()
    except ValueError as error:
        refusal = error
    else:
        return None
    assert type(refusal) is ValueError
    assert len(str(refusal).splitlines()) == 1
    return str(refusal)


# Rows

GOOD = [{"text": f"word{index} and more", "label": index % 2} for index in range(40)]
BAD_JSON = {
    5: '{"text": ',
    17: "[1]",
    23: '{"text": "x"}',
    31: '{"text": " ", "label": 1}',
    40: '{"text": 1, "label": 1}',
}
CSV = "text,label\n" + "".join(f"word{index} and more,{index % 2}\n" for index in range(40))


@pytest.fixture
def damaged(tmp_path):
    lines = [BAD_JSON.get(number, json.dumps(row)) for number, row in enumerate(GOOD, start=1)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    return str(tmp_path / "a.jsonl")


def test_as_many_rows_as_allowed_are_skipped_and_named(damaged, capsys):
    _, splits = TextFile(damaged, max_bad=5).read_texts()

    assert sum(len(texts) for texts, _ in splits.values()) == 35
    assert capsys.readouterr().err == (
        f"data: skipped 5 of 40 rows of {damaged}: row 5 (no JSON (Expecting value: line 2 column 1 (char 10))), "
        "row 17 (no JSON object), row 23 (no column 'label' but text) and others\n"
    )


@pytest.mark.parametrize("max_bad", [0, 4])
def test_more_rows_than_allowed_are_refused(damaged, max_bad):
    expected = r"row 5: no JSON .*: correct or remove the row, or skip such rows, 5 of 40, by data.max_bad=5$"

    with pytest.raises(ValueError, match=expected):
        TextFile(damaged, max_bad=max_bad).setup()


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (b"one,two,1", "a row of 3 fields in a file of 2 columns"),
        (b"one", "a row of 1 fields in a file of 2 columns"),
        (b"one,", "text or label is empty"),
        (b" ,1", "text or label is empty"),
        (b"caf\xe9,1", "characters that are not UTF-8, or NUL"),
        (b"o\0ne,1", "characters that are not UTF-8, or NUL"),
    ],
)
def test_a_bad_row_of_a_csv_is_named_or_skipped(tmp_path, row, fault, capsys):
    (tmp_path / "a.csv").write_bytes(CSV.encode() + row + b"\n" + CSV.encode().partition(b"\n")[2])
    _, splits = TextFile(str(tmp_path / "a.csv"), max_bad=1).read_texts()

    assert sum(len(texts) for texts, _ in splits.values()) == 80
    assert capsys.readouterr().err == f"data: skipped 1 of 81 rows of {tmp_path / 'a.csv'}: row 41 ({fault})\n"
    assert f"row 41: {fault}: " in (sentence(TextFile(str(tmp_path / "a.csv")).setup) or "")


def test_the_nan_of_a_missing_label_is_no_class(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "x", "label": NaN}\n')

    with pytest.raises(ValueError, match="row 1: text or label is empty: fill it in or remove the row"):
        TextFile(str(tmp_path / "a.jsonl")).setup()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"", "a.csv is empty: give a file with at least one text"),
        ("a.jsonl", b"", "a.jsonl is empty: give a file with at least one text"),
        ("a.parquet", b"", "a.parquet is empty: give a file with at least one text"),
        ("a.csv", b"\n\n", "a.csv does not start with the names of its columns in UTF-8"),
        ("a.csv", CSV.encode("utf-16"), "a.csv does not start with the names of its columns in UTF-8: save it so"),
        ("a.csv", CSV.encode() + b'"open,1\nx,1\n', "a.csv has a quote that nothing closes, in or before line 42"),
        ("a.csv", b"label,text\n0,x\n" + b'1,"open\n', "a.csv has a quote that nothing closes, in or before line 3"),
        ("a.jsonl", b"[" * 100_000, "row 1: no JSON .maximum recursion depth"),
        ("a.parquet", b"PAR1 no more", "Cannot read .*a.parquet .Parquet magic bytes not found.*: mend it, or give"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ValueError, match=expected):
        TextFile(str(tmp_path / name)).setup()


@fuzz
@given(tail=st.binary(max_size=60), suffix=st.sampled_from(["csv", "tsv"]), max_bad=st.integers(0, 3))
def test_any_bytes_in_a_csv_work_or_are_refused_in_one_line(tmp_path, tail, suffix, max_bad):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(CSV.replace(",", "," if suffix == "csv" else "\t").encode() + tail)

    sentence(TextFile(str(path), max_bad=max_bad).setup)
    sentence(lambda: list(rows(path, "text")))


@fuzz
@given(
    text=st.text(st.sampled_from('",\n\r\t\0 a\u00e9\u20281\ufeff'), max_size=40),
    place=st.integers(0, len(CSV)),
)
def test_any_text_anywhere_in_a_csv_works_or_is_refused_in_one_line(tmp_path, text, place):
    path = tmp_path / "a.csv"
    path.write_text(CSV[:place] + text + CSV[place:], newline="")

    sentence(TextFile(str(path), max_bad=2).setup)
    sentence(lambda: list(rows(path, "text")))


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["text", "label"]), inner),
    max_leaves=4,
)


@fuzz
@given(text=VALUES, label=VALUES, cut=st.integers(0, 20))
def test_any_record_of_json_works_or_is_refused_in_one_line(tmp_path, text, label, cut):
    path = tmp_path / "a.jsonl"
    line = json.dumps({"text": text, "label": label})
    path.write_text("\n".join(map(json.dumps, GOOD)) + "\n" + line[: len(line) - (cut if cut < 10 else 0)])

    sentence(TextFile(str(path)).setup)
    for read, _ in rows(path, "text"):
        (read or "").encode()  # a tokenizer takes no half of a surrogate pair


@fuzz
@given(data=st.data())
def test_a_damaged_parquet_works_or_is_refused_in_one_line(tmp_path, data):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    whole = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(GOOD), whole)
    (tmp_path / "a.parquet").write_bytes(flipped(data, whole.getvalue()))

    sentence(TextFile(str(tmp_path / "a.parquet")).setup)


def flipped(data, whole: bytes) -> bytes:
    """Return a file with some bytes changed, most of them near its start, or cut off."""
    content = bytearray(whole)
    places = st.integers(0, len(content) - 1) | st.integers(0, min(len(content), 200) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=4)):
        content[place] = value
    return bytes(content[: data.draw(st.just(len(content)) | places)])


# Images


def encoded(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "a photo", 72.0
    file = io.BytesIO()
    Image.fromarray(pixels).resize((60, 45)).save(file, kind, exif=exif)
    return file.getvalue()


WHOLE = {kind: encoded(kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")}


@settings(fuzz, max_examples=300)
@given(data=st.data(), kind=st.sampled_from(list(WHOLE)))
@pytest.mark.filterwarnings("error")
def test_a_damaged_image_is_read_or_refused_in_one_line(tmp_path, data, kind):
    (tmp_path / "photo").write_bytes(flipped(data, WHOLE[kind]))
    choose = data.draw(st.sampled_from([central_part, random_part]))

    assert "photo (" in (sentence(lambda: read_image(tmp_path / "photo", 32, choose)) or "photo (")


@pytest.mark.parametrize("error", [MemoryError(), KeyError("x"), IndexError(), OverflowError("a\nb"), EOFError()])
def test_whatever_a_decoder_raises_becomes_a_sentence(tmp_path, error):
    (tmp_path / "photo").write_bytes(WHOLE["PNG"])

    def choose(image, size):
        raise error

    assert "repair or remove it" in (sentence(lambda: read_image(tmp_path / "photo", 32, choose)) or "")


@pytest.fixture
def paths(tmp_path):
    """Return the paths of 12 images, of which 3, 7 and 8 are damaged."""
    found = [tmp_path / f"{index}.png" for index in range(12)]
    for index, path in enumerate(found):
        path.write_bytes(WHOLE["PNG"][: 80 if index in (3, 7, 8) else None])
    return found


def photos(paths, **given) -> LabelledFiles:
    return LabelledFiles(paths, [index % 2 for index in range(len(paths))], 16, augment=True, **given)


def batches(dataset, num_workers: int, epochs: int = 1) -> list:
    loader = DataLoader(
        dataset, batch_size=3, num_workers=num_workers, collate_fn=whole_batch, persistent_workers=num_workers > 0
    )
    return [batch for _ in range(epochs) for batch in loader]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_images_left_out_are_counted_once_over_workers_and_epochs(paths, num_workers, capfd):
    dataset = photos(paths, max_bad=3)
    ids = [batch["ids"].tolist() for batch in batches(dataset, num_workers, epochs=2)]

    assert ids == [[0, 1, 2], [4, 5], [6], [9, 10, 11]] * 2
    assert int(dataset.bad.sum()) == 3
    told = capfd.readouterr().err.splitlines()
    assert 3 == len(told) == len({line.partition(": Cannot")[2] for line in told})
    assert all(" of at most 3: Cannot read the image " in line for line in told)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_more_bad_images_than_allowed_are_refused(paths, num_workers, monkeypatch):
    # torch waits for each worker, which after an error is not told to end, before it ends it: 5 s by default.
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)

    with pytest.raises(
        ValueError, match=r"repair or remove it, or allow for 3 such images by data.max_bad=3"
    ) as caught:
        batches(photos(paths, max_bad=2), num_workers)
    del caught
    gc.collect()


def test_by_default_a_bad_image_is_refused(paths):
    with pytest.raises(
        ValueError, match=r"3.png .*: repair or remove it, or allow for 1 such images by data.max_bad=1"
    ):
        batches(photos(paths), 0)


def test_a_batch_without_any_image_is_refused(paths):
    with pytest.raises(
        ValueError, match=r"needs an image, but none of its 2 can be read, such as .*7.png: repair them"
    ):
        photos(paths, max_bad=9).__getitems__([7, 8])


def test_a_folder_passes_on_what_may_be_bad(tmp_path, paths):
    for name in ("red", "blue"):
        (tmp_path / "root" / name).mkdir(parents=True)
        for index in range(20):
            (tmp_path / "root" / name / f"{index}.png").write_bytes(WHOLE["PNG"])
    data = ImageFolder(str(tmp_path / "root"), image_size=16, num_workers=0, max_bad=2)
    data.setup()

    assert [each.max_bad for each in data.datasets.values()] == [2, 2, 2]
    assert [data.run_seed] * 3 == [each.seed for each in data.datasets.values()]
    assert [data.datasets[name].augment for name in ("train", "val", "test")] == [True, False, False]


# Chance


@pytest.fixture
def whole_paths(paths):
    return [paths[index] for index in (0, 1, 2, 4, 5, 6)]


def drawn(dataset, num_workers: int) -> torch.Tensor:
    return torch.cat([batch["inputs"] for batch in batches(dataset, num_workers)])


def test_crops_are_those_of_seed_epoch_and_sample_whoever_reads(whole_paths):
    first, again = photos(whole_paths, seed=1), photos(whole_paths, seed=1)
    torch.manual_seed(0)
    alone = drawn(first, 0)
    torch.manual_seed(5)

    assert torch.equal(alone, drawn(again, 2))
    assert torch.equal(alone[4], again[4]["inputs"])
    assert not torch.equal(alone, drawn(photos(whole_paths, seed=2), 0))
    # Each sample has its own, though the files are the same.
    assert len({each.numpy().tobytes() for each in alone}) == 6


def test_workers_that_live_on_see_the_next_epoch(whole_paths):
    dataset = photos(whole_paths, seed=1)
    loader = DataLoader(dataset, batch_size=3, num_workers=2, collate_fn=whole_batch, persistent_workers=True)
    seen = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        seen.append(torch.cat([batch["inputs"] for batch in loader]))

    assert torch.equal(seen[0], seen[2])
    assert not any(torch.equal(*pair) for pair in zip(seen[0], seen[1], strict=True))


def test_reading_images_takes_nothing_from_the_chance_of_the_training(whole_paths):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    photos(whole_paths).__getitems__([0, 1, 2])

    assert torch.equal(expected, torch.rand(2))


# Labels

NAMES = ["cat", "dog", "owl"]


@pytest.mark.parametrize("kind", [list, torch.tensor])
@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1, 2, 3], "A label is 0 to 2, one for each class, but sample 3 of the train split has 3: correct it"),
        ([0, -1, 1, 2], "sample 1 of the train split has -1"),
        ([0.0, 1.0, 2.0], "sample 0 of the train split has 0.0"),
        ([0, 0, 2], "Each class needs a training sample, but dog has none: add some, or leave it out"),
        ([1, 1], "Each class needs a training sample, but cat, owl has none"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(kind, labels, expected):
    with pytest.raises(ValueError, match=expected):
        require_labels("train", kind(labels), NAMES)


def test_a_class_alone_is_refused():
    with pytest.raises(ValueError, match="A classifier needs two classes or more, but the data has .'cat'."):
        require_labels("train", [0, 0], ["cat"])


def test_validation_may_lack_a_class():
    require_labels("val", [0, 2], NAMES)
    require_labels("train", torch.tensor([2, 1, 0]), NAMES)


def test_a_million_labels_take_no_time():
    labels = torch.arange(1_000_000) % 3
    start = time.perf_counter()
    require_labels("train", labels, NAMES)

    assert time.perf_counter() - start < 0.5


def test_a_class_folder_without_images_is_named(tmp_path):
    for name in NAMES:
        (tmp_path / name).mkdir()
    (tmp_path / "cat" / "0.png").write_bytes(WHOLE["PNG"])

    with pytest.raises(ValueError, match="dog holds no image: give a folder or file with one of .jpg"):
        ImageFolder(str(tmp_path)).setup()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"text": "x", "label": 5}, "names 2 classes, which are the labels 0 to 1, but has the label 5"),
        ({"text": None, "label": 1}, "has rows without a text in column 'text' of its split 'train'"),
    ],
)
def test_a_damaged_set_of_the_hub_is_refused(tmp_path, monkeypatch, row, expected):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list([*GOOD, row])
    table.features["label"] = table.info.features["label"] = datasets.ClassLabel(names=["bad", "good"])
    data = HubText("set", test_split=None)
    monkeypatch.setattr(data, "_download", lambda: {"train": table})

    with pytest.raises(ValueError, match=expected):
        data.setup()


# Loader processes


class Ending(Dataset):
    """Samples whose reading ends the process, or takes too long."""

    def __init__(self, end):
        self.end = end

    def __len__(self):
        return 1

    def __getitem__(self, index):
        self.end()
        return torch.zeros(1)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (
            lambda: os.kill(os.getpid(), signal.SIGKILL),
            "The system killed a loader process, most likely because memory",
        ),
        (lambda: os.kill(os.getpid(), signal.SIGBUS), "shared memory .* is full: give fewer data.num_workers"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), "ended by the signal Segmentation fault: data.num_workers=0"),
        (lambda: os._exit(1), "ended without a word: data.num_workers=0 shows the error itself"),
        (lambda: time.sleep(60), "gave no batch for 1 seconds: see whether the disk of the data answers"),
    ],
)
def test_the_end_of_a_loader_process_is_explained(end, expected):
    with pytest.raises(RuntimeError) as caught:
        list(DataLoader(Ending(end), num_workers=1, timeout=1))

    assert worker_fault(caught.value) is not None
    with pytest.raises(ValueError, match=expected):
        raise ValueError(worker_fault(caught.value))
    assert len(str(worker_fault(caught.value)).splitlines()) == 1


def test_other_errors_are_left_to_others():
    assert worker_fault(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert worker_fault(ValueError("Caught ValueError in DataLoader worker process 0.\nValueError: x")) is None
