"""A network of transformers is loaded by that library alone, any other by the class of its model."""

import json

import pytest
import torch

from firstlight.export import safetensors
from firstlight.export.source import ExportSource, InputSpec
from firstlight.model.classifier import Classifier
from support.exports import load_without_firstlight
from support.tiny_models import TinyMLP
from support.tiny_training import CLASSES


class Wrapped(Classifier):
    """A network of another library's."""

    modality = "text"

    def __init__(self, network):
        super().__init__(CLASSES, 0.0, None, None)
        self.network = network

    def forward(self, inputs):
        return self.network(**inputs).logits


def require_the_same(model, inputs, meaning, folder) -> dict:
    """Export a model, hold what a stranger gets against its logits, and return the description."""
    source = ExportSource(
        model.eval(), InputSpec(lambda *_: inputs, meaning, {}), "last.ckpt", {"model": {"_target_": "x"}}
    )
    safetensors.export_model(source, folder)
    with torch.no_grad():
        expected = model(inputs)
    found = load_without_firstlight(folder, "config.json", source.inputs.named(inputs))

    # float32, in another program added up in another order.
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    return json.loads((folder / "config.json").read_text())


@pytest.mark.slow
def test_a_network_of_transformers_becomes_a_folder_of_theirs(tmp_path):
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
    model = Wrapped(transformers.ElectraForSequenceClassification(config))
    inputs = {"input_ids": torch.ones(2, 5).long(), "attention_mask": torch.ones(2, 5).long()}
    told = require_the_same(model, inputs, dict.fromkeys(inputs, "tokens"), tmp_path)

    assert told["id2label"] == {"0": "class 0", "1": "class 1"}
    assert 'AutoModelForSequenceClassification.from_pretrained(".")' in "\n".join(told["export"]["load"])


def test_any_other_network_is_loaded_by_its_own_class(tmp_path):
    inputs = InputSpec(lambda count, length: torch.randn(count, 3, 2, 2), {"images": "pixels"}, {})
    source = ExportSource(TinyMLP(CLASSES, 2).eval(), inputs, "last.ckpt", {"model": {"_target_": "x"}})
    checked = safetensors.export_model(source, tmp_path)
    found = {"images": inputs.sample(3, 0)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec("\n".join(json.loads((tmp_path / "config.json").read_text())["load"]), found)

    assert "equal to the last bit" in checked
    with torch.no_grad():
        torch.testing.assert_close(found["logits"], source.model(found["images"]), rtol=0, atol=0)
