"""Time training and evaluation of a model, with the Trainer and with a plain PyTorch loop."""

import contextlib
import io
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch.utils._pytree import tree_map_only

from firstlight.benchmark.loops import RepeatedBatchLoader, Stopwatch, Timing, make_eval_step, make_train_step
from firstlight.build import build, build_trainer, resolve_module_settings
from firstlight.data.batch import Batch
from firstlight.data.datamodule import LabeledDataModule
from firstlight.hardware.device import get_peak_memory_gib, reset_peak_memory, synchronize
from firstlight.model.flops import count_flops_per_sample
from firstlight.model.task import Task
from firstlight.mps.sample_batch import load_plain_batch
from firstlight.run.errors import ConfigError
from firstlight.run.exit_actions import run_exit_actions
from firstlight.run.files import to_plain_dict
from firstlight.trainer.loops import find_missing_hooks

# Steps before the timed ones: on an accelerator, kernels are selected and CUDA graphs recorded in them.
WARMUP_STEPS = {"cpu": 1, "cuda": 12, "mps": 12}


@dataclass
class BenchmarkResult:
    """Result of one loop in one phase; throughputs are the median, the lowest and the highest over the repeats.

    If the number of samples of a batch is unknown, the throughputs are in steps/s and the batch size is 0.
    """

    phase: str
    loop: str
    device: str
    precision: str
    compiled: bool
    batch_size: int
    steps: int
    repeats: int
    samples_per_s: float
    lowest: float
    highest: float
    peak_memory_gib: float
    flops_per_sample: float
    flops_per_s: float


class ModelBenchmark:
    """Measure one model on one device, alternating between the Trainer and a plain PyTorch loop."""

    def __init__(self, cfg: DictConfig) -> None:
        """Build model and data from the config of a training run, whose `auto` values are resolved."""
        # The benchmark stands for a long run: it is compiled unless the trainer never compiles.
        cfg.trainer.compile, cfg.trainer.compile_min_steps = cfg.trainer.compile is not False, 0
        self.settings = to_plain_dict(cfg)
        # This trainer logs nothing: `time_trainer` builds a new one for each measurement.
        self.model, self.data, trainer = build(OmegaConf.create({**self.settings, "logger": None}))
        resolve_module_settings(self.settings, self.model)
        self.trainer = trainer
        self.device = trainer.strategy.root_device
        self.warmup = WARMUP_STEPS[self.device.type]
        self.is_task = isinstance(self.model, Task) and isinstance(self.data, LabeledDataModule)
        if self.is_task:
            batch = next(iter(self.data.train_dataloader()))  # type: ignore[union-attr]
            self.batch: Any = tree_map_only(torch.Tensor, lambda tensor: tensor.to(self.device), batch)
            self.batch_size = len(self.batch["ids"])
        else:
            # On the CPU: the hooks of the module move each batch.
            self.batch, _ = load_plain_batch(self.model, self.data, "training")
            known: Any = getattr(self.data, "batch_size", None)
            self.batch_size = known if isinstance(known, int) else 0

    def run(self, phase: str, min_seconds: float, repeats: int) -> list[BenchmarkResult]:
        """Return the results of the Trainer and of the plain loop.

        Args:
            phase: "train" or "eval".
            min_seconds: Minimum duration of each repeat in seconds, but at least one step.
            repeats: Number of repeats of each loop.
        """
        loops: dict[str, Callable[[str, int], Timing]] = {"trainer": self.time_trainer}
        if self.is_task:
            loops["plain"] = self.time_plain_loop  # the loop of any other module is unknown
        # The first measurement compiles the network, records CUDA graphs, and determines the number of steps.
        num_trial_steps = max(self.warmup // 2, 1)
        first = self.time_trainer(phase, num_trial_steps)
        steps = max(round(min_seconds * num_trial_steps / first.seconds), 1)
        timings: dict[str, list[Timing]] = {name: [] for name in loops}
        for _ in range(repeats):
            for name, loop in loops.items():
                timings[name].append(loop(phase, steps))
        timings["trainer"][0].peak_memory_gib = max(first.peak_memory_gib, timings["trainer"][0].peak_memory_gib)
        flops_per_sample = 0.0
        if self.is_task:
            inputs = self.preprocess_batch()["inputs"]
            flops_per_sample = count_flops_per_sample(self.model, inputs, training=phase == "train")
        return [self._make_result(phase, name, steps, timings[name], flops_per_sample) for name in loops]

    def time_trainer(self, phase: str, steps: int) -> Timing:
        """Time `steps` steps of a new Trainer with the callbacks and loggers of the config."""
        with contextlib.redirect_stdout(io.StringIO()):
            return self._time_trainer(phase, steps)

    def _time_trainer(self, phase: str, steps: int) -> Timing:
        self.trainer = trainer = build_trainer(self.settings)
        stopwatch = Stopwatch(self.device, self.warmup, steps)
        trainer.callbacks.append(stopwatch)  # type: ignore[attr-defined]
        length = self.warmup + steps
        loaders = {"train": RepeatedBatchLoader(self.batch, length), "val": RepeatedBatchLoader(self.batch, 1)}
        owner = self.model if self.data is None else self.data
        for name, loader in {**loaders, "test": loaders["train"]}.items():
            setattr(owner, f"{name}_dataloader", lambda loader=loader: loader)
        if phase == "train":
            self.model.train()
            trainer.fit(self.model, self.data)
        elif find_missing_hooks(self.model, self.data, "test"):
            raise ConfigError(f"{type(self.model).__name__} has no test_step. Measure only phases=[train].")
        else:
            trainer.test(self.model, self.data, verbose=False)
        run_exit_actions(Path(self.settings["output_dir"]), 0)
        return stopwatch.timing

    def time_plain_loop(self, phase: str, steps: int) -> Timing:
        """Time `steps` steps of a plain PyTorch loop with the same network, optimizer and precision."""
        assert isinstance(self.model, Task)
        model, trainer = self.model.to(self.device), self.trainer
        batch = self.preprocess_batch()
        step = make_train_step(model, trainer, batch) if phase == "train" else make_eval_step(model, trainer, batch)
        reset_peak_memory(self.device)
        for _ in range(self.warmup):
            step()
        synchronize(self.device)
        started = time.perf_counter()
        for _ in range(steps):
            step()
        synchronize(self.device)
        timing = Timing(time.perf_counter() - started, get_peak_memory_gib(self.device))
        model.zero_grad(set_to_none=True)
        return timing

    def preprocess_batch(self) -> Batch:
        """Return the batch as a training step receives it: normalized, with the dtype of the precision."""
        assert self.data is not None
        self.data.trainer = self.trainer
        return self.data.on_after_batch_transfer(self.trainer.precision_plugin.convert_input(self.batch), 0)

    def _make_result(
        self, phase: str, loop: str, steps: int, timings: list[Timing], flops_per_sample: float
    ) -> BenchmarkResult:
        throughputs = sorted((self.batch_size or 1) * steps / timing.seconds for timing in timings)
        median = statistics.median(throughputs)
        return BenchmarkResult(
            phase=phase,
            loop=loop,
            device=self.device.type,
            precision=str(self.trainer.precision),
            compiled=isinstance(self.model, Task) and self.model.network._compiled_call_impl is not None,
            batch_size=self.batch_size,
            steps=steps,
            repeats=len(timings),
            samples_per_s=median,
            lowest=throughputs[0],
            highest=throughputs[-1],
            peak_memory_gib=max(timing.peak_memory_gib for timing in timings),
            flops_per_sample=flops_per_sample,
            flops_per_s=median * flops_per_sample,
        )
