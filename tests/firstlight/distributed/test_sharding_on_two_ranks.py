"""A network that is initialized after sharding, on two ranks: its weights, and steps like those of one process."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "support" / "sharded_ranks.py"
# Differences of the weights after three AdamW steps with a learning rate of 0.01: summation order, and rounding to
# bf16 (8 bits), whose sign decides the first steps of AdamW.
TOLERANCES = {"32-true": 1e-4, "bf16-mixed": 0.03}
HAS_COMPILER = shutil.which("g++") is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "precision"),
    [
        ("eager", "32-true"),
        pytest.param("eager", "bf16-mixed", marks=pytest.mark.exhaustive),
        pytest.param(
            "compiled",
            "32-true",
            marks=[pytest.mark.exhaustive, pytest.mark.skipif(not HAS_COMPILER, reason="no g++")],
        ),
    ],
)
def test_sharded_network_trains_like_plain_network(tmp_path, mode, precision):
    command = [sys.executable, str(SCRIPT)]
    ranks = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store"), mode, precision], stdout=subprocess.PIPE)
        for rank in range(2)
    ]
    results = [json.loads(rank.communicate(timeout=240)[0].splitlines()[-1]) for rank in ranks]

    first, second = results
    assert first == second  # all ranks see the same weights
    assert first["num_sharded"] == 5  # 4 blocks in 2 groups, and the network
    # The deviation of transformers' initialization; 900 or more values: 0.02 +- 5 %.
    assert first["std"] == pytest.approx(dict.fromkeys(first["std"], 0.02), rel=0.1)
    assert first["inv_freq_error"] == 0
    assert first["losses"] == pytest.approx(first["expected"], abs=TOLERANCES[precision] / 10)
    assert first["max_difference"] < TOLERANCES[precision]


@pytest.mark.exhaustive
def test_network_that_is_initialized_after_sharding_trains_resumes_and_evaluates(tmp_path):
    sizes = ["hidden_size=32", "num_hidden_layers=3", "num_attention_heads=2"]
    training = [
        *["model=text_classifier", "model.architecture=llama", "++model.config_overrides.intermediate_size=64"],
        *(f"model.config_overrides.{size}" for size in sizes),
        *["data=fake_text", "data.num_samples=32", "data.batch_size=4", "trainer.activation_checkpointing=true"],
        *["trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"],
        *["trainer.max_epochs=2", "logger=none", "output_dir=run"],
    ]
    commands = [["train", *training], ["train", "resume=run", "trainer.max_epochs=3"], ["evaluate", "run=run"]]
    for command, *overrides in commands:
        process = subprocess.run(
            [sys.executable, "-m", f"firstlight.{command}", *overrides],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert process.returncode == 0, process.stdout + process.stderr

    record = json.loads((tmp_path / "run" / "run.json").read_text())
    tested = float(re.search(r"test/loss +([\d.]+)", process.stdout).group(1))
    # In the run, the last epoch was sharded; `evaluate` uses one device.
    assert tested == pytest.approx(record["metrics"]["test/loss"], abs=1e-4)
