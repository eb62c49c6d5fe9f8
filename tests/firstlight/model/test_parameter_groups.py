"""Layer-wise learning rates, their schedules, and weight decay: compared with rates and weights computed by hand."""

import pytest
import torch
from torch import nn

from firstlight.cli.summary import describe_layers
from firstlight.config.validate import validate_config
from firstlight.model.optimizer import build_lr_scheduler, build_optimizer
from firstlight.model.parameter_groups import make_parameter_groups, validate_parameter_groups
from firstlight.run.errors import ConfigError, MissingPackageError
from firstlight.run.packages import is_installed
from support.layered import SGD, Perceptron, build_groups, list_rates
from support.resume_matrix import BASE, check_row
from support.resume_rows import make_overrides
from support.tiny_training import build_tiny

needs_timm = pytest.mark.skipif(not is_installed("timm"), reason="timm is not installed")


class StepsOnly:
    """The part of a trainer that a scheduler needs."""

    estimated_stepping_batches = 10
    max_epochs = 2


def test_without_the_switches_the_groups_are_weights_and_vectors():
    model = Perceptron()
    decayed, not_decayed = make_parameter_groups(model, {**SGD, "layer_decay": None, "no_weight_decay": []})

    assert [*decayed] == [*not_decayed] == ["params", "weight_decay"]
    assert decayed["params"] == [param for param in model.parameters() if param.ndim > 1]
    assert not_decayed["params"] == [param for param in model.parameters() if param.ndim <= 1]
    assert (decayed["weight_decay"], not_decayed["weight_decay"]) == (0.5, 0.0)


@needs_timm
def test_groups_of_a_plain_module_start_with_the_last_layer():
    optimizer = build_groups(Perceptron(), layer_decay=0.5)

    # Per layer: weights, then biases and norms. The embedding has no vectors.
    assert [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups] == [
        (0.1, 0.5),
        (0.1, 0.0),
        (0.05, 0.5),
        (0.05, 0.0),
        (0.025, 0.5),
    ]
    assert not any("lr_scale" in group for group in optimizer.param_groups)


@needs_timm
def test_learning_rate_of_the_class_is_scaled_if_the_config_has_none():
    optimizer = build_optimizer(Perceptron(), {"_target_": "torch.optim.AdamW", "layer_decay": 0.5}, fused=False)

    assert [group["lr"] for group in optimizer.param_groups] == [0.001, 0.001, 0.0005, 0.0005, 0.00025]


@needs_timm
def test_frozen_layers_do_not_change_the_rates():
    model = Perceptron()
    model.words.requires_grad_(False)
    with_frozen_input = list_rates(model, build_groups(model, layer_decay=0.5))
    model.head.requires_grad_(False)
    model.words.requires_grad_(True)
    with_frozen_head = list_rates(model, build_groups(model, layer_decay=0.5))

    assert (with_frozen_input["head.weight"], with_frozen_input["hidden.0.weight"]) == (0.1, 0.05)
    assert (with_frozen_head["hidden.0.weight"], with_frozen_head["words.weight"]) == (0.1, 0.05)


@needs_timm
@pytest.mark.parametrize(
    "scheduler",
    [
        {"_target_": "firstlight.model.lr_scheduler.WarmupCosineLR", "warmup_fraction": 0.3},
        {"_target_": "torch.optim.lr_scheduler.OneCycleLR"},
        {"_target_": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": 0.3},
        {"_target_": "torch.optim.lr_scheduler.ConstantLR", "factor": 1.0},
        {"_target_": "torch.optim.lr_scheduler.LinearLR", "start_factor": 0.1, "total_iters": 4},
        {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR"},
        {"_target_": "torch.optim.lr_scheduler.CyclicLR", "base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3},
    ],
    ids=["cosine", "one_cycle", "one_cycle_max_lr", "constant", "warmup", "annealing", "cyclic"],
)
def test_schedulers_keep_the_ratios(scheduler):
    optimizer = build_groups(Perceptron(), layer_decay=0.5)
    schedule = build_lr_scheduler(optimizer, scheduler, StepsOnly())["scheduler"]
    seen = []
    for _ in range(9):
        rates = [group["lr"] for group in optimizer.param_groups]
        seen.append(rates[0])
        assert rates == pytest.approx([rates[0] * scale for scale in (1, 1, 0.5, 0.5, 0.25)])
        optimizer.step()
        schedule.step()

    assert max(seen) == pytest.approx(scheduler.get("max_lr", 0.1), rel=0.15)
    assert len(set(seen)) > 5 or "ConstantLR" in scheduler["_target_"] or "LinearLR" in scheduler["_target_"]


@needs_timm
def test_lowest_rate_for_all_layers_raises():
    annealing = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "eta_min": 0.01}
    with pytest.raises(ConfigError, match="eta_min=0.01 would be the lowest rate of all layers"):
        build_lr_scheduler(build_groups(Perceptron(), layer_decay=0.5), annealing, StepsOnly())


@pytest.mark.parametrize("layer_decay", [None, pytest.param(0.5, marks=needs_timm)])
def test_excluded_parameter_does_not_decay(layer_decay):
    model = Perceptron()
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    optimizer = build_groups(model, no_weight_decay=["words*"], layer_decay=layer_decay)
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    optimizer.step()

    # SGD with a gradient of zero: the weight shrinks by lr * weight_decay.
    factors = {"words.weight": 1.0, "hidden.0.weight": 1 - 0.1 * (layer_decay or 1) * 0.5, "head.weight": 1 - 0.1 * 0.5}
    for name, param in model.named_parameters():
        if factors.get(name, 1.0) == 1:
            assert torch.equal(param, before[name]), name
        else:
            torch.testing.assert_close(param.detach(), before[name] * factors[name])


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"no_weight_decay": ["word.*"]}, r"optimizer.no_weight_decay=\[word.\*\] matches no parameter of Perceptron."),
        ({"no_weight_decay": ["*.bias"]}, r"no_weight_decay=\[\*.bias\] has no effect: it matches only biases and"),
        (
            {"no_weight_decay": ["words*"], "weight_decay": 0},
            "no effect without weight decay. Set optimizer.weight_decay",
        ),
    ],
)
def test_pattern_without_effect_raises(config, problem):
    with pytest.raises(ConfigError, match=problem):
        validate_parameter_groups(Perceptron(), {**SGD, **config})


