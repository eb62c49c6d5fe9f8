"""The line of an epoch shows the metrics of that epoch."""

import csv
import re

import pytest

from support.tiny_training import build_tiny


def test_line_shows_means_over_logged_steps_of_epoch(compose_cfg, capsys):
    overrides = ("data.num_samples=16", "trainer.max_epochs=2", "trainer.log_every_n_steps=2")
    model, data, trainer, cfg = build_tiny(compose_cfg, *overrides)
    trainer.fit(model, data)
    lines = re.findall(r"epoch (\d)/2 .*train/loss (\S+)", capsys.readouterr().out)
    with open(f"{cfg.output_dir}/metrics.csv", newline="") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]

    assert len(losses) == 4  # two epochs of 4 steps
    assert [float(loss) for _, loss in lines] == pytest.approx([sum(losses[:2]) / 2, sum(losses[2:]) / 2], rel=1e-3)
