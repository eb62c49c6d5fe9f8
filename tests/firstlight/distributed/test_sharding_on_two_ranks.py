"""A network that is initialized after sharding, on two ranks: its weights, and steps like those of one process."""

import json
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
