"""`make lr-find`: the suggestion on problems with a known answer, what it leaves unchanged, and what it rejects."""

import csv
import math
import random

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule

from firstlight.build import build
from firstlight.config.compose import compose_config
from firstlight.lr_find import __main__ as lr_find
from firstlight.lr_find import session
from firstlight.lr_find.finder import WINDOWS_PER_RANGE, RatioLRFinder, get_lr_ratios, run_range_test
from firstlight.lr_find.range_test import RangeTestLR
from firstlight.model.optimizer import set_optimizer_config
from firstlight.run.errors import ConfigError, TrainingError
from firstlight.run.packages import is_installed
from firstlight.trainer.trainer import Trainer
from support.options import TINY_OVERRIDES
from support.quadratic import CURVATURE, Manual, Quadratic, TwoOptimizers, TwoRates, WithoutRate

# All 16 training samples in each step, so that the losses have no noise.
OVERRIDES = ["model=tiny_mlp", *TINY_OVERRIDES["images"], "data.image_size=4", "data.num_samples=20"]
OVERRIDES += ["data.batch_size=16", "data.augment=false", "trainer=cpu", "trainer.precision=32-true"]
OVERRIDES += ["optimizer=adamw", "num_steps=50", "min_lr=1e-5", "max_lr=10"]
SGD = {"_target_": "torch.optim.SGD"}
needs_timm = pytest.mark.skipif(not is_installed("timm"), reason="timm is not installed")


def search(model: LightningModule, tmp_path, num_steps: int = 100, stop_factor: float | None = 4.0) -> RatioLRFinder:
    """Run a range test from 1e-6 to 10."""
    if type(model) is Quadratic:
        set_optimizer_config(model, SGD, {})
    trainer = Trainer(default_root_dir=str(tmp_path), **session.TRAINER)
    return run_range_test(model, None, trainer, 1e-6, 10.0, num_steps, stop_factor)


def find(tmp_path, *overrides: str) -> dict:
    """Run the command, which writes to a new directory."""
    return lr_find.main(compose_config("lr_find", [*OVERRIDES, f"output_dir={tmp_path}", *overrides]))


def test_suggestion_for_a_quadratic_loss(tmp_path):
    finder = search(Quadratic(), tmp_path)
    suggestion = finder.suggestion()

    # The rate grows by exp(growth) per step, so the loss is about exp(-2 * CURVATURE * lr / growth), which is steepest
    # over log(lr) at this rate. The window of the slope covers a fifth of the steps.
    growth = math.log(10 / 1e-6) / 99
    steepest, window = growth / (2 * CURVATURE), math.exp(growth * 100 / WINDOWS_PER_RANGE / 2)
    assert steepest / window < suggestion < steepest * window
    # SGD diverges above 2 / CURVATURE, soon after which the search stops.
    assert suggestion < 2 / CURVATURE < finder.results["lr"][-1] < 10
    assert finder.results["raw_loss"][:2] == pytest.approx([2.0, 2.0], rel=1e-4)
    assert finder.results["loss"][0] == finder.results["raw_loss"][0]


def test_rates_increase_exponentially_and_keep_their_ratio(tmp_path):
    model = TwoRates()
    finder = search(model, tmp_path, stop_factor=None)

    expected = [1e-6 * 1e7 ** (step / 99) for step in range(len(model.rates))]
    assert len(model.rates) == len(finder.results["lr"]) > 70
    assert finder.results["lr"] == pytest.approx(expected)
    assert [rates[1] for rates in model.rates] == finder.results["lr"]
    assert [high / low for low, high in model.rates] == pytest.approx([10.0] * len(model.rates))


def test_weights_random_numbers_and_directory_are_unchanged(tmp_path):
    model = Quadratic()
    before = torch.get_rng_state(), random.getstate()
    search(model, tmp_path)

    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert model.weight.item() == model.unused.item() == 1.0
    assert list(tmp_path.iterdir()) == []


def test_ratios_refer_to_the_rate_of_the_config_or_module():
    model = TwoRates(learning_rate=0.5)
    set_optimizer_config(Quadratic(), SGD, {})
    optimizer = torch.optim.SGD([{"params": [model.weight], "lr": 0.5}, {"params": [model.unused], "lr": 1.0}])
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.01)  # a warmup does not change the ratios

    assert get_lr_ratios(model, optimizer) == [1.0, 2.0]
    assert get_lr_ratios(Quadratic(), optimizer) == [0.5, 1.0]


@pytest.mark.parametrize(
    ("model", "error", "problem"),
    [
        (
            WithoutRate,
            ConfigError,
            "WithoutRate has its own configure_optimizers, but no attribute or hyper",
        ),
        (
            TwoOptimizers,
            ConfigError,
            "requires a single optimizer, but configure_optimizers of TwoOptimizers",
        ),
        (Manual, ConfigError, "requires automatic optimization, but Manual optimizes manually"),
        (lambda: Quadratic(math.nan), TrainingError, "The loss of Quadratic is not finite in the first step, with a"),
    ],
    ids=["without lr", "two optimizers", "manual", "nan"],
)
def test_model_without_a_suggestion_raises(model, error, problem, tmp_path):
    built = model()
    with pytest.raises(error, match=problem):
        search(built, tmp_path)
    assert len(built.rates) <= 1


