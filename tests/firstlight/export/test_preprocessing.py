"""Tests of the preprocessing of an export: other programs get the inputs, and the answers, of predict."""

import csv
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from firstlight import predict
from firstlight.config.compose import compose_config
from firstlight.data.fake_images import FakeImageDataModule
from firstlight.data.normalization import normalize
from firstlight.data.tokenization import tokenize
from firstlight.data.unlabeled_images import UnlabeledImageDataset
from firstlight.export.preprocessing import limit_length, make_image_program
from support.exports import run_export, train_for_export
from support.options import get_tiny_model


def write_images(directory):
    """Write large, small, rotated, transparent and gray images; return their paths."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    photo = Image.fromarray(pixels).resize((1600, 900))
    rotated = Image.Exif()
    rotated[0x0112] = 6  # rotated by 90 degrees
    photo.save(directory / "large.jpg", exif=rotated)
    photo.convert("RGBA").rotate(30).save(directory / "transparent.png")
    photo.convert("L").resize((31, 77)).save(directory / "gray.png")
    photo.convert("P").resize((20, 10)).save(directory / "palette.gif")
    return sorted(directory.iterdir())


@pytest.mark.parametrize("size", [32, 96])
def test_images_are_read_as_in_predict(size, tmp_path):
    paths = write_images(tmp_path)
    data = FakeImageDataModule(num_classes=2, num_samples=8, image_size=size)
    data.set_normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    program = make_image_program(data)
    namespace = {}
    exec(program, namespace)
    expected = UnlabeledImageDataset(paths, size).__getitems__(range(len(paths)))["inputs"]

    assert "import firstlight" not in program
    assert "from firstlight" not in program
    for image, path in zip(expected, paths, strict=True):
        actual = namespace["load_image"](str(path))
        torch.testing.assert_close(actual, normalize(image[None], data.mean, data.std), rtol=0, atol=0)


def test_unreadable_image_is_named(tmp_path):
    namespace = {}
    exec(make_image_program(FakeImageDataModule(num_classes=2, num_samples=8)), namespace)
    with pytest.raises(ValueError, match="Cannot read image .*none.png"):
        namespace["load_image"](tmp_path / "none.png")


@pytest.mark.usefixtures("requires_text_packages")
@pytest.mark.parametrize("fixed_length", [None, 9])
def test_texts_are_truncated_and_padded_as_in_predict(fixed_length, tmp_path):
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    from firstlight.data.word_tokenizer import build_word_tokenizer

    tokenizer = build_word_tokenizer(["the", "cat", "sat"])
    limit_length(tokenizer, 9, fixed_length).save_pretrained(tmp_path)
    texts = ["the cat", "the cat sat " * 1000, "a dog " * 50]
    expected = [row.tolist() for row in split_rows(tokenize(texts, tokenizer, 9))]
    encoded = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode_batch(texts)

    assert [[*row, *[tokenizer.pad_token_id] * (9 - len(row))] for row in expected] == [row.ids for row in encoded]
    assert [sum(row.attention_mask) for row in encoded] == list(map(len, expected))
    assert AutoTokenizer.from_pretrained(tmp_path)(texts, truncation=True)["input_ids"] == expected
    # The tokenizer of the model itself does not change.
    assert len(tokenizer(texts[1])["input_ids"]) > 1000


def split_rows(tokens):
    return torch.tensor_split(tokens.values, tokens.offsets[1:-1])


PROGRAM = """
import csv, sys
sys.modules["firstlight"] = None
import torch
from pathlib import Path
model = torch.export.load("model.pt2").module()
if Path("preprocess.py").exists():
    from preprocess import load_image
    batches = [load_image(path) for path in sys.argv[1:]]
else:
    from tokenizers import Tokenizer
    encoded = [Tokenizer.from_file("tokenizer.json").encode(text) for text in sys.argv[1:]]
    batches = [{"input_ids": torch.tensor([row.ids]), "attention_mask": torch.tensor([row.attention_mask])}
               for row in encoded]
print(*[float(model(batch).softmax(1).max()) for batch in batches])
"""


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["images", "text"])
def test_exported_model_gives_the_answers_of_predict_in_another_process(modality, tmp_path):
    run_dir, _, _ = train_for_export(get_tiny_model(modality), tmp_path / "run")
    run_export(run_dir, tmp_path / "export")
    (tmp_path / "inputs").mkdir()
    source = tmp_path / "inputs"
    inputs = ["word1 word2 " * 500, "word3"]
    if modality == "images":
        inputs = list(map(str, write_images(source)))
    else:
        source = source / "texts.csv"
        source.write_text("text\n" + "\n".join(inputs))
    overrides = [f"run={run_dir}", "ckpt=last", f"input={source}", f"output={tmp_path / 'p.csv'}"]
    predict.main(compose_config("predict", overrides))
    with (tmp_path / "p.csv").open() as file:
        expected = [float(row["probability"]) for row in csv.DictReader(file)]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", PROGRAM, *inputs]
    done = subprocess.run(command, cwd=tmp_path / "export", env=env, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    # Predictions have six decimals.
    assert list(map(float, done.stdout.split())) == pytest.approx(expected, abs=2e-5)
