"""Time a training and an evaluation, through the Trainer and through a bare PyTorch loop of the same network."""

import contextlib
import io
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback
from omegaconf import DictConfig, OmegaConf
from torch.nn import functional
from torch.utils._pytree import tree_map_only

from firstlight.build import build, build_trainer
from firstlight.data.datamodule import Batch, ClassificationDataModule
from firstlight.hardware.device import get_peak_memory_gib, reset_peak_memory, synchronize
from firstlight.model.classifier import Classifier
from firstlight.model.flops import count_flops_per_sample
from firstlight.run.files import to_plain_dict
from firstlight.run.record import run_exit_actions
from firstlight.trainer.trainer import Trainer

# Steps before the clock starts: on an accelerator kernels are chosen and graphs recorded then.
WARMUP_STEPS = {"cpu": 1, "cuda": 12, "mps": 12}


@dataclass
class BenchmarkResult:
    """What one loop reached; speeds are medians over the repeats, with the lowest and the highest."""

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


@dataclass
class Timing:
    """Seconds of so many steps, and the most memory that they took."""

    seconds: float
    peak_memory_gib: float


class RepeatedBatchLoader:
    """A loader that hands out the same batch again and again: what is measured then is not the data."""

    def __init__(self, batch: Batch, length: int) -> None:
        """Keep the batch and how often to hand it out."""
        self.batch = batch
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Batch]:
        for _ in range(self.length):
            yield self.batch


class Stopwatch(Callback):
    """Time the batches after a warm-up, from the moment that the device is free to the moment that it is done."""

    def __init__(self, device: torch.device, warmup: int, steps: int) -> None:
        """Keep how many batches to let pass, and how many to time."""
        self.device = device
        self.first = warmup
        self.last = warmup + steps - 1
        self.timing = Timing(0.0, 0.0)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Measure memory from here on: it peaks in the warm-up, where CUDA graphs are recorded."""
        reset_peak_memory(self.device)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Start at the first batch that counts."""
        if batch_idx == self.first:
            synchronize(self.device)
            self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop at the last one."""
        if batch_idx == self.last:
            synchronize(self.device)
            self.timing = Timing(time.perf_counter() - self.started, get_peak_memory_gib(self.device))

    def on_test_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Start at the first batch that counts."""
        self.on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Stop at the last one."""
        self.on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)


class ModelBenchmark:
    """One model on one device: the Trainer and the bare loop take turns."""

    def __init__(self, cfg: DictConfig) -> None:
        """Build model and data of a training, whose configuration is resolved for this machine."""
        # A long training is what is measured: one that is compiled if the trainer compiles at all.
        cfg.trainer.compile = cfg.trainer.compile is not False
        self.settings = to_plain_dict(cfg)
        self.model: Classifier
        self.data: ClassificationDataModule
        # Its trainer logs nothing: each turn gets one of its own.
        self.model, self.data, trainer = build(OmegaConf.create({**self.settings, "logger": None}))
        self.trainer = trainer
        self.device = trainer.strategy.root_device
        self.warmup = WARMUP_STEPS[self.device.type]
        batch = next(iter(self.data.train_dataloader()))
        self.batch: Batch = tree_map_only(torch.Tensor, lambda each: each.to(self.device), batch)

    def run(self, phase: str, seconds: float, repeats: int) -> list[BenchmarkResult]:
        """Return the figures of the Trainer and of the bare loop in "train" or "eval".

        Args:
            phase: what to time.
            seconds: how long each repeat takes at least; never less than a step.
            repeats: how often each takes its turn.
        """
        loops: dict[str, Callable[[str, int], Timing]] = {"trainer": self.time_trainer, "bare": self.time_plain_loop}
        # Compiles, records what CUDA graphs keep, and tells how many steps fill the time.
        trial = max(self.warmup // 2, 1)
        first = self.time_trainer(phase, trial)
        steps = max(round(seconds * trial / first.seconds), 1)
        timings: dict[str, list[Timing]] = {name: [] for name in loops}
        for _ in range(repeats):
            for name, loop in loops.items():
                timings[name].append(loop(phase, steps))
        timings["trainer"][0].peak_memory_gib = max(first.peak_memory_gib, timings["trainer"][0].peak_memory_gib)
        each_sample = count_flops_per_sample(self.model, self.preprocess_batch()["inputs"], training=phase == "train")
        return [self._make_result(phase, name, steps, timings[name], each_sample) for name in loops]

    def time_trainer(self, phase: str, steps: int) -> Timing:
        """Time so many steps of a new Trainer with the callbacks and loggers of the settings."""
        with contextlib.redirect_stdout(io.StringIO()):
            return self._time_trainer(phase, steps)

    def _time_trainer(self, phase: str, steps: int) -> Timing:
        self.trainer = trainer = build_trainer(self.settings)
        stopwatch = Stopwatch(self.device, self.warmup, steps)
        trainer.callbacks.append(stopwatch)  # type: ignore[attr-defined]
        loaders = {
            "train": RepeatedBatchLoader(self.batch, self.warmup + steps),
            "val": RepeatedBatchLoader(self.batch, 1),
        }
        for name, loader in {**loaders, "test": loaders["train"]}.items():
            setattr(self.data, f"{name}_dataloader", lambda loader=loader: loader)
        if phase == "train":
            self.model.train()
            trainer.fit(self.model, self.data)
        else:
            trainer.test(self.model, self.data, verbose=False)
        run_exit_actions(0)
        return stopwatch.timing

    def time_plain_loop(self, phase: str, steps: int) -> Timing:
        """Time so many steps of the loop that one writes by hand."""
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
        """Return the batch as a step gets it: normalised, and of the type that the precision asks for."""
        self.data.trainer = self.trainer
        return self.data.on_after_batch_transfer(self.trainer.precision_plugin.convert_input(self.batch), 0)

    def _make_result(
        self, phase: str, loop: str, steps: int, timings: list[Timing], each_sample: float
    ) -> BenchmarkResult:
        size = len(self.batch["ids"])
        speeds = sorted(size * steps / each.seconds for each in timings)
        median = statistics.median(speeds)
        return BenchmarkResult(
            phase=phase,
            loop=loop,
            device=self.device.type,
            precision=str(self.trainer.precision),
            compiled=self.model.network._compiled_call_impl is not None,
            batch_size=size,
            steps=steps,
            repeats=len(timings),
            samples_per_s=median,
            lowest=speeds[0],
            highest=speeds[-1],
            peak_memory_gib=max(each.peak_memory_gib for each in timings),
            flops_per_sample=each_sample,
            flops_per_s=median * each_sample,
        )


def make_train_step(model: Classifier, trainer: Trainer, batch: Batch) -> Callable[[], None]:
    """Return a step of training by hand: the same optimizer, precision and network."""
    optimizer = model.build_optimizer(fused=model.should_fuse_optimizer(trainer.fused_optimizer))
    model.network.train()

    def step() -> None:
        with trainer.precision_plugin.forward_context():
            loss = functional.cross_entropy(model(batch["inputs"]), batch["labels"])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def make_eval_step(model: Classifier, trainer: Trainer, batch: Batch) -> Callable[[], None]:
    """Return a step of evaluation by hand: the forward pass."""
    model.network.eval()

    @torch.inference_mode()
    def step() -> None:
        with trainer.precision_plugin.forward_context():
            model(batch["inputs"])

    return step
