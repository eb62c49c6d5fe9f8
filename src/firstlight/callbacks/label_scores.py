"""Plot the scores of each label of the test split to label_scores.png, and write them to JSON."""

import json
import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.figure import Figure

from firstlight.logger.media import log_image, log_table
from firstlight.model.multilabel import MultiLabelClassifier
from firstlight.run.files import write_atomically, write_figure
from firstlight.run.optional import continue_on_failure
from firstlight.run.text import format_plot_text, format_printable

# With more labels, their names would overlap. The JSON file has all of them.
MAX_PLOTTED_LABELS = 60
COLUMNS = ("name", "f1", "average_precision", "support")


class LabelScoresPlot(Callback):
    """Write label_scores.png and label_scores.json after a test: F1 and average precision of each label.

    The loggers also receive the plot, and a table as "test/labels".

    Args:
        output_dir: The run directory.
    """

    def __init__(self, output_dir: str) -> None:
        self.output_dir = Path(output_dir)

    @continue_on_failure("label_scores.png")
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write both files on rank 0; a module that is no `MultiLabelClassifier` has no labels."""
        if not trainer.is_global_zero or not isinstance(pl_module, MultiLabelClassifier):
            return
        rows = list_label_scores(pl_module)
        path = self.output_dir / "label_scores.png"
        plot_label_scores(rows, path)
        write_atomically(self.output_dir / "label_scores.json", json.dumps({"labels": rows}) + "\n")
        log_image(trainer, "test/label_scores", [path])
        table = [[format_printable(str(row[COLUMNS[0]])), *(row[column] for column in COLUMNS[1:])] for row in rows]
        log_table(trainer, "test/labels", ["label", *COLUMNS[1:]], table)


def list_label_scores(model: MultiLabelClassifier) -> list[dict[str, Any]]:
    """Return "name", "f1", "average_precision" (None without positive samples) and "support" of each label."""
    scores = model.label_scores
    return [
        {"name": name, "f1": f1, "average_precision": None if math.isnan(ap) else ap, "support": support}
        for name, f1, ap, support in zip(
            model.label_names, scores["label_f1"], scores["label_ap"], scores["support"], strict=True
        )
    ]


def plot_label_scores(rows: list[dict[str, Any]], path: Path) -> None:
    """Plot two bars per label to a PNG file; of many labels, those with the most samples.

    Args:
        rows: See `list_label_scores`.
        path: File to write.
    """
    shown = (
        sorted(rows, key=lambda row: -row["support"])[:MAX_PLOTTED_LABELS] if len(rows) > MAX_PLOTTED_LABELS else rows
    )
    figure = Figure(figsize=(6, max(2.0, 0.9 + 0.4 * len(shown))), layout="constrained")
    axes = figure.subplots()
    for column, label, offset in (("f1", "F1", -0.2), ("average_precision", "average precision", 0.2)):
        positions = [index + offset for index in range(len(shown))]
        axes.barh(positions, [row[column] or 0.0 for row in shown], height=0.36, label=label)
    axes.set_yticks(range(len(shown)), [format_plot_text(row["name"]) for row in shown])
    axes.set(xlim=(0, 1), ylim=(len(shown) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2)
    write_figure(path, figure)
