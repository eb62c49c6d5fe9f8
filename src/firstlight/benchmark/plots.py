"""Plots of benchmark results."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from firstlight.run.files import write_figure
from firstlight.run.text import format_plot_text


def plot_speedups(results: dict[str, Any], path: Path) -> None:
    """Plot the speed-up over the CPU as bars, one per phase for each model.

    Args:
        results: The contents of benchmark.json.
        path: The image file to write.
    """
    speedups = [speedup for speedup in results["speedups"] if speedup["device"] != "cpu"]
    models = list(dict.fromkeys((speedup["model"], speedup["batch_size"]) for speedup in speedups))
    phases = [phase for phase in ("train", "eval") if any(speedup["phase"] == phase for speedup in speedups)]
    figure = Figure(figsize=(8.4, 4.8), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(phases)
    for index, phase in enumerate(phases):
        heights = {
            (speedup["model"], speedup["batch_size"]): speedup["speedup"]
            for speedup in speedups
            if speedup["phase"] == phase
        }
        positions = [position + (index - (len(phases) - 1) / 2) * width for position in range(len(models))]
        label = {"train": "training", "eval": "evaluation"}[phase]
        bars = axes.bar(positions, [heights.get(model, 0) for model in models], width * 0.94, label=label)
        axes.bar_label(bars, fmt=lambda value: f"{value:.0f}x" if value >= 10 else f"{value:.1f}x", padding=2)
    axes.set_xticks(range(len(models)), [f"{format_plot_text(name)}\nbatch size {size}" for name, size in models])
    axes.set_ylabel("speed-up over the CPU")
    axes.margins(y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    figure.supxlabel("\n".join(results["caption"]), fontsize=8, color="dimgray")
    write_figure(path, figure)
