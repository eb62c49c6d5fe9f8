"""Parameters are frozen and unfrozen by patterns of their names."""

import pytest
import torch

from firstlight import build, evaluate, train
from firstlight.config.compose import compose_config
from firstlight.model.freezing import apply_freeze_patterns
from firstlight.run.errors import ConfigError
from support.networks import TINY_DATA
from support.options import QUICK_OVERRIDES
from support.tiny_models import TinyImages

OVERRIDES = ["model=tiny_images", *TINY_DATA, *QUICK_OVERRIDES]
FREEZE = ["freeze=['network.block1.*','network.block2.*']", "unfreeze=['network.block2.0.*']"]


def list_trainable(model) -> list[str]:
    return [name for name, param in model.named_parameters() if param.requires_grad]


def test_frozen_parameters_and_running_statistics_stay_unchanged(compose_cfg):
    model, data, trainer = build.build(compose_cfg(*OVERRIDES, *FREEZE))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainer.fit(model, data)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}

    assert changed == {"network.block2.0.weight", "network.head.1.weight", "network.head.1.bias"}


def test_only_completely_frozen_modules_are_in_eval_mode():
    model = TinyImages(["a", "b"], image_size=8)
    apply_freeze_patterns(model, ["network.block1.*", "network.block2.1.*"], [])
    network = model.network

    assert not any(module.training for module in network.block1.modules())
    assert not network.block2[1].training
    assert all(module.training for module in (model, network, network.block2, network.block2[0], network.head[0]))


def test_unfreeze_undoes_the_setting_of_the_model():
    model = TinyImages(["a", "b"], image_size=8, freeze_layers=2)
    apply_freeze_patterns(model, [], ["network.block2.*"])

    assert list_trainable(model)[0] == "network.block2.0.weight"
    assert model.network.block2[1].training
    assert not model.network.block1[1].training


def test_resumed_and_evaluated_models_are_frozen(compose_cfg):
    cfg = compose_cfg(*OVERRIDES, *FREEZE, "callbacks=default")
    train.main(cfg)
    resumed, _, _ = build.build(cfg, f"{cfg.output_dir}/checkpoints/last.ckpt")

    assert list_trainable(resumed) == ["network.block2.0.weight", "network.head.1.weight", "network.head.1.bias"]
    assert not resumed.network.block1[1].training
    assert 0 <= evaluate.main(compose_config("evaluate", [f"run={cfg.output_dir}"]))["metrics"]["test/accuracy"] <= 1


@pytest.mark.parametrize(
    ("freeze", "unfreeze", "message"),
    [
        (["network.blok1.*"], [], r"freeze=\[network.blok1.\*\] matches no parameter of TinyImages. .*network.block1"),
        ([], ["head"], r"unfreeze=\[head\] matches no parameter of TinyImages. Nearest parameters: network"),
        (["*"], [], r"freeze=\[\*\] freezes all 8 parameters, so there is nothing to train"),
    ],
)
def test_patterns_without_effect_are_rejected(freeze, unfreeze, message):
    with pytest.raises(ConfigError, match=message):
        apply_freeze_patterns(TinyImages(["a", "b"], image_size=8), freeze, unfreeze)
