"""The layers of networks of torchvision, timm and transformers, and of plain modules, compared with lists by hand."""

import pytest
import torch
import torchvision
from torch import nn

from firstlight.model.layers import assign_layers
from firstlight.run.packages import is_installed

SMALL = {"num_hidden_layers": 3, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 30}
needs_timm = pytest.mark.skipif(not is_installed("timm"), reason="timm is not installed")


def describe(network: nn.Module, depth: int) -> dict[str, set[int]]:
    """Return the layers of each module, which the first parts of the names of its parameters are."""
    found: dict[str, set[int]] = {}
    for name, layer in assign_layers(network).items():
        found.setdefault(".".join(name.split(".")[:depth]), set()).add(layer)
    return found


def build_vision(name: str) -> nn.Module:
    # These two would warn that they initialize their weights.
    kwargs = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        return torchvision.models.get_model(name, **kwargs)


def build_text(architecture: str, config: dict) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        config = transformers.AutoConfig.for_model(architecture, **config)
        return transformers.AutoModelForSequenceClassification.from_config(config)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)


class Graph(nn.Module):
    """A ModuleList of blocks and a ModuleList of norms, as in networks for graphs."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 4))
        self.convs = nn.ModuleList(Block() for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(4) for _ in range(3))
        self.head = nn.Linear(4, 2)


def test_residual_blocks_are_layers():
    found = describe(build_vision("resnet18"), 2)
    blocks = [f"layer{stage}.{index}" for stage in (1, 2, 3, 4) for index in (0, 1)]

    assert [found[block] for block in blocks] == [{layer} for layer in range(1, 9)]
    assert {name: layers for name, layers in found.items() if name not in blocks} == {
        **{name: {0} for name in ("conv1.weight", "bn1.weight", "bn1.bias")},
        **{name: {9} for name in ("fc.weight", "fc.bias")},
    }


def test_network_without_blocks_has_a_layer_per_weight_matrix():
    found = describe(build_vision("vgg11_bn"), 2)
    convolutions = [0, 4, 8, 11, 15, 18, 22, 25]

    assert [found[f"features.{index}"] for index in convolutions] == [{layer} for layer in range(8)]
    assert [found[f"features.{index + 1}"] for index in convolutions] == [{layer} for layer in range(8)]
    assert [found[f"classifier.{index}"] for index in (0, 3, 6)] == [{8}, {9}, {10}]


def test_single_blocks_of_a_repeated_class_are_layers():
    found = describe(build_vision("efficientnet_b0"), 3)

    # Stages of 1, 2, 2, 3, 3, 4 and 1 blocks.
    assert found["features.1.0"] == {1}
    assert found["features.7.0"] == {16}
    assert found["features.8.0"] == found["classifier.1.weight"] == {17}


def test_downsampling_belongs_to_the_next_block():
    found = describe(build_vision("convnext_tiny"), 3)

    assert found["features.1.2"] == {3}
    assert found["features.2.0"] == found["features.2.1"] == found["features.3.0"] == {4}


def test_auxiliary_heads_belong_to_the_last_layer():
    found = describe(build_vision("googlenet"), 1)

    # conv1 to conv3, and 9 Inception modules.
    assert (found["conv1"], found["conv2"], found["inception3a"], found["inception5b"]) == ({0}, {1}, {3}, {11})
    assert found["aux1"] == found["aux2"] == found["fc"] == {12}


@pytest.mark.parametrize(
    ("architecture", "config", "blocks", "first", "last"),
    [
        (
            "electra",
            SMALL,
            "electra.encoder.layer",
            ["electra.embeddings.word_embeddings"],
            ["classifier.out_proj.bias"],
        ),
        ("roberta", SMALL, "roberta.encoder.layer", ["roberta.embeddings.LayerNorm"], ["classifier.dense.weight"]),
        (
            "gpt2",
            {"n_layer": 3, "n_embd": 16, "n_head": 2, "vocab_size": 30, "bos_token_id": 1, "eos_token_id": 1},
            "transformer.h",
            ["transformer.wte.weight", "transformer.wpe.weight"],
            ["transformer.ln_f.weight", "score.weight"],
        ),
        (
            "mpnet",
            SMALL,
            "mpnet.encoder.layer",
            ["mpnet.embeddings.LayerNorm", "mpnet.encoder.relative_attention_bias"],
            ["classifier.dense.weight"],
        ),
    ],
    ids=["electra", "roberta", "gpt2", "mpnet"],
)
def test_layers_of_transformers(architecture, config, blocks, first, last):
    network = build_text(architecture, config)
    found = {name: layers for depth in (2, 3, 4) for name, layers in describe(network, depth).items()}

    assert [found[f"{blocks}.{index}"] for index in range(3)] == [{1}, {2}, {3}]
    assert [found[name] for name in first] == [{0}] * len(first)
    assert [found[name] for name in last] == [{4}] * len(last)


def test_shared_and_encoder_decoder_layers_of_transformers():
    shared = describe(build_text("albert", SMALL | {"embedding_size": 8}), 3)
    sizes = {"num_layers": 2, "d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 16, "vocab_size": 30}
    both = describe(build_text("t5", sizes), 4)

    assert shared["albert.encoder.albert_layer_groups"] == {1}
    assert shared["albert.pooler.weight"] == shared["classifier.weight"] == {2}
    stacks = [both[f"transformer.{stack}.block.{index}"] for stack in ("encoder", "decoder") for index in range(2)]
    assert stacks == [{1}, {2}, {3}, {4}]


@needs_timm
def test_networks_of_timm_define_their_layers():
    import timm

    sizes = {"embed_dim": 16, "depth": 3, "num_heads": 2, "img_size": 32, "num_classes": 2}
    network = timm.create_model("vit_tiny_patch16_224", **sizes)
    found = describe(network, 2)

    assert found["cls_token"] == found["pos_embed"] == found["patch_embed.proj"] == {0}
    assert [found[f"blocks.{index}"] for index in range(3)] == [{1}, {2}, {3}]
    assert (found["norm.weight"], found["head.weight"]) == ({3}, {4})
    with_head = nn.ModuleDict({"backbone": network, "head": nn.Linear(2, 2)})
    assert {*describe(with_head, 1)["head"], *describe(with_head, 3)["backbone.head.weight"]} == {4, 5}


def test_plain_modules():
    assert describe(Graph(), 2) == {
        "token": {0},
        **{f"{name}.{index}": {index + 1} for name in ("convs", "norms") for index in range(3)},
        "head.weight": {4},
        "head.bias": {4},
    }
    perceptron = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    assert describe(perceptron, 1) == {"0": {0}, "1": {0}, "3": {1}, "4": {2}}


def test_frozen_modules_do_not_count():
    network = nn.ModuleDict({"student": Graph(), "teacher": Graph(), "head": nn.Linear(4, 2)})
    network.teacher.requires_grad_(False)
    network.student.head.requires_grad_(False)
    found = describe(network, 3)

    assert [found[f"student.convs.{index}"] for index in range(3)] == [{1}, {2}, {3}]
    assert found["head.weight"] == {4}
    assert not any(name.startswith("teacher") for name in found)


@pytest.mark.slow
def test_every_network_of_torchvision_has_layers_from_input_to_output():
    # The builders of RegNet compute with tensors, which have no values on the meta device.
    names = [name for name in torchvision.models.list_models(module=torchvision.models) if "regnet" not in name]
    for name in names:
        layers = assign_layers(build_vision(name))
        order = [layer for parameter, layer in layers.items() if "Aux" not in parameter]

        assert order == sorted(order), name
        assert (order[0], order[-1]) == (0, max(layers.values())), name
        # DenseNets, and a MaxViT, consist of 4 large blocks.
        assert max(layers.values()) >= 5, name

    assert len(names) > 50