def test_noise_gives_no_suggestion():
    finder = RatioLRFinder("exponential", 1e-6, 1.0, 100)
    noise = torch.randn(100, generator=torch.Generator().manual_seed(0)).tolist()
    rates = np.geomspace(1e-6, 1.0, 100).tolist()
    finder.results = {"lr": rates, "raw_loss": noise}
    decrease = [loss - 5 * float(step > 70) for step, loss in enumerate(noise)]

    assert finder.suggestion() is None
    finder.results["raw_loss"] = decrease
    assert rates[60] <= finder.suggestion() <= rates[80]
    finder.results["raw_loss"] = decrease[:19]  # fewer than a window
    assert finder.suggestion() is None


def test_command_writes_losses_and_a_command_that_trains(tmp_path, monkeypatch, capsys):
    given = [
        "model=tiny_mlp",
        "optimizer=adamw",
        "+optimizer.lr=3",
        "min_lr=1e-5",
        "output_dir=x",
        "data.num_samples=9",
    ]
    monkeypatch.setattr(session, "list_overrides", lambda: given)
    result = find(tmp_path / "first")
    printed = capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "first" / "lr_find.csv").open()))

    lr = f"{result['suggestion']:.3g}"
    assert result["train_command"] == f"make train model=tiny_mlp optimizer=adamw data.num_samples=9 +optimizer.lr={lr}"
    assert result["key"] == "optimizer.lr"
    assert f"found     optimizer.lr={lr}, where the loss decreases most steeply" in printed
    assert f"next      {result['train_command']}\n" in printed
    assert list(rows[0]) == ["lr", "loss", "smoothed_loss"]
    assert (len(rows), float(rows[0]["lr"])) == (result["num_steps"], 1e-5)
    assert (tmp_path / "first" / "lr_find.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == ["lr_find.csv", "lr_find.png"]


def test_second_search_gives_the_same_suggestion(tmp_path):
    first, second = (find(tmp_path / name, "model.dropout=0.5") for name in ("first", "second"))

    assert first["suggestion"] == second["suggestion"]
    assert (tmp_path / "first" / "lr_find.csv").read_bytes() == (tmp_path / "second" / "lr_find.csv").read_bytes()


@needs_timm
def test_layer_decay_keeps_its_ratios(tmp_path, monkeypatch, capsys):
    seen = []
    get_lr = RangeTestLR.get_lr
    record = lambda scheduler: seen.append(get_lr(scheduler)) or seen[-1]  # noqa: E731
    monkeypatch.setattr(RangeTestLR, "get_lr", record)
    result = find(tmp_path / "run", "optimizer.layer_decay=0.25")

    assert "layers    lr 0.001 in the last of 2 layers, 0.00025 in the first" in capsys.readouterr().out
    assert all(rates == pytest.approx([rates[0], rates[0], rates[0] / 4, rates[0] / 4]) for rates in seen)
    assert len(seen) > 30
    assert 1e-4 < result["suggestion"] < 10


def test_several_devices_do_not_change_the_suggestion(tmp_path, capsys):
    alone = find(tmp_path / "alone")
    scaled = find(
        tmp_path / "scaled", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "+trainer.scale_lr=linear"
    )
    unscaled = find(tmp_path / "unscaled", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")

    assert alone["suggestion"] == scaled["suggestion"] == unscaled["suggestion"]
    output = " ".join(capsys.readouterr().out.split())
    note = "found on 1 device. For the global batch of 2 devices, try trainer.scale_lr=linear (SGD) or sqrt (Adam)"
    assert output.count(note) == 1  # with scale_lr, nothing is said


def test_schedules_of_the_run_in_the_test(tmp_path, monkeypatch, capsys):
    built = []
    monkeypatch.setattr(session, "build", lambda cfg: built.append(build(cfg)) or built[-1])
    find(
        tmp_path / "run",
        "callbacks.accumulation.scheduling={0:3,1:1}",
        "callbacks.unfreezing.schedule={0:['*'],1:['*']}",
    )

    assert built[0][2].accumulate_grad_batches == 3
    assert (
        "note      without callbacks.unfreezing.schedule: all parameters are trained in the" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        (
            "num_steps=10",
            "Invalid value for num_steps: expected an integer of at least 50, got 10.",
        ),
        ("min_lr=0", "Invalid value for min_lr: expected a positive number, got 0"),
        ("max_lr=1e-6", "Invalid value for max_lr: expected a number greater than min_lr=1e-05, got 1e-06"),
        ("stop_factor=1", "Invalid value for stop_factor: expected a number greater than 1, got 1"),
    ],
)
def test_invalid_range_raises(override, problem, tmp_path):
    with pytest.raises(ConfigError, match=problem):
        find(tmp_path / "run", override)


def test_loss_that_diverges_at_once_raises(tmp_path):
    with pytest.raises(
        TrainingError, match=r"No suggestion: the loss diverged after \d+ of 50 steps. Decrease min_lr=100"
    ):
        find(
            tmp_path / "run", "min_lr=100", "max_lr=1e6", "optimizer._target_=torch.optim.SGD", "model.batch_norm=false"
        )
    assert (tmp_path / "run" / "lr_find.csv").is_file()
