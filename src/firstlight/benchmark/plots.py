"""Plots of benchmark results."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from firstlight.benchmark.tables import compute_ratios, make_result_key
from firstlight.run.files import write_figure
from firstlight.run.text import format_plot_text

PHASE_LABELS = {"train": "training", "eval": "evaluation", "predict": "prediction"}
# Okabe and Ito (2008), distinguishable with color blindness.
PHASE_COLORS = {"train": "#0072B2", "eval": "#E69F00", "predict": "#009E73"}
MAX_BAR_WIDTH, MAX_NAME_LENGTH = 0.8, 24


def plot_results(results: dict[str, Any], path: Path) -> None:
    """Plot the speed-up over the CPU, and the throughput of the Trainer relative to a plain PyTorch loop.

    A panel without values is left out.

    Args:
        results: The contents of benchmark.json.
        path: The image file to write.
    """
    speedups = {
        make_result_key(speedup): speedup["speedup"] for speedup in results["speedups"] if speedup["device"] != "cpu"
    }
    panels = {
        "speed-up over the CPU": (speedups, "{:.0f}x"),
        "throughput of the Trainer, % of a plain PyTorch loop": (
            {key: 100 * ratio for key, ratio in compute_ratios(results["results"]).items()},
            "{:.0f}",
        ),
    }
    panels = {label: panel for label, panel in panels.items() if panel[0]}
    num_models = max(len({(key[0], key[2]) for key in values}) for values, _ in panels.values())
    figure = Figure(figsize=(max(8.4, 2 * num_models), 1.2 + 3.2 * len(panels)), layout="constrained")
    for axes, (label, (values, number_format)) in zip(
        figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True
    ):
        draw_bars(axes, values, results["results"], number_format)
        axes.set_title(label, fontsize=10, loc="left")
    handles, labels = figure.axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside upper center", ncols=len(labels))
    figure.supxlabel("\n".join(results["caption"]), fontsize=8, color="dimgray")
    write_figure(path, figure)


def draw_bars(
    axes: Axes, values: dict[tuple[str, str, str], float], results: list[dict[str, Any]], number_format: str
) -> None:
    """Draw a group of bars for each model and device, with a bar for each phase.

    Args:
        axes: The axes.
        values: Value by model, phase and device.
        results: The results of benchmark.json, whose conditions label the groups.
        number_format: Format of the number above a bar.
    """
    groups = list(dict.fromkeys((model, device) for model, _, device in values))
    phases = [phase for phase in PHASE_LABELS if any(key[1] == phase for key in values)]
    width = MAX_BAR_WIDTH / len(phases)
    for index, phase in enumerate(phases):
        heights = {
            position: values[model, phase, device]
            for position, (model, device) in enumerate(groups)
            if (model, phase, device) in values
        }
        offset = (index - (len(phases) - 1) / 2) * width
        positions = [position + offset for position in heights]
        bars = axes.bar(
            positions, list(heights.values()), width * 0.92, label=PHASE_LABELS[phase], color=PHASE_COLORS[phase]
        )
        axes.bar_label(bars, fmt=lambda value: format_value(value, number_format), padding=2, fontsize=9)
    axes.set_xticks(range(len(groups)), [make_label(group, results) for group in groups], fontsize=9)
    axes.margins(y=0.15)
    axes.spines[["top", "right"]].set_visible(False)


def format_value(value: float, number_format: str) -> str:
    """Return a number above a bar, with a decimal place if it is small."""
    return number_format.replace(".0f", ".1f").format(value) if value < 10 else number_format.format(value)


def make_label(group: tuple[str, str], results: list[dict[str, Any]]) -> str:
    """Return the label of a model and device: name, batch size, and the conditions that distinguish networks."""
    model, device = group
    result = next(result for result in results if (result["model"], result["device"]) == group)
    name, *values = model.split(" ")
    lines = [format_plot_text(name, MAX_NAME_LENGTH), *(value.rpartition(".")[2] for value in values)]
    size = f"batch size {result['batch_size']}" if result["batch_size"] else "steps"
    lines.append(", ".join(filter(None, [size, result["input"]])))
    if result["batch_norm"] or result["memory_format"]:
        lines.append("batch norm" if result["batch_norm"] else "no batch norm")
    return "\n".join([*lines, device] if device == "cpu" else lines)
