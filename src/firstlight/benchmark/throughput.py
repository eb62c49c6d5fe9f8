"""Time training, evaluation and prediction of a model, with the Trainer and with a plain PyTorch loop."""

import contextlib
import io
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from firstlight.benchmark.conditions import BenchmarkResult, Conditions, read_conditions
from firstlight.benchmark.loops import (
    Stopwatch,
    Timing,
    WeightSnapshot,
    ZeroLearningRate,
    skip_saving,
)
from firstlight.benchmark.phases import Loop, load_batches, move_batch, select_loop
from firstlight.benchmark.plain_loop import (
    LoggingDisabled,
    find_obstacle,
    make_eval_step,
    make_train_step,
    prepare_batch,
)
from firstlight.build import build, build_trainer, resolve_module_settings
from firstlight.callbacks.prediction_writer import PredictionWriter
from firstlight.data.datamodule import LabeledDataModule
from firstlight.hardware.device import get_peak_memory_gib, reset_peak_memory, synchronize
from firstlight.model.flops import count_flops_per_sample
from firstlight.model.task import Task
from firstlight.run.errors import TrainingError
from firstlight.run.exit_actions import run_exit_actions
from firstlight.run.files import to_plain_dict
from firstlight.trial.recorders import RepeatedBatches
from firstlight.trial.runner import UNLIMITED

# Steps before the timed ones: on an accelerator, kernels are selected and CUDA graphs recorded in them.
WARMUP_STEPS = {"cpu": 1, "cuda": 12, "mps": 12}
LOSS_GUARD = "firstlight.callbacks.loss_guard.LossGuard"


