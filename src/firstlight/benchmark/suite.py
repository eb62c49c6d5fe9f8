"""Compare accelerators: measure each training on each, and write, print and draw the outcome."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from firstlight.benchmark.plots import plot_speedups
from firstlight.benchmark.throughput import ModelBenchmark
from firstlight.build import build, resolve_auto_settings
from firstlight.cli.console import print_table
from firstlight.hardware.device import (
    GIB,
    count_available_cpus,
    get_device_name,
    get_free_memory_gib,
    get_memory_gib,
    measure_matmul_flops,
    release_memory,
)
from firstlight.mps.dry_run import dry_run
from firstlight.mps.memory import format_batch_size_advice
from firstlight.run.files import to_plain_dict, utc_now, write_atomically
from firstlight.run.provenance import get_git_info, get_package_versions


class BenchmarkSuite:
    """The figures of all trainings, kept in benchmark.json as they come.

    Args:
        output_dir: folder of the outcome.
        seconds: of each repeat.
        repeats: how often everything is measured.
    """

    def __init__(self, output_dir: str, seconds: float, repeats: int) -> None:
        self.folder = Path(output_dir)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.seconds = seconds
        self.repeats = repeats
        self.matmul_peaks: dict[tuple[str, str], float] = {}
        self.results: list[dict[str, Any]] = []
        self.about = {"started": utc_now(), "versions": get_package_versions(), "git": get_git_info()}

    def check_memory(self, name: str, training: DictConfig) -> None:
        """Refuse a training that would not fit, before anything is measured.

        Raises:
            ValueError: by arithmetic it needs more than is free.
        """
        model, data, trainer = build(OmegaConf.create({**to_plain_dict(training), "logger": None}))
        device, precision = trainer.strategy.root_device, str(trainer.precision)
        # The arithmetic is that of MPS, which keeps more in 32 bits than others do: this is the least they need.
        least = precision if device.type == "mps" else precision.replace("-mixed", "-true")
        need = dry_run(model, data, trainer, least, deterministic=False).memory_estimate
        free = get_free_memory_gib(device) * GIB
        if need is not None and need.get_peak_bytes(data.batch_size) > free:
            raise ValueError(
                f"{name} on {device.type} with batch size {data.batch_size} needs about "
                f"{need.get_peak_bytes(data.batch_size) / GIB:.1f} GiB, but {free / GIB:.1f} are free: "
                f"{format_batch_size_advice(need, free).replace('data.', '')}"
            )

    def measure(self, name: str, training: DictConfig, phases: list[str]) -> None:
        """Measure a training on its accelerator; what a failure leaves is what was measured before it."""
        contest = ModelBenchmark(resolve_auto_settings(training))
        device = contest.device
        precision = str(contest.trainer.precision)
        if (device.type, precision) not in self.matmul_peaks:
            self.matmul_peaks[device.type, precision] = measure_matmul_flops(device, precision)
        for phase in phases:
            for figure in contest.run(phase, self.seconds, self.repeats):
                share = figure.flops_per_s / self.matmul_peaks[device.type, precision]
                self.results.append(
                    {"model": name, "chip": get_device_name(device), **asdict(figure), "matmul_share": share}
                )
                print(
                    f"{name:<9} {phase:<5} {device.type:<4} {figure.loop:<7}  {format_throughput(self.results[-1])}",
                    flush=True,
                )
            self.write_results()
        del contest
        release_memory()

    def finalize(self) -> dict[str, Any]:
        """Print the table, draw the chart, and return everything."""
        shutil.rmtree(self.folder / "runs", ignore_errors=True)
        result = self.write_results()
        print_results_table(result)
        others = [each for each in result["speedups"] if each["device"] != "cpu"]
        if others:
            plot_speedups(result, self.folder / "speedup.png")
            print(f"chart     {self.folder}/speedup.png")
        else:
            print("chart     none: there is no accelerator here that the CPU could be compared with")
        print(f"figures   {self.folder}/benchmark.json")
        return result

    def write_results(self) -> dict[str, Any]:
        """Write benchmark.json, and return what is in it."""
        devices = {each["device"] for each in self.results}
        machine = {
            "cores": count_available_cpus(),
            **{
                name: {
                    "chip": get_device_name(torch.device(name)),
                    "memory_gib": round(get_memory_gib(torch.device(name)), 1),
                }
                for name in sorted(devices | {"cpu"})
            },
        }
        peaks = [
            {"device": d, "precision": p, "matmul_flops_per_s": peak} for (d, p), peak in self.matmul_peaks.items()
        ]
        result: dict[str, Any] = {
            **self.about,
            "machine": machine,
            "matmul_peaks": peaks,
            "results": self.results,
            "speedups": compute_speedups(self.results),
        }
        result["caption"] = make_caption(result)
        write_atomically(self.folder / "benchmark.json", json.dumps(result, indent=2) + "\n")
        return result


def compute_speedups(figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each training through the Trainer, how many times faster than the CPU its device is."""
    through = [each for each in figures if each["loop"] == "trainer"]
    cpu = {(each["model"], each["phase"]): each["samples_per_s"] for each in through if each["device"] == "cpu"}
    return [
        {
            **{key: each[key] for key in ("model", "phase", "device", "precision", "batch_size", "samples_per_s")},
            "speedup": each["samples_per_s"] / cpu[each["model"], each["phase"]],
        }
        for each in through
        if (each["model"], each["phase"]) in cpu
    ]