def test_layer_decay_without_effect_raises():
    with pytest.raises(ConfigError, match="layer_decay=0.5 has no effect, because all trainable parameters"):
        validate_parameter_groups(nn.Linear(2, 2), {**SGD, "layer_decay": 0.5})


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        (
            "optimizer.layer_decay=1",
            "Invalid value for optimizer.layer_decay: expected null or a number greater than 0",
        ),
        ("optimizer.layer_decay=true", "optimizer.layer_decay: expected null or a number"),
        ("optimizer.no_weight_decay=words", "optimizer.no_weight_decay: expected a list of patterns"),
        (
            "optimizer.layer_decays=0.5",
            "Unknown setting 'optimizer.layer_decays'. Did you mean 'optimizer.layer_decay'?",
        ),
    ],
)
def test_invalid_values_raise(compose_cfg, override, problem):
    with pytest.raises(ConfigError, match=problem):
        validate_config(compose_cfg("model=tiny_mlp", "data=fake_images", f"+{override}"))


def test_missing_timm_raises_before_training(compose_cfg, monkeypatch):
    cfg = compose_cfg("model=tiny_mlp", "data=fake_images", "+optimizer.layer_decay=0.5")
    monkeypatch.setattr("firstlight.config.ranges.is_installed", lambda name: False)
    with pytest.raises(MissingPackageError, match="optimizer.layer_decay=0.5 requires the 'timm' package"):
        validate_config(cfg)


@needs_timm
def test_another_optimizer_keeps_the_switches(compose_cfg):
    overrides = ["optimizer=adamw", "optimizer._target_=torch.optim.RMSprop", "optimizer.layer_decay=0.5"]
    model, _, _, _ = build_tiny(compose_cfg, *overrides, "optimizer.no_weight_decay=['network.1.*']")
    optimizer = model.build_optimizer()

    assert type(optimizer) is torch.optim.RMSprop
    assert {(group["lr"], group["weight_decay"]) for group in optimizer.param_groups} == {
        (0.001, 0.01),
        (0.001, 0.0),
        (0.0005, 0.0),
    }


@needs_timm
def test_rates_are_printed_and_logged(compose_cfg, tmp_path):
    settings = ["optimizer=adamw", "optimizer.layer_decay=0.25", "trainer.log_every_n_steps=1", "callbacks=none"]
    model, data, trainer, cfg = build_tiny(compose_cfg, *settings, "data.num_samples=16")
    trainer.fit(model, data)
    header, *rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    first = dict(zip(header.split(","), rows[0].split(","), strict=True))

    line = "lr 0.001 in the last of 2 layers, 0.00025 in the first (layer_decay 0.25)"
    assert describe_layers(model) == {"layers": line}
    assert (float(first["train/lr"]), float(first["train/lr_first_layer"])) == (0.001, 0.00025)
    assert cfg.output_dir == str(tmp_path / "run")


@needs_timm
@pytest.mark.slow
@pytest.mark.parametrize("model", ["tiny_images", "tiny_text"])
def test_resumed_run_equals_undisturbed_run(model, tmp_path):
    modality = model.removeprefix("tiny_")
    base = [entry for entry in BASE if modality == "images" or not entry.startswith(("data=", "data.image_size"))]
    base += [] if modality == "images" else ["data=fake_text"]
    patterns = {"images": "network.block1.0.*", "text": "*embedding*"}
    switches = ["optimizer=adamw", "optimizer.layer_decay=0.5", f"optimizer.no_weight_decay=['{patterns[modality]}']"]
    overrides = make_overrides(model, [*base, *switches, "optimizer.weight_decay=0.1"])

    assert check_row(tmp_path, overrides, ["inside a window", "validation", "twice"]) == []


def test_builder_reports_a_setting_without_effect(compose_cfg):
    with pytest.raises(ConfigError, match="no_weight_decay=.* matches no parameter of TinyMLP"):
        build_tiny(compose_cfg, "optimizer=adamw", "optimizer.no_weight_decay=['*embeddings*']")
