"""LoRA: the merged weights are W + alpha / rank * B A, and only the adapters and the head are trained."""

import pytest
import torch
from torch import nn

from firstlight.config.validate import validate_config
from firstlight.model.freezing import apply_freeze_patterns
from firstlight.model.init_from import init_from_file
from firstlight.run.errors import CheckpointError, ConfigError, MissingPackageError

pytest.importorskip("transformers", reason="the extra text is not installed")
pytest.importorskip("peft", reason="the extra lora is not installed")

from firstlight.model.text_classifier import TextClassifier

SIZE = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
ENCODER_LAYER = "network.roberta.encoder.layer.{}.attention.self.{}"


def build_model(architecture="roberta", **settings):
    """Return a tiny text classifier with the same weights in each call; B is set to random values."""
    torch.manual_seed(0)
    sizes = {name: value for name, value in SIZE.items() if architecture == "roberta" or name != "intermediate_size"}
    model = TextClassifier(["a", "b"], ["x", "y"], architecture=architecture, config_overrides=sizes, **settings)
    for name, param in model.named_parameters():
        if ".lora_B." in name:
            nn.init.normal_(param)
    return model.eval()


def compute_logits(model):
    """Return the logits of two texts."""
    tokens = model.tokenizer(["x y", "y x x"], padding=True, return_tensors="pt")
    with torch.no_grad():
        return model({name: tokens[name] for name in ("input_ids", "attention_mask")})


def test_merged_weight_is_sum_of_weight_and_scaled_product():
    before = build_model(lora_rank=2, lora_alpha=6).state_dict()
    model = build_model(lora_rank=2, lora_alpha=6)
    model.prepare_for_export()
    after = model.state_dict()

    assert after.keys() == build_model().state_dict().keys()
    for layer in range(2):
        for name in ("query", "value"):
            path = ENCODER_LAYER.format(layer, name)
            down, up = (before[f"{path}.lora_{matrix}.default.weight"].double() for matrix in "AB")
            expected = before[f"{path}.base_layer.weight"].double() + 6 / 2 * up @ down
            torch.testing.assert_close(after[f"{path}.weight"].double(), expected, rtol=0, atol=1e-6)
            assert not torch.equal(after[f"{path}.weight"], before[f"{path}.base_layer.weight"])


@pytest.mark.parametrize("architecture", ["roberta", "distilbert", "gpt2", "deberta-v2"])
def test_merged_network_returns_the_same_logits(architecture):
    model = build_model(architecture, lora_rank=2)
    expected = compute_logits(model)
    model.prepare_for_export()

    # The sum of two products is rounded differently.
    torch.testing.assert_close(compute_logits(model), expected, rtol=0, atol=1e-5)
    assert not torch.equal(expected, compute_logits(build_model(architecture)))


@pytest.mark.parametrize(
    ("targets", "shapes"),
    [(None, [(8, 8)] * 4), (["query"], [(8, 8)] * 2), ("all-linear", [*[(8, 8)] * 8, *[(8, 12), (12, 8)] * 2])],
)
def test_number_of_trainable_parameters(targets, shapes):
    rank, head = 3, 8 * 8 + 8 + 8 * 2 + 2
    model = build_model(lora_rank=rank, lora_target_modules=targets)
    trainable = {name: param.numel() for name, param in model.named_parameters() if param.requires_grad}

    assert sum(trainable.values()) == sum(rank * sum(shape) for shape in shapes) + head
    assert [name for name in trainable if ".lora_" not in name] == [
        "network.classifier.dense.weight",
        "network.classifier.dense.bias",
        "network.classifier.out_proj.weight",
        "network.classifier.out_proj.bias",
    ]


def test_new_adapters_do_not_change_the_network():
    torch.manual_seed(0)
    model = TextClassifier(["a", "b"], ["x", "y"], architecture="roberta", config_overrides=SIZE, lora_rank=2).eval()

    assert torch.equal(compute_logits(model), compute_logits(build_model()))


def test_init_from_loads_weights_without_adapters(tmp_path):
    torch.save(build_model().state_dict(), tmp_path / "plain.pt")
    torch.manual_seed(1)
    model = TextClassifier(["a", "b"], ["x", "y"], architecture="roberta", config_overrides=SIZE, lora_rank=2).eval()
    report = init_from_file(model, str(tmp_path / "plain.pt"), strict=False)

    assert report.unused == []
    assert all(".lora_" in name for name in report.initialized)
    assert torch.equal(compute_logits(model), compute_logits(build_model()))


def test_init_from_rejects_adapters_that_the_model_lacks(tmp_path):
    torch.save(build_model(lora_rank=2).state_dict(), tmp_path / "lora.pt")

    with pytest.raises(
        CheckpointError, match=r"has LoRA adapters, but this model has none\. Merge them with `make exp"
    ):
        init_from_file(build_model(), str(tmp_path / "lora.pt"), strict=False)


def test_frozen_adapters_are_rejected():
    model = build_model("roberta", lora_rank=2)
    apply_freeze_patterns(model, ["network.*.embeddings.*"], [])
    with pytest.raises(ConfigError, match=r"freeze=\[network.\*\] freezes all adapters of model.lora_rank, which"):
        apply_freeze_patterns(model, ["network.*"], ["*classifier*"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora_alpha": 4}, "model.lora_alpha=4 has no effect, because model.lora_rank is null. Set e.g."),
        ({"lora_dropout": 0.1}, "model.lora_dropout=0.1 has no effect"),
        ({"lora_target_modules": "all-linear"}, "model.lora_target_modules=all-linear has no effect"),
        (
            {"lora_rank": 2, "lora_target_modules": ["foo"]},
            r"model.lora_target_modules=\['foo'\] does not fit RobertaFor",
        ),
    ],
)
def test_invalid_settings_are_rejected(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_model(**settings)


def test_missing_extra_is_reported_before_the_data_is_loaded(compose_cfg, monkeypatch):
    monkeypatch.setattr("firstlight.config.switches.is_installed", lambda package: package != "peft")

    with pytest.raises(MissingPackageError, match=r"model\.lora_rank=8 requires the 'peft' package, .*'\.\[lora\]'"):
        validate_config(compose_cfg("model=text_classifier", "data=fake_text", "model.lora_rank=8"))
