"""The line of an epoch shows the metrics of that epoch."""

import csv
import re

import pytest

from support.tiny_training import build_tiny


def test_line_shows_means_over_all_steps_of_epoch(compose_cfg, capsys):
    overrides = ("data.num_samples=16", "trainer.max_epochs=2", "trainer.log_every_n_steps=1")
    model, data, trainer, cfg = build_tiny(compose_cfg, *overrides)
    trainer.fit(model, data)
    lines = re.findall(r"epoch (\d)/2 .*train/loss (\S+)", capsys.readouterr().out)
    with open(f"{cfg.output_dir}/metrics.csv", newline="") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]

    assert len(losses) == 8  # two epochs of 4 steps
    assert [float(loss) for _, loss in lines] == pytest.approx([sum(losses[:4]) / 4, sum(losses[4:]) / 4], rel=1e-3)


def test_epoch_means_do_not_depend_on_logging_interval(compose_cfg, capsys):
    printed = []
    for interval in (1, 3):
        overrides = ("data.num_samples=16", "trainer.max_epochs=1", f"trainer.log_every_n_steps={interval}")
        model, data, trainer, _ = build_tiny(compose_cfg, *overrides)
        trainer.fit(model, data)
        printed.append(re.findall(r"train/\w+ \S+", capsys.readouterr().out))

    assert printed[0] == printed[1]
    assert len(printed[0]) == 2  # loss and accuracy
