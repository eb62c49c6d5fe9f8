"""Python code that comes with weights of BERT runs only if that was typed."""

import json

import pytest
import torch

from firstlight import build, evaluate, train
from firstlight.config.compose import composed as composed_from
from support.choices import tiny

from my_project.model.bert import Bert

TWO = ["a", "b"]

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def bert_folder(folder):
    """Save a tiny BERT, and return it."""
    model = Bert(TWO, vocabulary=["good", "bad"], weights=None, config=SMALL)
    model.network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return model


def add_code(folder, mark):
    """Let a saved BERT bring a class of its own, which touches a file as soon as it is imported."""
    (folder / "modeling_own.py").write_text(
        "from pathlib import Path\nfrom transformers import BertForSequenceClassification\n"
        f"Path({str(mark)!r}).touch()\nclass Own(BertForSequenceClassification):\n    pass\n"
    )
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "modeling_own.Own"}
    (folder / "config.json").write_text(json.dumps(config))


def test_code_that_comes_with_weights_is_refused(tmp_path):
    bert_folder(tmp_path / "bert")
    add_code(tmp_path / "bert", tmp_path / "mark")

    with pytest.raises(ValueError, match=r"brings Python code .*: read it and add model.allow_remote_code=true, or"):
        Bert(TWO, weights=str(tmp_path / "bert"))
    assert not (tmp_path / "mark").exists()


def test_code_that_comes_with_weights_runs_on_request(tmp_path, monkeypatch):
    # Where transformers copies such code to.
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    bert_folder(tmp_path / "bert")
    add_code(tmp_path / "bert", tmp_path / "mark")
    model = Bert(TWO, weights=str(tmp_path / "bert"), allow_remote_code=True)

    assert type(model.network).__name__ == "Own"
    assert (tmp_path / "mark").exists()


def test_consent_to_code_is_typed_again_for_each_command(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    bert_folder(tmp_path / "bert")
    add_code(tmp_path / "bert", tmp_path / "mark")
    words = [*tiny("bert"), f"model.weights={tmp_path / 'bert'}", "model.allow_remote_code=true"]
    words += ["model.freeze_layers=0", f"output_dir={tmp_path / 'run'}"]
    figures = train.main(composed_from("train", words))
    told = [f"run={tmp_path / 'run'}"]

    with pytest.raises(ValueError, match="brings Python code of its own"):
        evaluate.main(composed_from("evaluate", told))
    again = evaluate.main(composed_from("evaluate", [*told, "model.allow_remote_code=true"]))
    assert again["test/loss"] == figures["test/loss"]


def test_a_checkpoint_cannot_allow_code(tmp_path):
    bert_folder(tmp_path / "bert")
    add_code(tmp_path / "bert", tmp_path / "mark")
    settings = {"class_names": TWO, "weights": str(tmp_path / "bert"), "allow_remote_code": True}
    node = {"_target_": "my_project.model.bert.Bert"}
    saved = {"config": {"model": node}, "hyper_parameters": settings, "rebuild": settings, "state_dict": {}}
    torch.save(saved, tmp_path / "last.ckpt")

    with pytest.raises(ValueError, match="brings Python code of its own"):
        build.load_model(tmp_path / "last.ckpt")
    assert not (tmp_path / "mark").exists()


def test_weights_as_a_pickle_are_refused(tmp_path):
    model = bert_folder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.network.state_dict(), tmp_path / "pytorch_model.bin")

    with pytest.raises(ValueError, match=r"could not be loaded \(.*\): give a folder .* with weights as safetensors"):
        Bert(TWO, weights=str(tmp_path))
