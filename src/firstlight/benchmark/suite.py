"""Benchmark suite: measure each workload on each accelerator, then save, print and plot the results."""

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
from firstlight.data.datamodule import LabeledDataModule
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
from firstlight.run.errors import HardwareError
from firstlight.run.files import to_plain_dict, utc_now, write_atomically
from firstlight.run.provenance import get_git_info, get_package_versions


class BenchmarkSuite:
    """The results of all workloads, written to benchmark.json after each measurement.

    Args:
        output_dir: Directory of the results.
        min_seconds: Minimum duration of each repeat in seconds.
        repeats: Number of repeats.
    """

    def __init__(self, output_dir: str, min_seconds: float, repeats: int) -> None:
        self.output_dir = Path(output_dir)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self.min_seconds = min_seconds
        self.repeats = repeats
        self.matmul_peaks: dict[tuple[str, str], float] = {}
        self.results: list[dict[str, Any]] = []
        self.metadata = {"started": utc_now(), "versions": get_package_versions(), "git": get_git_info()}

    def check_memory(self, name: str, train_cfg: DictConfig) -> None:
        """Check that a workload fits into the free memory, before anything is measured.

        Args:
            name: Name of the workload.
            train_cfg: Config of its training run.

        Raises:
            HardwareError: If the estimated peak memory exceeds the free memory.
        """
        model, data, trainer = build(OmegaConf.create({**to_plain_dict(train_cfg), "logger": None}))
        device, precision = trainer.strategy.root_device, str(trainer.precision)
        # The estimate is for MPS, which keeps more tensors in 32 bits than other devices. With the lower precision, it
        # is a lower bound for those.
        lower_bound = precision if device.type == "mps" else precision.replace("-mixed", "-true")
        if not isinstance(data, LabeledDataModule):
            return  # The size of its batches is unknown.
        estimate = dry_run(model, data, trainer, lower_bound, deterministic=False).memory_estimate
        free = get_free_memory_gib(device) * GIB
        if estimate is not None and (peak := estimate.get_peak_bytes(data.batch_size)) > free:
            raise HardwareError(
                f"{name} on {device.type} with batch size {data.batch_size} needs about {peak / GIB:.1f} GiB, but only "
                f"{free / GIB:.1f} GiB is free. {format_batch_size_advice(estimate, free).replace('data.', '')}"
            )

    def measure(self, name: str, train_cfg: DictConfig, phases: list[str]) -> None:
        """Measure a workload on its accelerator, and save the results after each phase.

        Args:
            name: Name of the workload.
            train_cfg: Config of its training run.
            phases: "train", "eval" or both.
        """
        benchmark = ModelBenchmark(resolve_auto_settings(train_cfg))
        device = benchmark.device
        precision = str(benchmark.trainer.precision)
        if (device.type, precision) not in self.matmul_peaks:
            self.matmul_peaks[device.type, precision] = measure_matmul_flops(device, precision)
        for phase in phases:
            for result in benchmark.run(phase, self.min_seconds, self.repeats):
                matmul_share = result.flops_per_s / self.matmul_peaks[device.type, precision]
                self.results.append(
                    {"model": name, "chip": get_device_name(device), **asdict(result), "matmul_share": matmul_share}
                )
                throughput = format_throughput(self.results[-1])
                print(f"{name:<9} {phase:<5} {device.type:<4} {result.loop:<7}  {throughput}", flush=True)
            self.write_results()
        del benchmark
        release_memory()

    def finalize(self) -> dict[str, Any]:
        """Print the table, plot the speed-ups, and return the contents of benchmark.json."""
        shutil.rmtree(self.output_dir / "runs", ignore_errors=True)
        results = self.write_results()
        print_results_table(results)
        if any(speedup["device"] != "cpu" for speedup in results["speedups"]):
            plot_speedups(results, self.output_dir / "speedup.png")
            print(f"plot      {self.output_dir}/speedup.png")
        else:
            print("plot      none (no accelerator available to compare with the CPU)")
        print(f"results   {self.output_dir}/benchmark.json")
        return results

    def write_results(self) -> dict[str, Any]:
        """Write benchmark.json, and return its contents."""
        devices = {result["device"] for result in self.results}
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
        results: dict[str, Any] = {
            **self.metadata,
            "machine": machine,
            "matmul_peaks": peaks,
            "results": self.results,
            "speedups": compute_speedups(self.results),
        }
        results["caption"] = make_caption(results)
        write_atomically(self.output_dir / "benchmark.json", json.dumps(results, indent=2) + "\n")
        return results