def make_caption(result: dict[str, Any]) -> list[str]:
    """Return chips, precisions, versions and number of measurements of a benchmark, in lines."""
    machine, versions = result["machine"], result["versions"]
    through = [each for each in result["results"] if each["loop"] == "trainer"]
    lines = []
    for device in dict.fromkeys(each["device"] for each in through):
        precisions = sorted({each["precision"] for each in through if each["device"] == device})
        about = f", {machine['cores']} cores" if device == "cpu" else ""
        lines.append(f"{device}: {machine[device]['chip']}{about}, {machine[device]['memory_gib']:.0f} GiB, "
                     f"{', '.join(precisions)}")  # fmt: skip
    packages = ", ".join(f"{name} {versions[name]}" for name in ("torch", "lightning") if name in versions)
    repeats = max((each["repeats"] for each in through), default=0)
    return [*lines, f"{packages}; median of n = {repeats}"]


def format_throughput(figure: dict[str, Any]) -> str:
    """Return the speed of a figure with its spread."""
    low, high = figure["lowest"], figure["highest"]
    return f"{format_number(figure['samples_per_s'])} samples/s ({format_number(low)} to {format_number(high)})"


def format_number(value: float) -> str:
    """Return a number with three digits or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def print_results_table(result: dict[str, Any]) -> None:
    """Print a row for each training: its speed, that of the bare loop, memory, arithmetic, and times the CPU."""
    names = ("model", "phase", "batch", "device", "precision", "samples/s", "of bare loop", "GiB", "TFLOP/s")
    table = Table(*names, "of matmul peak", "x CPU")
    bare = {make_result_key(each): each["samples_per_s"] for each in result["results"] if each["loop"] == "bare"}
    times = {make_result_key(each): each["speedup"] for each in result["speedups"]}
    for each in result["results"]:
        if each["loop"] == "trainer":
            table.add_row(
                *(each["model"], each["phase"], str(each["batch_size"]), each["device"], each["precision"]),
                format_number(each["samples_per_s"]),
                f"{each['samples_per_s'] / bare[make_result_key(each)]:.2f}",
                f"{each['peak_memory_gib']:.1f}",
                f"{each['flops_per_s'] / 1e12:.3g}",
                f"{each['matmul_share']:.0%}",
                f"{times[make_result_key(each)]:.1f}" if make_result_key(each) in times else "",
            )
    print_table(table)


def make_result_key(figure: dict[str, Any]) -> tuple[str, str, str]:
    """Return what tells a figure from the others of its loop."""
    return figure["model"], figure["phase"], figure["device"]
