"""Coordinate search: change one setting at a time, and keep it if it is faster and its results are correct."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from firstlight.run.errors import TrainingError, describe_error
from firstlight.run.failure import is_oom_error
from firstlight.trial.recorders import StepRecorder, StepTimer
from firstlight.trial.runner import TrialRunner
from firstlight.tune.candidates import SAFE_VALUES, Settings, format_values
from firstlight.tune.correctness import LR_FACTOR, NUM_STEPS, Reference, find_mismatch, is_finite, make_reference

# A setting must be faster by this factor, in two measurements each: smaller differences are noise.
MIN_GAIN = 1.01
MAX_ROUNDS = 2


@dataclass
class Trial:
    """Result of one combination of settings.

    Attributes:
        seconds: Duration of a step; None if it was not timed.
        startup_s: Duration until the first timed step, with compilation.
        problem: Why the combination is excluded, or "".
        is_checked: Whether its results were compared with float32.
    """

    seconds: float | None = None
    startup_s: float = 0.0
    problem: str = ""
    is_checked: bool = False


class CoordinateSearch:
    """Search among combinations of trainer settings for one model, batch and device.

    Args:
        runner: Trains copies of the model.
        minutes: Maximum duration. A trial is not started after it, and a running trial is finished.
        trials: Results of an interrupted search, by combination.
        on_trial: Called before and after each trial, to save the results.
    """

    def __init__(
        self, runner: TrialRunner, minutes: float, trials: dict[str, Trial], on_trial: Callable[[], None]
    ) -> None:
        self.runner = runner
        self.batches = runner.load_batches()
        self.deadline = time.monotonic() + 60 * minutes
        # Of each trial, for about 20 trials and as much time for their preparation and checks.
        self.trial_s = min(60 * minutes / 60, 3.0)
        self.trials = trials
        self.on_trial = on_trial
        self.reference: Reference | None = None

    def run(self, start: Settings, axes: dict[str, list[Settings]]) -> Settings:
        """Return the fastest correct combination.

        Args:
            start: The defaults.
            axes: Alternatives of each setting.

        Raises:
            TrainingError: If the model cannot be trained in float32.
        """
        eager = {**start, "compile": False, "compile_mode": "default"} if "compile" in axes else start
        safe = {**SAFE_VALUES, **self.fixed(start, axes)}
        best = next((values for values in (eager, safe) if self.try_(values)), None)
        if best is None:
            raise TrainingError(f"No setting trains the model: {self.get(eager).problem}.")
        before_compiling = {name: values for name, values in axes.items() if name != "compile"}
        for _ in range(MAX_ROUNDS):
            found = self.improve(best, before_compiling)
            if found == best:
                break
            best = found
        return self.improve(best, {name: values for name, values in axes.items() if name == "compile"})

    def fixed(self, start: Settings, axes: dict[str, list[Settings]]) -> Settings:
        """Return the settings that the user has set."""
        return {name: value for name, value in start.items() if name not in axes and name != "compile_mode"}

    def improve(self, best: Settings, axes: dict[str, list[Settings]]) -> Settings:
        """Return the best combination after trying each alternative of each setting."""
        for alternatives in axes.values():
            for alternative in alternatives:
                values = {**best, **alternative}
                is_new = json.dumps(values, sort_keys=True) not in self.trials
                if values == best or (is_new and time.monotonic() > self.deadline):
                    continue
                if self.try_(values, best):
                    best = values
        return best

    def get(self, values: Settings) -> Trial:
        """Return the result of a combination."""
        return self.trials.setdefault(json.dumps(values, sort_keys=True), Trial())

    def try_(self, values: Settings, best: Settings | None = None) -> bool:
        """Time a combination, and compare its results if it is faster than the best one; return True if it is used."""
        trial = self.get(values)
        is_new = trial.seconds is None and not trial.problem
        if is_new:
            self._guard(trial, partial(self._time, values, trial))
        is_faster = best is None or self._is_faster(values, best)
        if is_new and best is not None and is_faster and not values["compile"]:
            for again in (best, values):  # alternating, because a busy machine slows single measurements down
                self._guard(self.get(again), partial(self._time, again, self.get(again)))
            is_faster = self._is_faster(values, best)
        if trial.seconds is not None and not trial.problem and is_faster and not trial.is_checked:
            self._guard(trial, partial(self._check, values, trial))
        if is_new:
            text = f"excluded: {trial.problem}" if trial.problem else f"{1_000 * (trial.seconds or 0):.2f} ms per step"
            print(f"tried     {format_values(values)}  {text}", flush=True)
        return not trial.problem and is_faster

    def _guard(self, trial: Trial, function: Callable[[], None]) -> None:
        """Call a function; an error excludes the combination, and so does the death of the process."""
        trial.problem = "the process ended during this trial"
        self.on_trial()
        try:
            function()
        except Exception as error:  # a model, a kernel or a compiler can raise anything
            trial.problem = "out of memory" if is_oom_error(error) else describe_error(error)
        except BaseException:
            trial.problem = ""  # Ctrl-C
            self.on_trial()
            raise
        self.on_trial()

    def _time(self, values: Settings, trial: Trial) -> None:
        timer = StepTimer(self.runner.device, self.trial_s)
        seconds = self.measure(timer, self.batches, values)
        trial.seconds = min(seconds, trial.seconds or seconds)
        trial.startup_s, trial.problem = timer.startup_s, ""

    def _is_faster(self, values: Settings, best: Settings) -> bool:
        seconds, best_seconds = self.get(values).seconds, self.get(best).seconds
        return seconds is not None and best_seconds is not None and seconds * MIN_GAIN < best_seconds

    def _check(self, values: Settings, trial: Trial) -> None:
        reference = self._get_reference()
        trial.problem = find_mismatch(reference, self._record(values, seed=0), values["precision"])
        trial.is_checked = True

    def _get_reference(self) -> Reference:
        if self.reference is None:
            exact = {**SAFE_VALUES, "matmul_precision": "highest"}
            self.reference = make_reference(self._record(exact, seed=0), self._record(exact, seed=1))
            if not is_finite(self.reference):
                raise TrainingError("loss or gradients are not finite in float32")
        return self.reference

    def _record(self, values: Settings, seed: int) -> StepRecorder:
        num_batches = NUM_STEPS * self.runner.settings["trainer"].get("accumulate_grad_batches", 1)
        recorder = StepRecorder(num_batches, seed, LR_FACTOR)
        self.runner.run(recorder, self.batches, values, without_dropout=True)
        return recorder

    def measure(self, recorder: StepTimer, batches: list[Any] | None, values: Settings) -> float:
        """Return the duration of a step with these batches; None: with batches of the dataloader.

        Raises:
            TrainingError: If the training ends before the timed steps.
        """
        self.runner.run(recorder, batches, values)
        if not recorder.seconds_per_step:
            raise TrainingError("the training ended before the timed steps")
        return recorder.seconds_per_step
