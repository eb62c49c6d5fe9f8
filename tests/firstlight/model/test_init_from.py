"""A new model starts from the weights of another run, a checkpoint or a state dict."""

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from firstlight import build, train
from firstlight.config.compose import compose_config
from firstlight.config.validate import validate_config
from firstlight.model.init_from import init_from_file
from firstlight.run.errors import CheckpointError, ConfigError
from support.networks import TINY_DATA
from support.options import QUICK_OVERRIDES
from support.tiny_models import TinyImages

OVERRIDES = ["model=tiny_images", *TINY_DATA, *QUICK_OVERRIDES]


class Regressor(LightningModule):
    """A module that knows nothing of the engine."""

    def __init__(self, num_outputs: int = 2, width: int = 4) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(3, width), nn.Linear(width, num_outputs)


@pytest.fixture
def run_dir(compose_cfg, tmp_path):
    """Return a run directory with a best checkpoint of tiny_images."""
    train.main(compose_cfg(*OVERRIDES, "callbacks=default", run_dir="first"))
    return tmp_path / "first"


def read_best(run_dir):
    return torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]


def test_best_checkpoint_of_run_is_loaded(compose_cfg, run_dir, capsys):
    model, _, _ = build.build(compose_cfg(*OVERRIDES, f"init_from.path={run_dir}", "init_from.strict=true", "seed=1"))
    expected = read_best(run_dir)

    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    line = f"{len(expected)} of {len(expected)} tensors loaded, from {run_dir / 'checkpoints' / 'best.ckpt'}"
    assert line in capsys.readouterr().err


def test_head_for_other_classes_is_new(compose_cfg, run_dir, capsys):
    cfg = compose_cfg(*OVERRIDES, "data.num_classes=3", f"init_from.path={run_dir}")
    model, _, _ = build.build(cfg)

    assert torch.equal(model.network.block1[0].weight, read_best(run_dir)["network.block1.0.weight"])
    assert "2 newly initialized (head), 2 left over" in capsys.readouterr().err


def test_strict_requires_exact_match(compose_cfg, run_dir):
    cfg = compose_cfg(*OVERRIDES, "data.num_classes=3", f"init_from.path={run_dir}", "init_from.strict=true")

    with pytest.raises(CheckpointError, match="does not match TinyImages exactly .*; first: network.head.1.weight"):
        build.build(cfg)


def test_weights_of_other_model_are_rejected(compose_cfg, run_dir):
    cfg = compose_cfg(*OVERRIDES, "model=tiny_mlp", f"init_from.path={run_dir}")

    with pytest.raises(CheckpointError, match=r"best.ckpt is incompatible with this network: \d+ of \d+ tensors .* 0%"):
        build.build(cfg)


def test_checkpoint_is_loaded_without_its_initial_weights(compose_cfg, run_dir):
    overrides = [*OVERRIDES, "callbacks=default", f"init_from.path={run_dir}"]
    cfg = compose_cfg(*overrides, run_dir="second")
    train.main(cfg)
    (run_dir / "checkpoints" / "best.ckpt").unlink()

    build.build(cfg, f"{cfg.output_dir}/checkpoints/last.ckpt")


def test_state_dict_of_plain_module_is_loaded(tmp_path):
    source, model = Regressor(), Regressor(num_outputs=5)
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    report = init_from_file(model, str(tmp_path / "weights.pt"), strict=False)

    assert torch.equal(source.encoder.weight, model.encoder.weight)
    assert report.format() == "2 of 4 tensors loaded, 2 newly initialized (head), 2 left over"


def test_state_dict_of_network_is_loaded_into_task(tmp_path):
    from safetensors.torch import save_file

    source, model = (TinyImages(["a", "b"], image_size=8) for _ in range(2))
    save_file(source.network.state_dict(), tmp_path / "model.safetensors")
    init_from_file(model, str(tmp_path / "model.safetensors"), strict=True)

    assert torch.equal(source.network.block1[0].weight, model.network.block1[0].weight)


@pytest.mark.parametrize(
    ("path", "message"),
    [("absent", "init_from.path=.*absent does not exist"), ("", "init_from.path=.* has no checkpoint")],
)
def test_missing_weights_are_reported_before_data_is_read(compose_cfg, tmp_path, path, message):
    cfg = compose_cfg("model=tiny_images", "data=image_folder", f"init_from.path={tmp_path / path}", *QUICK_OVERRIDES)

    with pytest.raises(CheckpointError, match=message):
        build.build(cfg)


def test_short_override_sets_path():
    cfg = compose_config("train", ["model=tiny_images", "init_from=logs/train/run", "output_dir=."])

    assert cfg.init_from == {"path": "logs/train/run", "strict": False}
    validate_config(cfg)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("init_from.path=3", "Invalid value for init_from.path: expected a string or null, got 3"),
        ("init_from.strict=3", "Invalid value for init_from.strict: expected true or false, got 3"),
        ("freeze=network", "Invalid value for freeze: expected a list"),
        ("unfreeze=[1]", "Invalid value for unfreeze: expected a list"),
    ],
)
def test_invalid_settings_are_rejected(compose_cfg, override, message):
    with pytest.raises(ConfigError, match=message):
        validate_config(compose_cfg(override))
