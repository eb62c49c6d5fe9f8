"""The experiments in configs/experiment work with each model in configs/model."""

import numpy as np
import pytest
from PIL import Image

from firstlight import train
from firstlight.config.compose import compose_config
from support.fakes import make_fake_files
from support.options import list_project_options, make_tiny_overrides

EXPERIMENTS = list_project_options("experiment")
MODELS = list_project_options("model")


def requires_experiment(name):
    return pytest.mark.skipif(name not in EXPERIMENTS, reason=f"configs/experiment/{name}.yaml was deleted")


@requires_experiment("smoke")
@pytest.mark.parametrize("model", MODELS)
def test_smoke_runs_every_stage(compose_cfg, model):
    overrides = [
        override for override in make_tiny_overrides(model) if not override.startswith(("trainer.", "data.batch"))
    ]
    metrics = train.main(compose_cfg(*overrides, "experiment=smoke"))["metrics"]

    assert {"train/loss", "val/loss", "test/loss"} <= set(metrics)


@requires_experiment("profile")
def test_profile_writes_report(compose_cfg, tmp_path):
    train.main(compose_cfg(*make_tiny_overrides("tiny_images"), "experiment=profile"))

    assert "run_training_batch" in (tmp_path / "run" / "fit-profile.txt").read_text()


@requires_experiment("overfit")
@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_overfit_reaches_perfect_accuracy(compose_cfg, model):
    overrides = [*make_tiny_overrides(model), "experiment=overfit", "trainer.max_epochs=10"]
    metrics = train.main(compose_cfg(*overrides))["metrics"]

    assert metrics["train/accuracy"] == 1.0


# A few steps of a preset on this machine.
FEW_STEPS = ["trainer=cpu", "trainer.precision=32-true", "trainer.max_epochs=1", "logger=none", "data.num_workers=0"]
FEW_STEPS += ["trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "test=false", "data.batch_size=4"]


def compose_preset(name, tmp_path, *overrides):
    """Return the config of `make train experiment=<name>`, with the model that the preset selects."""
    return compose_config("train", [f"experiment={name}", *overrides, f"output_dir={tmp_path / 'run'}"])


def write_photos(root):
    """Write 8 photos of two classes for training, and 4 for validation, in the layout of ImageNet."""
    rng = np.random.default_rng(0)
    for split, count in {"train": 4, "val": 2}.items():
        for name in ("n01440764", "n01443537"):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (375, 500, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{index}.JPEG")
    return root


@requires_experiment("imagenet_recipe")
def test_imagenet_recipe_has_published_values(tmp_path):
    cfg = compose_preset("imagenet_recipe", tmp_path)

    assert cfg.data.batch_size * cfg.trainer.accumulate_grad_batches == 1024
    assert (cfg.data.mixup_alpha, cfg.data.cutmix_alpha, cfg.data.random_erasing) == (0.2, 1.0, 0.1)
    assert (cfg.data.image_size, cfg.model.label_smoothing, cfg.trainer.max_epochs) == (224, 0.1, 600)
    assert (cfg.optimizer.lr, cfg.optimizer.weight_decay, cfg.optimizer.nesterov) == (0.5, 2e-5, False)
    assert cfg.scheduler.warmup_fraction == pytest.approx(5 / 600, rel=1e-3)


@requires_experiment("cifar10")
def test_cifar10_preset_has_published_values(tmp_path):
    cfg = compose_preset("cifar10", tmp_path)

    assert (cfg.data.batch_size, cfg.trainer.max_epochs, cfg.scheduler.warmup_fraction) == (128, 200, 0)
    assert (cfg.optimizer.lr, cfg.optimizer.weight_decay, cfg.optimizer.nesterov) == (0.1, 5e-4, False)
    assert cfg.model.stem == "auto"  # at 32 px without the early pooling, as in the source


@pytest.mark.slow
@requires_experiment("imagenet_recipe")
def test_imagenet_recipe_trains(tmp_path):
    pytest.importorskip("timm", reason="the extra timm is not installed")
    root = write_photos(tmp_path / "imagenet")
    overrides = [*FEW_STEPS, f"data.root={root}", "trainer.accumulate_grad_batches=2"]
    metrics = train.main(compose_preset("imagenet_recipe", tmp_path, *overrides))["metrics"]

    # Two classes, whose loss is about log(2) at first.
    assert 0.3 < metrics["train/loss"] < 1.5


@pytest.mark.slow
@requires_experiment("cifar10")
def test_cifar10_preset_trains(tmp_path, monkeypatch):
    files = make_fake_files("cifar10", tmp_path, monkeypatch)
    overrides = [*FEW_STEPS, *(f"data.{key}={value}" for key, value in files.items())]
    metrics = train.main(compose_preset("cifar10", tmp_path, *overrides))["metrics"]

    assert 0.1 < metrics["train/loss"] < 10
