"""Learning rates with `layer_decay`: each equals the base rate times a power of the factor, computed by hand."""

import pytest

from firstlight.model.optimizer import build_optimizer
from firstlight.model.torchvision_classifier import TorchvisionClassifier
from firstlight.run.packages import is_installed
from support.layered import list_rates

needs_timm = pytest.mark.skipif(not is_installed("timm"), reason="timm is not installed")
ADAMW = {"_target_": "torch.optim.AdamW", "lr": 0.003, "weight_decay": 0.5, "layer_decay": 0.75}


@needs_timm
def test_learning_rates_of_residual_network_equal_powers_of_the_decay():
    model = TorchvisionClassifier(["a", "b"], "resnet18")
    rates = list_rates(model, build_optimizer(model, ADAMW, fused=False))
    # From the top: fc, 8 blocks, conv1 and bn1.
    expected = {"network.fc.bias": 0, "network.layer4.1.conv2.weight": 1, "network.layer1.0.bn1.weight": 8}
    expected |= {"network.conv1.weight": 9, "network.bn1.bias": 9}

    assert {name: rates[name] for name in expected} == {
        name: 0.003 * 0.75**distance for name, distance in expected.items()
    }
    assert len(rates) == len(list(model.parameters()))


@needs_timm
def test_learning_rates_of_vision_transformer_equal_powers_of_the_decay():
    import timm

    sizes = {"embed_dim": 16, "depth": 3, "num_heads": 2, "img_size": 32, "num_classes": 2}
    model = timm.create_model("vit_tiny_patch16_224", **sizes)
    rates = list_rates(model, build_optimizer(model, ADAMW, fused=False))
    expected = {"head.weight": 0, "norm.weight": 1, "blocks.2.attn.qkv.weight": 1, "blocks.0.mlp.fc1.bias": 3}
    expected |= {"pos_embed": 4, "patch_embed.proj.weight": 4}

    assert {name: rates[name] for name in expected} == {
        name: 0.003 * 0.75**distance for name, distance in expected.items()
    }


@needs_timm
@pytest.mark.parametrize(
    ("architecture", "config", "expected"),
    [
        (
            "distilbert",
            {"n_layers": 2, "dim": 16, "n_heads": 2, "hidden_dim": 16, "vocab_size": 30},
            {
                "classifier.weight": 0,
                "distilbert.transformer.layer.1.attention.q_lin.weight": 1,
                "distilbert.transformer.layer.0.ffn.lin1.bias": 2,
                "distilbert.embeddings.word_embeddings.weight": 3,
            },
        ),
        (
            "gpt2",
            {"n_layer": 2, "n_embd": 16, "n_head": 2, "vocab_size": 30, "bos_token_id": 1, "eos_token_id": 1},
            {
                "score.weight": 0,
                "transformer.ln_f.bias": 0,
                "transformer.h.1.attn.c_attn.weight": 1,
                "transformer.h.0.ln_1.weight": 2,
                "transformer.wpe.weight": 3,
            },
        ),
    ],
    ids=["distilbert", "gpt2"],
)
def test_learning_rates_of_transformers_equal_powers_of_the_decay(architecture, config, expected):
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(architecture, **config)
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    optimizer = build_optimizer(model, ADAMW, fused=False)
    rates = list_rates(model, optimizer)

    assert {name: rates[name] for name in expected} == {
        name: 0.003 * 0.75**distance for name, distance in expected.items()
    }
    for group in optimizer.param_groups:
        assert {param.ndim > 1 for param in group["params"]} == {group["weight_decay"] == 0.5}
