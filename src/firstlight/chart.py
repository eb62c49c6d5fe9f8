"""Draw the results of sweeps and benchmarks."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

PANELS = ("test/accuracy", "samples/s", "peak GiB")


def draw_results(rows: list[dict[str, Any]], figures: list[str], picture: Path) -> None:
    """Draw a bar per job for accuracy, speed and memory.

    Args:
        rows: a row per job: its overrides first, then "status" and the figures.
        figures: names of the columns that are figures, not overrides.
        picture: file to write.
    """
    overrides = list(rows[0])[: list(rows[0]).index("status")]
    names = [", ".join(str(row[name]) for name in overrides) or str(index) for index, row in enumerate(rows)]
    panels = [name for name in PANELS if name in figures]
    height = 1.6 + 0.32 * len(rows)
    figure = Figure(figsize=(3.2 * len(panels) + 1.8, height), layout="constrained")
    figure.suptitle(", ".join(overrides), fontsize=10)
    for axes, panel in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
        values = [row[panel] if isinstance(row[panel], int | float) else 0 for row in rows]
        axes.barh(names, values, color=["tab:blue" if row["status"] == "finished" else "tab:red" for row in rows])
        for index, (row, value) in enumerate(zip(rows, values, strict=True)):
            axes.text(value, index, f" {value:.3g}" if value else f" {row['status']}", va="center", fontsize=8)
        axes.set_title(panel, fontsize=10)
        axes.margins(x=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()
    figure.savefig(picture, dpi=150)


def draw_batch_sizes(rows: list[dict[str, Any]], picture: Path) -> None:
    """Draw throughput and memory against batch size, a line for each combination of the other settings.

    Args:
        rows: as in `draw_results`, "data.batch_size" among the overrides.
        picture: file to write.
    """
    overrides = list(rows[0])[: list(rows[0]).index("status")]
    others = [name for name in overrides if name != "data.batch_size"]
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["status"] == "finished":
            lines.setdefault(", ".join(str(row[name]) for name in others), []).append(row)
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, column, label in zip(
        figure.subplots(1, 2), ("samples/s", "peak GiB"), ("samples per second", "peak memory in GiB"), strict=True
    ):
        for name, line in lines.items():
            points = sorted((int(row["data.batch_size"]), row[column]) for row in line if row[column])
            axes.plot(*zip(*points, strict=True), "o-", label=name or None)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set(xlabel="batch size", ylabel=label, ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if others and axes.lines:
            axes.legend(frameon=False, title=", ".join(others))
    figure.savefig(picture, dpi=150)


def draw_speedups(result: dict[str, Any], picture: Path) -> None:
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
        times = {(each["model"], each["batch_size"]): each["times"] for each in bars if each["phase"] == phase}
        places = [place + (index - (len(phases) - 1) / 2) * width for place in range(len(models))]
        label = {"train": "training", "eval": "evaluation"}[phase]
        drawn = axes.bar(places, [times.get(model, 0) for model in models], width * 0.94, label=label)
        axes.bar_label(drawn, fmt=lambda value: f"{value:.0f}x" if value >= 10 else f"{value:.1f}x", padding=2)
    axes.set_xticks(range(len(models)), [f"{name}\nbatch size {size}" for name, size in models])
    axes.set_ylabel("times faster than the CPU")
    axes.margins(y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    figure.supxlabel(caption(result), fontsize=8, color="dimgrey")
    figure.savefig(picture, dpi=150)


def caption(result: dict[str, Any]) -> str:
    """Return chips, precisions, versions and number of measurements of a benchmark, in lines."""
    machine, versions = result["machine"], result["versions"]
    through = [each for each in result["figures"] if each["loop"] == "trainer"]
    lines = []
    for device in dict.fromkeys(each["device"] for each in through):
        precisions = sorted({each["precision"] for each in through if each["device"] == device})
        about = f", {machine['cores']} cores" if device == "cpu" else ""
        lines.append(f"{device}: {machine[device]['chip']}{about}, {machine[device]['memory_gib']:.0f} GiB, "
                     f"{', '.join(precisions)}")  # fmt: skip
    packages = ", ".join(f"{name} {versions[name]}" for name in ("torch", "lightning") if name in versions)
    repeats = max(each["repeats"] for each in through)
    return "\n".join([*lines, f"{packages}; median of n = {repeats}"])
