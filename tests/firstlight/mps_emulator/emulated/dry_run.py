"""The check before a run on MPS agrees with the emulated device, and its memory limits apply."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from firstlight import train
from firstlight.config.compose import compose_config
from firstlight.run.errors import HardwareError
from support.options import HAS_TEXT, get_tiny_model

sys.path.insert(0, str(Path(__file__).parents[2]))
from support.emulated_mps import check_memory_estimate, make_mps_overrides, slow_param

# Activations of 4 MiB per sample of 64 px, so that they exceed the workspaces of the kernels.
WIDE = ["model.width=64"]
LARGE = [
    *(override for override in make_mps_overrides("tiny_images") if not override.startswith("data.")),
    *WIDE,
    "data=fake_images",
]
LARGE += ["data.image_size=64", "data.num_samples=256", "data.num_classes=2"]


@pytest.mark.parametrize(
    ("model", "overrides"),
    [
        ("tiny_images", []),
        ("tiny_images", ["optimizer=sgd", "trainer.gradient_clip_val=null"]),
        slow_param("tiny_images", ["data.image_size=96", "trainer.precision=16-mixed"]),
        *([("tiny_text", []), ("tiny_text", ["trainer.precision=bf16-mixed"])] if HAS_TEXT else []),
    ],
)
def test_memory_estimate_matches_allocations(tmp_path, model, overrides):
    check_memory_estimate(model, [*WIDE, *overrides], tmp_path)


@pytest.mark.slow
def test_run_header_shows_memory_estimate(tmp_path, capsys):
    train.main(
        compose_config(
            "train", [*make_mps_overrides(get_tiny_model("images")), "callbacks=none", f"output_dir={tmp_path / 'run'}"]
        )
    )

    assert re.search(r"mps +MPS check passed; estimated memory \d\.\d of 72\.0 GiB", capsys.readouterr().out)


def test_dry_run_error_stops_run_before_first_step(tmp_path):
    overrides = [
        *make_mps_overrides(get_tiny_model("images")),
        "trainer.deterministic=true",
        f"output_dir={tmp_path / 'run'}",
    ]
    with pytest.raises(HardwareError, match="This run would fail on MPS: .*deterministic=true forbids it"):
        train.main(compose_config("train", overrides))

    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"


def run_module(*args: str, memory_gib: float | None = None, **variables: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, **variables, **({"MPS_EMULATOR_GIB": str(memory_gib)} if memory_gib else {})}
    return subprocess.run([sys.executable, "-m", *args], env=environment, capture_output=True, text=True, timeout=400)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        # Rejected by the check before the first step, from the estimated memory.
        ({}, "Estimated memory exceeds the limit: data.batch_size=128 needs about"),
        # The check cannot know the memory of other programs, so the device itself runs out of memory.
        ({"MPS_EMULATOR_OTHER_GIB": "0.6"}, "Out of memory with data.batch_size=128. Try data.batch_size=64."),
    ],
)
def test_oversized_batch_fails_only_its_sweep_job(tmp_path, monkeypatch, variables, reason):
    monkeypatch.chdir(tmp_path)
    process = run_module(
        "firstlight.sweep",
        *LARGE,
        "data.batch_size=2,128,4",
        "trainer.limit_train_batches=2",
        memory_gib=1.0 if variables else 0.4,
        **variables,
    )
    with next(tmp_path.rglob("results.csv")).open() as file:
        rows = list(csv.DictReader(file))

    assert process.returncode == 1
    assert [row["status"] for row in rows] == ["finished", "failed", "finished"], process.stdout + process.stderr
    assert rows[1]["reason"].startswith(reason)


@pytest.mark.slow
def test_memory_limit_is_set_before_torch_import(tmp_path):
    # torch's own limit is 1.7 times the recommended memory; only the command's ratio of 1.0 rejects this run.
    overrides = [*LARGE, "data.batch_size=64", "callbacks=none", f"output_dir={tmp_path / 'run'}"]
    default = run_module("firstlight.train", *overrides, memory_gib=0.3, MPS_EMULATOR_OTHER_GIB="0.1")
    variables = {"MPS_EMULATOR_OTHER_GIB": "0.1", "PYTORCH_MPS_HIGH_WATERMARK_RATIO": "1.3"}
    raised = run_module("firstlight.train", *overrides, memory_gib=0.3, **variables)

    assert (default.returncode, raised.returncode) == (1, 0), default.stdout + raised.stderr
    assert "max allowed: 307.20 MiB" in default.stderr
