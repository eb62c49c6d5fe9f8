"""Benchmark suite: measure each workload on each accelerator, then save, print and plot the results."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from traceback import extract_tb
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from firstlight.benchmark.plots import plot_results
from firstlight.benchmark.tables import compute_ratios, format_throughput, print_results_table
from firstlight.benchmark.throughput import ModelBenchmark
from firstlight.build import build, resolve_auto_settings
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
from firstlight.run.errors import HardwareError, UserError
from firstlight.run.exit_actions import run_exit_actions
from firstlight.run.failure import describe_failure
from firstlight.run.files import to_plain_dict, utc_now, write_atomically
from firstlight.run.provenance import get_git_info, get_package_versions


class BenchmarkSuite:
    """The results of all workloads, written to benchmark.json after each measurement.

    Args:
        output_dir: Directory of the results.
        min_seconds: Minimum duration of each repeat in seconds.
        max_seconds: No further repeat of a loop starts after this time in seconds.
        repeats: Maximum number of repeats.
        has_plain_cpu_loop: Whether to measure the plain loop on the CPU, too.
    """

    def __init__(
        self, output_dir: str, min_seconds: float, max_seconds: float, repeats: int, has_plain_cpu_loop: bool = True
    ) -> None:
        self.output_dir = Path(output_dir)
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self.min_seconds = min_seconds
        self.max_seconds = max_seconds
        self.repeats = repeats
        self.has_plain_cpu_loop = has_plain_cpu_loop
        self.matmul_peaks: dict[tuple[str, str], float] = {}
        self.results: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self.metadata = {"started": utc_now(), "versions": get_package_versions(), "git": get_git_info()}

    def check_memory(self, name: str, train_cfg: DictConfig) -> None:
        """Check that a workload fits into the free memory: the system may kill a process that exceeds it.

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

    def measure(self, name: str, train_cfg: DictConfig, phases: list[str], published: str | None = None) -> None:
        """Measure a workload on its accelerator; a failure is recorded, and the other phases and workloads continue.

        Args:
            name: Name of the workload.
            train_cfg: Config of its training run.
            phases: Any of "train", "eval" and "predict".
            published: Name of the workload among published results; None: it has none.
        """
        device = str(train_cfg.trainer.accelerator)
        try:
            if device != "cuda":  # CUDA reports that its memory is full
                self.check_memory(name, train_cfg)
            benchmark = ModelBenchmark(resolve_auto_settings(train_cfg))
        except Exception as error:  # a workload can raise anything
            self.add_failure(name, device, None, error, train_cfg)
            return
        for phase in phases:
            try:
                if reason := benchmark.prepare(phase):
                    print(f"Skipped {phase} of {name}: {reason}.", flush=True)
                else:
                    self.measure_phase(name, benchmark, phase, published)
            except Exception as error:
                self.add_failure(name, device, phase, error, train_cfg)
            self.write_results()
            release_memory()
        del benchmark
        release_memory()

    def measure_phase(self, name: str, benchmark: ModelBenchmark, phase: str, published: str | None) -> None:
        """Measure a phase, and add the results of its loops."""
        device, has_plain_loop = benchmark.device, benchmark.device.type != "cpu" or self.has_plain_cpu_loop
        loops = benchmark.run(phase, self.min_seconds, self.max_seconds, self.repeats, has_plain_loop)
        precision = str(benchmark.trainer.precision)
        if (device.type, precision) not in self.matmul_peaks:
            self.matmul_peaks[device.type, precision] = measure_matmul_flops(device, precision)
        for loop in loops:
            fields = asdict(loop)
            conditions = fields.pop("conditions")
            matmul_share = loop.flops_per_s / self.matmul_peaks[device.type, precision]
            self.results.append(
                {
                    "model": name,
                    "published": published,
                    "chip": get_device_name(device),
                    **fields,
                    "matmul_share": matmul_share,
                    **conditions,
                }
            )
            throughput = format_throughput(self.results[-1])
            print(f"{name:<9} {phase:<7} {device.type:<4} {loop.loop:<7}  {throughput}", flush=True)

    def add_failure(self, name: str, device: str, phase: str | None, error: Exception, train_cfg: DictConfig) -> None:
        """Record that a workload, or a phase of it, has failed, and run its exit actions."""
        run_exit_actions(self.output_dir / "runs", 1)
        reason = describe_failure(error, train_cfg)
        if not isinstance(error, UserError) and (frames := extract_tb(error.__traceback__)):
            reason = f"{reason.rstrip('.')} (in {Path(frames[-1].filename).name}:{frames[-1].lineno})"
        self.failures.append({"model": name, "device": device, "phase": phase, "reason": reason})
        print(f"{name:<9} {phase or 'build':<7} {device:<4} failed   {reason}", flush=True)

    def finalize(self) -> dict[str, Any]:
        """Print the table, plot the results, and return the contents of benchmark.json."""
        shutil.rmtree(self.output_dir / "runs", ignore_errors=True)
        results = self.write_results()
        print_results_table(results)
        if compute_ratios(results["results"]) or any(row["device"] != "cpu" for row in results["speedups"]):
            plot_results(results, self.output_dir / "speedup.png")
            print(f"plot      {self.output_dir}/speedup.png")
        else:
            print("plot      none (neither an accelerator nor a plain loop to compare with)")
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
            "failures": self.failures,
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
    repeats = sorted({result["repeats"] for result in trainer_results}) or [0]
    number = str(repeats[0]) if len(repeats) == 1 else f"{repeats[0]} to {repeats[-1]}"
    return [*lines, f"{packages}; median of n = {number}; learning rate 0, no loss guard"]
