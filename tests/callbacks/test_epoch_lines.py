"""The line of an epoch tells that epoch."""

import csv
import re

import pytest
from conftest import tiny

from firstlight import train


def test_it_holds_the_means_over_the_logged_steps_of_its_own_epoch(composed, capsys):
    cfg = composed(*tiny("vgg16"), "trainer.max_epochs=2", "trainer.log_every_n_steps=2", "test=false")
    train.main(cfg)
    lines = re.findall(r"epoch (\d)/2 .*train/loss (\S+)", capsys.readouterr().out)
    with open(f"{cfg.output_dir}/metrics.csv", newline="") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]

    assert len(losses) == 4  # two epochs of 4 steps
    assert [float(loss) for _, loss in lines] == pytest.approx([sum(losses[:2]) / 2, sum(losses[2:]) / 2], rel=1e-3)
