"""Tests of `make preflight`, which checks a run for MPS on any machine."""

import json
import re

import pytest

from firstlight.config.compose import compose_config
from firstlight.hardware import apple_chip
from firstlight.preflight import __main__ as preflight
from firstlight.run.errors import ConfigError, HardwareError
from support.options import QUICK_OVERRIDES, get_modality, get_tiny_model, make_tiny_overrides

MODEL = get_tiny_model("text", "images")
# A wide model, so that the largest batch size does not fit on any Mac.
OVERRIDES = [override for override in make_tiny_overrides(MODEL) if override not in QUICK_OVERRIDES]
OVERRIDES += ["model.width=256"]
NONDETERMINISTIC = "This run would fail on MPS: aten::embedding_dense_backward is nondeterministic on MPS"


def test_report_fits_on_one_screen(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = preflight.main(compose_config("preflight", OVERRIDES))
    lines = capsys.readouterr().out.splitlines()

    assert results["passed"]
    assert results["complete"]
    assert re.fullmatch(r"run +\w+ on Fake\w+, batch size 4, 32-true", lines[0])
    assert any(re.fullmatch("errors +none", line) for line in lines)
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert not list(tmp_path.iterdir())


NOTE = "An M5 uses bf16-mixed instead: to check it, set trainer.precision=bf16-mixed."


@pytest.mark.parametrize(
    ("overrides", "platform", "note"),
    [
        ([], "linux", NOTE),
        ([], "darwin", None),  # the chip of this Mac is known
        (["trainer.precision=bf16-mixed"], "linux", None),
    ],
)
def test_report_names_the_chips_with_another_precision(capsys, monkeypatch, overrides, platform, note):
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(apple_chip, "get_chip_name", lambda: "Apple M4" if platform == "darwin" else "")
    results = preflight.main(compose_config("preflight", [*OVERRIDES, *overrides]))

    assert results["note"] == note
    assert (NOTE in capsys.readouterr().out) is (note is not None)


def test_report_says_where_its_numbers_were_checked(capsys):
    results = preflight.main(compose_config("preflight", OVERRIDES))
    notes = " ".join(capsys.readouterr().out.split()).partition(" checked ")[2]

    assert notes == " ".join(f"{name}: {note}" for name, note in results["checked"].items())
    assert all(note.endswith("; not checked on a Mac") for note in results["checked"].values())
    assert all(words in notes for words in ("arithmetic", "torch's MemTracker", "an emulated device", "assumption"))


def test_results_are_plain_values():
    results = preflight.main(compose_config("preflight", OVERRIDES))

    assert results == json.loads(json.dumps(results))
    assert sum(results["memory"]["training"].values()) == 2 * results["memory"]["training"]["peak"]
    assert list(results["max_batch_size"]) == ["8", "16", "24", "32", "64", "128"]
    assert sorted(results["max_batch_size"].values()) == list(results["max_batch_size"].values())


def test_other_accelerator_raises_config_error():
    message = "preflight only checks MPS, but trainer.accelerator=cpu. Remove the override, or use trainer=mps."
    with pytest.raises(ConfigError, match=message):
        preflight.main(compose_config("preflight", [*OVERRIDES, "trainer=cpu"]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        *([(["trainer.deterministic=true"], NONDETERMINISTIC)] if get_modality("model", MODEL) == "text" else []),
        (["trainer.precision=64-true"], "This run would fail on MPS: .*float64"),
        (["data.batch_size=999999"], "data.batch_size=999999 needs about .* GiB, but a run on the largest Mac"),
        (
            ["data.batch_size=200000", "mac_memory_gb=16"],
            "but a run on a Mac with 16 GB may use 8.0 GiB. Set data.batch_size to ",
        ),
    ],
)
def test_errors_are_printed_and_raised(capsys, overrides, message):
    with pytest.raises(HardwareError, match=message):
        preflight.main(compose_config("preflight", [*OVERRIDES, *overrides]))
    assert re.search("^errors +[^n]", capsys.readouterr().out, re.M)
