"""Tests of format=safetensors: transformers loads its own networks, the model's class loads any other network."""

import json

import pytest
import torch

from firstlight.export import safetensors
from firstlight.export.source import ExportSource, InputSpec
from firstlight.model.classifier import Classifier
from support.exports import load_without_firstlight
from support.tiny_models import TinyMLP
from support.tiny_training import CLASSES


class WrapperClassifier(Classifier):
    """A classifier with a network of another library."""

    modality = "text"

    def __init__(self, network):
        super().__init__(CLASSES)
        self.network = network

    def forward(self, inputs):
        return self.network(**inputs).logits


def check_exported_logits(model, inputs, descriptions, output_dir) -> dict:
    """Export a model, compare its logits with the logits of the loaded file, and return the metadata."""
    source = ExportSource(
        model.eval(), InputSpec(lambda *_: inputs, descriptions, {}), "last.ckpt", {"model": {"_target_": "x"}}
    )
    safetensors.export_model(source, output_dir)
    with torch.no_grad():
        expected = model(inputs)
    actual = load_without_firstlight(output_dir, "config.json", source.inputs.name_inputs(inputs))

    # Other programs add float32 numbers in another order.
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
    return json.loads((output_dir / "config.json").read_text())


@pytest.mark.slow
def test_transformers_network_loads_with_from_pretrained(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ElectraConfig(
        vocab_size=32,
        embedding_size=16,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=2,
    )
    model = WrapperClassifier(transformers.ElectraForSequenceClassification(config))
    inputs = {"input_ids": torch.ones(2, 5).long(), "attention_mask": torch.ones(2, 5).long()}
    metadata = check_exported_logits(model, inputs, dict.fromkeys(inputs, "tokens"), tmp_path)

    assert metadata["id2label"] == {"0": "class 0", "1": "class 1"}
    assert 'AutoModelForSequenceClassification.from_pretrained(".")' in "\n".join(metadata["export"]["load"])


def test_custom_network_loads_with_its_class(tmp_path):
    kwargs = {"class_names": CLASSES, "image_size": 2}
    inputs = InputSpec(lambda batch_size, length: torch.randn(batch_size, 3, 2, 2), {"images": "pixels"}, {})
    source = ExportSource(TinyMLP(CLASSES, 2).eval(), inputs, "last.ckpt", {"model": {"_target_": "x"}}, kwargs)
    verified = safetensors.export_model(source, tmp_path)
    namespace = {"images": inputs.sample(3, 0)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec("\n".join(json.loads((tmp_path / "config.json").read_text())["load"]), namespace)

    assert "bitwise identical" in verified
    with torch.no_grad():
        torch.testing.assert_close(namespace["logits"], source.model(namespace["images"]), rtol=0, atol=0)
