"""Draw the results of a benchmark."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from firstlight.run.files import write_figure


def plot_speedups(result: dict[str, Any], picture: Path) -> None:
    """Draw how many times faster than the CPU an accelerator trains and evaluates: a pair of bars for each model.

    Args:
        result: what benchmark.json holds.
        picture: file to write.
    """
    bars = [each for each in result["speedups"] if each["device"] != "cpu"]
    models = list(dict.fromkeys((each["model"], each["batch_size"]) for each in bars))
    phases = [phase for phase in ("train", "eval") if any(each["phase"] == phase for each in bars)]
    figure = Figure(figsize=(8.4, 4.8), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(phases)
    for index, phase in enumerate(phases):
        times = {(each["model"], each["batch_size"]): each["speedup"] for each in bars if each["phase"] == phase}
        places = [place + (index - (len(phases) - 1) / 2) * width for place in range(len(models))]
        label = {"train": "training", "eval": "evaluation"}[phase]
        drawn = axes.bar(places, [times.get(model, 0) for model in models], width * 0.94, label=label)
        axes.bar_label(drawn, fmt=lambda value: f"{value:.0f}x" if value >= 10 else f"{value:.1f}x", padding=2)
    axes.set_xticks(range(len(models)), [f"{name}\nbatch size {size}" for name, size in models])
    axes.set_ylabel("times faster than the CPU")
    axes.margins(y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    figure.supxlabel("\n".join(result["caption"]), fontsize=8, color="dimgrey")
    write_figure(picture, figure)