class ModelBenchmark:
    """Measure one model on one device, alternating between the Trainer and a plain PyTorch loop.

    Each measurement starts with the same weights, and the learning rate is zero, so that a loss cannot diverge.
    """

    def __init__(self, cfg: DictConfig) -> None:
        """Build model and data from the config of a training run, whose `auto` values are resolved."""
        # The benchmark stands for a long run: it is compiled unless the trainer never compiles.
        cfg.trainer.compile, cfg.trainer.compile_min_steps = cfg.trainer.compile is not False, 0
        self.settings = to_plain_dict(cfg)
        limits = UNLIMITED | {"max_epochs": 1}
        self.settings["trainer"] |= {key: limits[key] for key in limits if key in self.settings["trainer"]}
        callbacks = self.settings["callbacks"] or {}
        self.settings["callbacks"] = {
            name: node for name, node in callbacks.items() if not node or node.get("_target_") != LOSS_GUARD
        }
        # This trainer logs nothing: `time_trainer` builds a new one for each measurement.
        self.model, self.data, self.trainer = build(OmegaConf.create({**self.settings, "logger": None}))
        resolve_module_settings(self.settings, self.model)
        self.device = self.trainer.strategy.root_device
        self.warmup = WARMUP_STEPS[self.device.type]
        self.snapshot = WeightSnapshot(self.model)
        # By phase: the loop of the Trainer, a batch of each loader on the device, and the samples of the first one.
        self.loops: dict[str, Loop] = {}
        self.batches: dict[str, list[Any]] = {}
        self.batch_sizes: dict[str, int] = {}

    def prepare(self, phase: str) -> str | None:
        """Load the batches of a phase; return a reason if the module does not support the phase."""
        loop = select_loop(self.model, self.data, phase)
        if isinstance(loop, str):
            return loop
        batches, self.batch_sizes[phase] = load_batches(self.model, self.data, loop)
        self.loops[phase] = loop
        self.batches[phase] = [move_batch(self.model, self.data, batch, self.device) for batch in batches]
        return None

    def run(
        self, phase: str, min_seconds: float, max_seconds: float, repeats: int, with_plain_loop: bool = True
    ) -> list[BenchmarkResult]:
        """Return the results of the Trainer and of the plain loop, after `prepare`.

        Args:
            phase: "train", "eval" or "predict".
            min_seconds: Minimum duration of each repeat in seconds, but at least one step.
            max_seconds: No further repeat starts after this time in seconds.
            repeats: Maximum number of repeats of each loop.
            with_plain_loop: Whether to measure the plain loop, if there is one.
        """
        # The first measurement compiles the network, records CUDA graphs, and determines the number of steps.
        num_trial_steps = max(self.warmup // 2, 1)
        first = self.time_trainer(phase, num_trial_steps)
        conditions = read_conditions(self.model, self.data, self.trainer, phase)
        steps = max(round(min_seconds * num_trial_steps / first.seconds), 1)
        measured = {"trainer": [first], "plain": []} if with_plain_loop else {"trainer": [first]}
        started = time.perf_counter()
        for repeat in range(repeats):
            if repeat and time.perf_counter() - started > max_seconds:
                break
            measured["trainer"].append(self.time_trainer(phase, steps))
            if "plain" in measured and (timing := self.try_plain_loop(phase, steps)):
                measured["plain"].append(timing)
            else:
                measured.pop("plain", None)
        # The trial counts only for the peak memory.
        peak = max(timing.peak_memory_gib for timing in measured["trainer"])
        measured["trainer"] = [replace(timing, peak_memory_gib=peak) for timing in measured["trainer"][1:]]
        flops = self.count_flops(phase)
        return [self._make_result(phase, loop, steps, timings, flops, conditions) for loop, timings in measured.items()]

    def time_trainer(self, phase: str, steps: int) -> Timing:
        """Time `steps` steps of a new Trainer with the callbacks and loggers of the config.

        Raises:
            TrainingError: If the loop ends before its last step.
        """
        self.snapshot.restore(self.model)
        # The validation of a training run follows the timed steps.
        limits = {"limit_val_batches": 1} if phase == "train" else {}
        settings = {**self.settings, "trainer": {**self.settings["trainer"], **limits}}
        if phase == "predict":  # as `make predict`
            settings |= {"command": "predict", "callbacks": {}, "logger": None}
        output_dir = Path(settings["output_dir"])
        with contextlib.redirect_stdout(io.StringIO()):
            self.trainer = build_trainer(settings)
            stopwatch = Stopwatch(self.device, self.warmup, steps)
            writers = self._make_writers(phase, output_dir)
            self.trainer.callbacks += [ZeroLearningRate(), *writers, stopwatch]  # type: ignore[attr-defined]
            self.trainer.save_checkpoint = skip_saving  # type: ignore[method-assign]
            try:
                self._run_trainer(phase, self.warmup + steps)
            finally:
                for writer in writers:
                    writer.close()
            run_exit_actions(output_dir, 0)
        if stopwatch.timing is None:
            raise TrainingError(
                f"{type(self.model).__name__} or a callback ended the loop before its {self.warmup + steps} steps. "
                "Disable what stops it, e.g. with callbacks.<name>=null."
            )
        return stopwatch.timing

    def _make_writers(self, phase: str, output_dir: Path) -> list[PredictionWriter]:
        """Return the callback with which `make predict` writes the predictions of a `Task`."""
        if phase != "predict" or not isinstance(self.model, Task) or not isinstance(self.data, LabeledDataModule):
            return []
        names = [str(index) for index in range(int(self.batches[phase][0]["ids"].max()) + 1)]
        return [PredictionWriter(output_dir / "predictions.csv", names)]

    def _run_trainer(self, phase: str, length: int) -> None:
        loop, owner = self.loops[phase], self.model if self.data is None else self.data
        first, *others = self.batches[phase]
        # Only the first loader is timed, but a step may be written for several.
        loaders = [RepeatedBatches([first], length), *(RepeatedBatches([batch], 1) for batch in others)]
        setattr(owner, f"{loop.split}_dataloader", lambda: loaders if others else loaders[0])
        if phase == "train":
            self.model.train()
        kwargs: dict[str, Any] = {"fit": {}, "predict": {"return_predictions": False}}.get(
            loop.method, {"verbose": False}
        )
        getattr(self.trainer, loop.method)(self.model, datamodule=self.data, **kwargs)

    def try_plain_loop(self, phase: str, steps: int) -> Timing | None:
        """Time `steps` steps of the plain loop; if it cannot be derived from the module, print why and return None."""
        name = type(self.model).__name__
        reason = find_obstacle(self.model, phase)
        if reason is None:
            try:
                return self.time_plain_loop(phase, steps)
            except Exception as error:  # a step of the user's module may rely on the loops of the Trainer
                if isinstance(self.model, Task):
                    raise
                reason = f"{self.loops[phase].hook} fails outside the Trainer with {type(error).__name__}"
        print(f"No plain loop for {name} ({phase}): {reason}.", flush=True)
        return None

    def time_plain_loop(self, phase: str, steps: int) -> Timing:
        """Time `steps` steps of a plain PyTorch loop with the same network, optimizer, clipping and precision."""
        model, trainer = self.model.to(self.device), self.trainer
        self.snapshot.restore(model)
        with LoggingDisabled(model):
            batch = prepare_batch(model, trainer, self.batches[phase][0])
            if phase == "train":
                step = make_train_step(model, trainer, batch)
            else:
                step = make_eval_step(model, trainer, batch, self.loops[phase].hook)
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

    def count_flops(self, phase: str) -> float:
        """Return the FLOPs per sample of a `Task`; 0 for any other module."""
        if not isinstance(self.model, Task) or not isinstance(self.data, LabeledDataModule):
            return 0.0
        inputs = prepare_batch(self.model, self.trainer, self.batches[phase][0])["inputs"]
        return count_flops_per_sample(self.model, inputs, training=phase == "train")

    def _make_result(
        self, phase: str, loop: str, steps: int, timings: list[Timing], flops: float, conditions: Conditions
    ) -> BenchmarkResult:
        throughputs = sorted((self.batch_sizes[phase] or 1) * steps / timing.seconds for timing in timings)
        median = statistics.median(throughputs)
        return BenchmarkResult(
            phase=phase,
            loop=loop,
            device=self.device.type,
            batch_size=self.batch_sizes[phase],
            steps=steps,
            repeats=len(timings),
            samples_per_s=median,
            lowest=throughputs[0],
            highest=throughputs[-1],
            peak_memory_gib=max(timing.peak_memory_gib for timing in timings),
            flops_per_sample=flops,
            flops_per_s=median * flops,
            conditions=conditions,
        )
