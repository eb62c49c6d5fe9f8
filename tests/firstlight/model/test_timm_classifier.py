"""Networks of timm by name: heads, weights, images as the weights expect them, training and export."""

import pytest
import torch

from firstlight import build
from firstlight.config.validate import validate_config
from firstlight.model import timm_classifier
from firstlight.model.timm_classifier import TimmClassifier
from firstlight.run.errors import CheckpointError, ConfigError, MissingPackageError
from support.networks import check_network, check_overfits, make_network_overrides

CLASSES = ["a", "b", "c"]
FAMILIES = {
    "convnext_atto": 64,
    "edgenext_xx_small": 64,
    "efficientnet_b0": 64,
    "levit_128s": 224,
    "mixer_s32_224": 224,
    "mobilenetv4_conv_small": 64,
    "poolformer_s12": 64,
    "regnety_002": 64,
    "swin_tiny_patch4_window7_224": 224,
    "vit_tiny_patch16_224": 224,
    "xcit_nano_12_p16_224": 224,
}


@pytest.fixture
def timm():
    return pytest.importorskip("timm", reason="the extra timm is not installed")


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("name", ["convnext_atto", "regnety_002"])
def test_network_overfits_single_batch(compose_cfg, name):
    overrides = [f"model.name={name}", "data.image_size=32"]
    check_overfits(compose_cfg, make_network_overrides("timm", *overrides), max_epochs=20)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("name", FAMILIES)
def test_network_trains_and_exports(compose_cfg, tmp_path, name):
    overrides = [f"model.name={name}", f"data.image_size={FAMILIES[name]}"]
    print(check_network(compose_cfg, make_network_overrides("timm", *overrides), tmp_path / "export"))


def test_pretrained_weights_and_their_license_are_reported(timm, tmp_path, capsys):
    published = timm.create_model("convnext_atto").state_dict()
    torch.save(published, tmp_path / "weights.pt")
    overlay = {"pretrained_cfg_overlay": {"file": str(tmp_path / "weights.pt")}}
    model = TimmClassifier(CLASSES, "convnext_atto.d2_in1k", weights="pretrained", network_kwargs=overlay)
    line = f"{len(published) - 2} of {len(published)} tensors loaded, 2 newly initialized (head), 2 left over"

    assert torch.equal(published["stem.0.weight"], model.network.stem[0].weight)
    assert f"{line}; convnext_atto.d2_in1k, license apache-2.0\n" in capsys.readouterr().err


def test_pretrained_network_loads_into_network_with_random_weights(timm, tmp_path):
    torch.save(timm.create_model("vit_tiny_patch16_224").state_dict(), tmp_path / "weights.pt")
    overlay = {"pretrained_cfg_overlay": {"file": str(tmp_path / "weights.pt")}}
    kwargs = {"name": "vit_tiny_patch16_224", "network_kwargs": overlay}
    model = TimmClassifier(CLASSES, **kwargs, weights="pretrained")
    rebuilt = TimmClassifier(CLASSES, **{**kwargs, **model.get_load_overrides()})

    rebuilt.load_state_dict(model.state_dict())
    assert model.input_mean == rebuilt.input_mean == [0.5, 0.5, 0.5]


def test_weights_are_loaded_from_file(timm, tmp_path, capsys):
    published = timm.create_model("regnety_002").state_dict()
    torch.save(published, tmp_path / "weights.pt")
    model = TimmClassifier(CLASSES, "regnety_002", weights=str(tmp_path / "weights.pt"))

    assert torch.equal(published["stem.conv.weight"], model.network.stem.conv.weight)
    assert "2 newly initialized (head), 2 left over" in capsys.readouterr().err


@pytest.mark.usefixtures("timm")
def test_unavailable_weights_are_reported():
    with pytest.raises(
        CheckpointError, match="for model.name=regnety_002: it is not .*`hf download timm/regnety_002.pycls_in1k model"
    ):
        TimmClassifier(CLASSES, "regnety_002", weights="pretrained")


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"name": "convnext_tinny"}, "Unknown model.name 'convnext_tinny'. Did you mean convnext_tiny,"),
        ({"name": "zzz"}, r"Unknown model.name 'zzz'. timm.list_models\(\) lists all"),
        ({"name": "resnet18.a9_in1k"}, "Unknown model.name 'resnet18.a9_in1k'. Did you mean resnet18.a"),
        ({"name": "resnet18", "weights": "absent.pt"}, "model.weights: expected pretrained, an existing file or null"),
    ],
)
def test_unknown_names_are_rejected(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        TimmClassifier(CLASSES, **kwargs)


@pytest.mark.usefixtures("timm")
def test_fixed_input_size_is_required(compose_cfg):
    cfg = compose_cfg(*make_network_overrides("timm", "model.name=vit_tiny_patch16_224"))

    with pytest.raises(ConfigError, match="expected 224, the input size of vit_tiny_patch16_224, got 32. Set data.im"):
        build.build(cfg)


@pytest.mark.usefixtures("timm")
def test_other_input_size_can_be_set():
    model = TimmClassifier(CLASSES, "vit_tiny_patch16_224", network_kwargs={"img_size": 32})

    assert model.input_size == 32
    assert tuple(model(torch.zeros(2, 3, 32, 32)).shape) == (2, 3)


@pytest.mark.usefixtures("timm")
def test_images_are_normalized_as_model_states(compose_cfg):
    overrides = ["model.name=vit_tiny_patch16_224", "model.network_kwargs={img_size: 32}"]
    _, data, trainer = build.build(compose_cfg(*make_network_overrides("timm", *overrides)))
    trainer.training = True
    data.trainer = trainer
    batch = next(iter(data.train_dataloader()))
    normalized = data.on_after_batch_transfer(batch, 0)["inputs"]

    torch.testing.assert_close(normalized, batch["inputs"] / 127.5 - 1, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("timm")
def test_frozen_backbone_trains_only_the_head():
    model = TimmClassifier(CLASSES, "regnety_002", freeze_backbone=True)

    assert [name for name, param in model.network.named_parameters() if param.requires_grad] == [
        "head.fc.weight",
        "head.fc.bias",
    ]


def test_missing_package_is_reported_before_data_is_read(compose_cfg, monkeypatch):
    monkeypatch.setattr("firstlight.config.validate.is_installed", lambda name: name != "timm")

    with pytest.raises(MissingPackageError, match=r"TimmClassifier requires the 'timm' package, .* with `make setup`"):
        validate_config(compose_cfg("model=timm"))
    monkeypatch.setattr(timm_classifier, "is_installed", lambda name: False)
    with pytest.raises(MissingPackageError, match="model=timm requires the 'timm' package"):
        TimmClassifier(CLASSES, "resnet18")
