"""Which values `auto` settings of the trainer get."""

import pytest

from firstlight.config.options import AUTO
from firstlight.hardware import apple_chip
from firstlight.trainer.defaults import COMPILE_MIN_STEPS, PLAIN_MODULE_DEFAULTS, apply_trainer_defaults

NAMES = ("precision", "channels_last", "compile", "fused_optimizer", "compile_min_steps")


def resolve(accelerator: str, is_task: bool = True, **values: object) -> dict:
    """Return settings of the trainer after `auto` is replaced; values that are not given are `auto`."""
    trainer = {**dict.fromkeys(NAMES, AUTO), **values}
    apply_trainer_defaults(trainer, accelerator, is_task)
    return trainer


@pytest.mark.parametrize(
    ("chip", "precision", "channels_last"),
    [("Apple M1", "32-true", False), ("Apple M4 Max", "32-true", False), ("Apple M5 Pro", "bf16-mixed", True),
     ("Apple M6", "32-true", False), ("", "32-true", False)],
)  # fmt: skip
def test_defaults_of_mps_depend_on_the_chip(chip, precision, channels_last, monkeypatch):
    monkeypatch.setattr(apple_chip, "get_chip_name", lambda: chip)
    monkeypatch.setattr(apple_chip, "CHANNELS_LAST_TORCH", "2.0")
    trainer = resolve("mps")

    assert (trainer["precision"], trainer["channels_last"]) == (precision, channels_last)
    assert (trainer["compile"], trainer["fused_optimizer"]) == (False, True)


def test_other_modules_train_as_in_plain_lightning_on_m5(monkeypatch):
    monkeypatch.setattr(apple_chip, "get_chip_name", lambda: "Apple M5")
    trainer = resolve("mps", is_task=False)

    assert trainer["precision"] == "32-true"
    assert trainer.items() >= PLAIN_MODULE_DEFAULTS.items()


def test_own_values_are_kept(monkeypatch):
    monkeypatch.setattr(apple_chip, "get_chip_name", lambda: "Apple M5")
    trainer = resolve("mps", precision="16-mixed", channels_last=False)

    assert (trainer["precision"], trainer["channels_last"]) == ("16-mixed", False)


def test_chip_defaults_do_not_replace_those_of_cuda():
    assert resolve("cuda")["precision"] == resolve("cuda", is_task=False)["precision"] == "bf16-mixed"


@pytest.mark.parametrize(("compile", "min_steps"), [(AUTO, COMPILE_MIN_STEPS), (True, 0)])
def test_only_requested_compilation_ignores_the_number_of_steps(compile, min_steps):
    assert resolve("cpu", compile=compile)["compile_min_steps"] == min_steps
