"""A run with LoRA adapters: every command loads its checkpoint, and every export contains a plain network."""

import csv

import pytest
import torch

from firstlight import evaluate, predict, train
from firstlight.checkpoint.io import load_checkpoint
from firstlight.config.compose import compose_config
from firstlight.model.load import load_model
from support.exports import run_export
from support.interruption import read_record
from support.resume_matrix import TEXT_BASE
from support.resume_rows import LORA

transformers = pytest.importorskip("transformers", reason="the extra text is not installed")
pytest.importorskip("peft", reason="the extra lora is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lora_run(tmp_path_factory):
    """A run directory, inputs by name, and the logits of the network with its adapters."""
    run_dir = tmp_path_factory.mktemp("lora") / "run"
    train.main(compose_config("train", [*TEXT_BASE, *LORA, "trainer.max_epochs=2", f"output_dir={run_dir}"]))
    model = load_model(load_checkpoint(run_dir / "checkpoints" / "last.ckpt")).eval()
    mask = torch.tensor([[1] * 20, [1] * 5 + [0] * 15])
    inputs = {"input_ids": torch.randint(len(model.tokenizer), (2, 20)) * mask, "attention_mask": mask}
    with torch.no_grad():
        return run_dir, inputs, model(inputs)


def load_exported(format, directory, inputs):
    """Return the logits of an exported network."""
    if format == "safetensors":
        network, info = transformers.AutoModelForSequenceClassification.from_pretrained(
            directory, output_loading_info=True
        )
        assert not info["missing_keys"]
        assert not info["unexpected_keys"]
        with torch.no_grad():
            return network.eval()(**inputs).logits
    if format == "torch":
        return torch.export.load(directory / "model.pt2").module()(inputs)
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")
    session = onnxruntime.InferenceSession(str(directory / "model.onnx"))
    return torch.from_numpy(session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0])


@pytest.mark.parametrize("format", ["torch", "onnx", "safetensors"])
def test_export_equals_network_with_adapters(lora_run, tmp_path, format):
    run_dir, inputs, expected = lora_run
    run_export(run_dir, tmp_path, f"format={format}")

    # The sum of two products is rounded differently.
    torch.testing.assert_close(load_exported(format, tmp_path, inputs), expected, atol=1e-5, rtol=1e-4)


def test_evaluate_and_predict_load_the_adapters(lora_run, tmp_path):
    run_dir = lora_run[0]
    (tmp_path / "texts.csv").write_text("text\na text\nanother text\n")
    metrics = evaluate.main(compose_config("evaluate", [f"run={run_dir}"]))["metrics"]
    output = tmp_path / "predictions.csv"
    predict.main(compose_config("predict", [f"run={run_dir}", f"input={tmp_path / 'texts.csv'}", f"output={output}"]))

    assert metrics["test/loss"] == read_record(run_dir)["metrics"]["test/loss"]
    assert len(list(csv.DictReader(output.open()))) == 2
