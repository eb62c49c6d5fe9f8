"""Plots of the test results of several labels and of numbers."""

import torch
from PIL import Image

from firstlight.callbacks.label_scores import plot_label_scores
from firstlight.callbacks.predicted_vs_true import choose_points, plot_predicted_vs_true


def test_points_are_evenly_spaced_without_padding():
    ids = torch.tensor([5, 1, -1, 0, 3, 2, 4, -1])

    assert ids[choose_points(ids)].tolist() == [0, 1, 2, 3, 4, 5]
    assert ids[choose_points(ids, max_points=3)].tolist() == [0, 2, 5]


def test_plot_of_many_labels_has_a_limited_size(tmp_path):
    rows = [{"name": f"label {i}", "f1": 0.5, "average_precision": None, "support": i} for i in range(500)]
    plot_label_scores(rows, tmp_path / "many.png")
    plot_label_scores(rows[:1], tmp_path / "one.png")

    assert max(Image.open(tmp_path / "many.png").size) < 4000
    assert min(Image.open(tmp_path / "one.png").size) > 100


def test_single_point_is_plotted(tmp_path):
    plot_predicted_vs_true({"target_name": "price", "true": [1.0], "predicted": [1.0]}, tmp_path / "one.png")

    assert (tmp_path / "one.png").is_file()