def compute_speedups(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the speed-up over the CPU of each result of the Trainer; results without a CPU result are left out."""
    trainer_results = [result for result in results if result["loop"] == "trainer"]
    cpu = {
        (result["model"], result["phase"]): result["samples_per_s"]
        for result in trainer_results
        if result["device"] == "cpu"
    }
    keys = ("model", "phase", "device", "precision", "batch_size", "samples_per_s")
    return [
        {
            **{key: result[key] for key in keys},
            "speedup": result["samples_per_s"] / cpu[result["model"], result["phase"]],
        }
        for result in trainer_results
        if (result["model"], result["phase"]) in cpu
    ]


def make_caption(results: dict[str, Any]) -> list[str]:
    """Return lines with the devices, precisions, package versions and number of repeats of a benchmark.

    Args:
        results: The contents of benchmark.json.
    """
    machine, versions = results["machine"], results["versions"]
    trainer_results = [result for result in results["results"] if result["loop"] == "trainer"]
    lines = []
    for device in dict.fromkeys(result["device"] for result in trainer_results):
        precisions = sorted({result["precision"] for result in trainer_results if result["device"] == device})
        cores = f", {machine['cores']} cores" if device == "cpu" else ""
        lines.append(f"{device}: {machine[device]['chip']}{cores}, {machine[device]['memory_gib']:.0f} GiB, "
                     f"{', '.join(precisions)}")  # fmt: skip
    packages = ", ".join(f"{name} {versions[name]}" for name in ("torch", "lightning") if name in versions)
    repeats = max((result["repeats"] for result in trainer_results), default=0)
    return [*lines, f"{packages}; median of n = {repeats}"]


def format_throughput(result: dict[str, Any]) -> str:
    """Return the median throughput of a result with its minimum and maximum."""
    low, high, unit = result["lowest"], result["highest"], "samples" if result["batch_size"] else "steps"
    return f"{format_number(result['samples_per_s'])} {unit}/s ({format_number(low)} to {format_number(high)})"


def format_number(value: float) -> str:
    """Return a number with at least three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def print_results_table(results: dict[str, Any]) -> None:
    """Print one row per workload, phase and device, for the Trainer, with its ratio to the plain loop.

    Args:
        results: The contents of benchmark.json.
    """
    names = ("model", "phase", "batch size", "device", "precision", "samples/s", "of plain loop", "peak GiB", "TFLOP/s")
    table = Table(*names, "of matmul peak", "speed-up")
    plain = {
        make_result_key(result): result["samples_per_s"] for result in results["results"] if result["loop"] == "plain"
    }
    speedups = {make_result_key(speedup): speedup["speedup"] for speedup in results["speedups"]}
    for result in results["results"]:
        if result["loop"] == "trainer":
            key = make_result_key(result)
            table.add_row(
                *(
                    result["model"],
                    result["phase"],
                    str(result["batch_size"] or ""),
                    result["device"],
                    result["precision"],
                ),
                format_number(result["samples_per_s"]) + ("" if result["batch_size"] else " steps/s"),
                f"{result['samples_per_s'] / plain[key]:.2f}" if key in plain else "",
                f"{result['peak_memory_gib']:.1f}",
                f"{result['flops_per_s'] / 1e12:.3g}",
                f"{result['matmul_share']:.0%}",
                f"{speedups[key]:.1f}" if key in speedups else "",
            )
    print_table(table)


def make_result_key(result: dict[str, Any]) -> tuple[str, str, str]:
    """Return model, phase and device, which identify a result among all results of a loop."""
    return result["model"], result["phase"], result["device"]
