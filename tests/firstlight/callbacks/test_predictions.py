"""predictions.json contains the samples with the highest error scores of the test split."""

import json

import torch

from firstlight.callbacks.predictions import PredictionSamples, compute_error_scores
from firstlight.callbacks.top_samples import EXCLUDED
from support.tiny_training import build_tiny


def test_error_scores_are_negative_probabilities_of_correct_predictions():
    logits = torch.tensor([[0.0, 0.0], [3.0, 0.0], [3.0, 0.0]]) * torch.tensor(1.0).log1p()  # 1 : 1, 8 : 1, 8 : 1
    scores = compute_error_scores(logits, torch.tensor([0, 0, 1]))

    torch.testing.assert_close(scores, torch.tensor([-1 / 2, -8 / 9, 8 / 9]))


def test_padding_and_undefined_logits_are_excluded():
    logits = torch.tensor([[9.0, 0.0], [float("nan"), 0.0], [9.0, 0.0]])

    assert compute_error_scores(logits, torch.tensor([-100, 0, 1])).tolist()[:2] == [EXCLUDED, EXCLUDED]
    assert compute_error_scores(logits, torch.tensor([-100, 0, 1]))[2] > 0.99


def run_test(callback, batches, model, trainer):
    """Call the hooks of a test with batches and their logits."""
    callback.on_test_start(trainer, model)
    for index, (logits, batch) in enumerate(batches):
        callback.on_test_batch_end(trainer, model, logits, batch, index)
    callback.on_test_end(trainer, model)


def test_samples_of_all_batches_are_sorted_and_padding_is_left_out(compose_cfg, tmp_path):
    model, data, trainer, _ = build_tiny(compose_cfg)
    trainer.datamodule = data
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, 2, generator=generator)
    labels = torch.randint(2, (40,), generator=generator)
    images = torch.randint(256, (40, 3, 2, 2), generator=generator, dtype=torch.uint8)
    labels[38:] = -100
    inputs = (images / 255 - torch.tensor(data.mean).view(3, 1, 1)) / torch.tensor(data.std).view(3, 1, 1)
    ids = torch.arange(40).where(labels >= 0, torch.tensor(-1))
    batches = [
        (logits[rows], {"inputs": inputs[rows], "labels": labels[rows], "ids": ids[rows]})
        for rows in torch.arange(40).split(16)
    ]
    run_test(PredictionSamples(str(tmp_path), num_samples=36), batches, model, trainer)

    probabilities, predicted = logits.softmax(1).max(1)
    scores = torch.where(predicted == labels, -probabilities, probabilities)
    expected = sorted(range(38), key=lambda index: -scores[index])[:36]
    samples = json.loads((tmp_path / "predictions.json").read_text())
    assert samples == [
        {
            "id": index,
            "true": f"class {labels[index]}",
            "predicted": f"class {predicted[index]}",
            "probability": float(probabilities[index]),
            "image": f"predictions/{position}.png",
        }
        for position, index in enumerate(expected)
    ]
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor

    first = pil_to_tensor(Image.open(tmp_path / "predictions" / "0.png"))
    torch.testing.assert_close(first, images[expected[0]], rtol=0, atol=0)


def test_texts_of_batches_with_different_lengths_are_complete(compose_cfg, tmp_path, requires_text_packages):
    cfg = ["model=tiny_text", "data=fake_text", "data.num_samples=64", "data.num_classes=2", "data.batch_size=4"]
    cfg += ["data.pad_to_multiple_of=1", "trainer=cpu", "trainer.precision=32-true", "logger=none"]
    from firstlight import build

    model, data, trainer = build.build(compose_cfg(*cfg))
    trainer.test(model, data, verbose=False)

    dataset = data.datasets["test"]
    samples = json.loads((tmp_path / "run" / "predictions.json").read_text())
    assert len(samples) == 16
    for sample in samples:
        tokens = dataset.__getitems__([sample["id"]])["inputs"]["input_ids"][0]
        assert sample["text"] == model.tokenizer.decode(tokens, skip_special_tokens=True)
