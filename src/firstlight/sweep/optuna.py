"""Hyperparameter search with Optuna; the study is stored in the sweep directory."""

import json
import math
import os
import threading
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from firstlight.run.errors import CheckpointError, ConfigError, corrupt_file, describe_error
from firstlight.run.files import read_json_or_empty
from firstlight.run.text import format_command
from firstlight.sweep.jobs import get_job_dir
from firstlight.sweep.objectives import as_list, resolve_directions
from firstlight.sweep.search_space import NumberRange, parse_search_space

STUDY_FILE, STUDY_NAME = "study.jsonl", "sweep"
RESTORE_STUDY = "Restore the file, or pass force=true to start over."


# The sweeper of hydra-optuna-sweeper 1.3 requires Optuna 2 and aborts the search when one trial fails.
class ResumableOptunaSweeper(Sweeper):
    """Hydra sweeper that uses Optuna, resumes after an interruption, and continues after a failed trial.

    Args:
        n_trials: Number of trials, including failed ones.
        metric: Metric to optimize; a list: multi-objective search.
        direction: "maximize" or "minimize"; a list if `metric` is a list. If None, it follows from the name of the
            metric.
        n_jobs: Number of trials that are sampled together and passed to the launcher. If None, 1; `make sweep` passes
            `launcher.n_jobs` if the launcher has that key.
        seed: Seed of the sampler.
        params: Search space of a stored sweep: override values by key.
    """

    package = "optuna"
    min_version = "4.7"
    extra = "optuna"

    def __init__(
        self,
        n_trials: int = 20,
        metric: str | list[str] = "val/accuracy",
        direction: str | list[str] | None = None,
        n_jobs: int | None = None,
        seed: int = 0,
        params: dict[str, Any] | None = None,
    ) -> None:
        self.num_trials = n_trials
        self.objective_metrics = as_list(metric)
        self.directions = resolve_directions(self.objective_metrics, direction)
        self.n_jobs = n_jobs or 1
        self.seed = seed
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the sweep directory and create the launcher."""
        self.sweep_dir = Path(str(config.hydra.sweep.dir))
        self.job_launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run trials until the study has `n_trials` of them, starting with the interrupted ones."""
        space, fixed = make_distributions([*(f"{key}={value}" for key, value in self.params.items()), *arguments])
        study = load_or_create_study(self.sweep_dir, self.directions)
        self.tell_ended_trials(study)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            sample_missing_params(study, trial, space, self.seed)
            self.run_trials(study, [trial.number], fixed)
        while (remaining := self.num_trials - len(study.trials)) > 0:
            numbers = [sample_trial(study, space, self.seed) for _ in range(min(self.n_jobs, remaining))]
            self.run_trials(study, numbers, fixed)

    def run_trials(self, study: optuna.Study, numbers: list[int], fixed: dict[str, str]) -> None:
        """Run trials and report their results to the study.

        Args:
            study: The study that sampled the trials.
            numbers: Consecutive trial numbers, which are also the job numbers.
            fixed: Override values by key that are the same in all trials.
        """
        trials = study.get_trials(deepcopy=False)
        overrides = [format_trial_overrides(trials[number], fixed) for number in numbers]
        self.job_launcher.launch(overrides, initial_job_idx=numbers[0])
        self.tell_ended_trials(study)

    def tell_ended_trials(self, study: optuna.Study) -> None:
        """Report the results of finished and failed trials to the study; an interrupted trial stays open.

        Raises:
            ConfigError: If a training run did not log one of the metrics.
        """
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            record = read_json_or_empty(get_job_dir(self.sweep_dir, trial.number) / "run.json")
            if record.get("status") == "finished":
                values = get_objective_values(record.get("metrics", {}), self.objective_metrics)
                if all(math.isfinite(value) for value in values):
                    study.tell(trial.number, values, TrialState.COMPLETE)
                else:
                    study.tell(trial.number, None, TrialState.FAIL)
            elif record.get("status") == "failed":
                study.tell(trial.number, state=TrialState.FAIL)


def make_distributions(overrides: list[str]) -> tuple[dict[str, BaseDistribution], dict[str, str]]:
    """Return the distributions that a search samples from, and the values that are the same in all trials, by key."""
    parsed = parse_search_space(OverridesParser.create().parse_overrides(overrides))
    fixed = {key: values[0] for key, values in parsed.items() if isinstance(values, list) and len(values) == 1}
    space: dict[str, BaseDistribution] = {}
    for key, values in parsed.items():
        if isinstance(values, NumberRange):
            distribution = IntDistribution if isinstance(values.low, int) else FloatDistribution
            space[key] = distribution(values.low, values.high, log=values.is_log, step=values.step)
        elif key not in fixed:
            space[key] = CategoricalDistribution(values)
    return space, fixed


def load_or_create_study(sweep_dir: Path, directions: list[str]) -> optuna.Study:
    """Return the study in a sweep directory.

    Args:
        sweep_dir: The sweep directory.
        directions: "maximize" or "minimize" for each metric.
    """
    return optuna.create_study(
        storage=open_study_storage(sweep_dir), study_name=STUDY_NAME, directions=directions, load_if_exists=True
    )


def open_study_storage(sweep_dir: Path) -> JournalStorage:
    """Return the storage in a sweep directory: a file with one line of JSON for each change of the study.

    Raises:
        CheckpointError: If the study is corrupt, or missing although trials have started.
        OSError: If the study cannot be read or written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = sweep_dir / STUDY_FILE
    content = path.read_bytes() if path.exists() else b""
    if content and not content.endswith(b"\n"):
        # The process was killed while it wrote this line. Optuna would append the next line to it.
        content = content[: content.rfind(b"\n") + 1]
        os.truncate(path, len(content))
    if not content and any(sweep_dir.glob("*/run.json")):
        # A new study would sample other values for the trials that have already run.
        raise CheckpointError(f"{sweep_dir} contains trials, but {STUDY_FILE} is missing or empty. {RESTORE_STUDY}")
    try:
        # Optuna reads an invalid last line only after it has appended another line.
        for line in content.splitlines():
            json.loads(line)
        # The lock of the sweep directory keeps other processes out, and the OS releases it when a process is killed.
        # Optuna's own lock file would remain, and the next process would wait 30 s for it.
        return JournalStorage(JournalFileBackend(str(path), lock_obj=threading.Lock()))
    except OSError:
        raise
    except Exception as error:  # JournalStorage does not check the records: they raise errors of many classes.
        raise CheckpointError(corrupt_file(str(path), describe_error(error), RESTORE_STUDY)) from error


def sample_trial(study: optuna.Study, space: dict[str, BaseDistribution], seed: int) -> int:
    """Sample a trial and return its number."""
    seed_sampler(study, seed, len(study.trials))
    return int(study.ask(space).number)


def sample_missing_params(
    study: optuna.Study, trial: FrozenTrial, space: dict[str, BaseDistribution], seed: int
) -> None:
    """Sample the parameters that an open trial lacks because the process was killed while it sampled the trial."""
    seed_sampler(study, seed, trial.number)
    if space.keys() - trial.params.keys():
        open_trial = optuna.trial.Trial(study, trial._trial_id)
        for key, distribution in space.items():
            open_trial._suggest(key, distribution)


def seed_sampler(study: optuna.Study, seed: int, number: int) -> None:
    """Seed the sampler for one trial, so that a resumed search samples the same values as an uninterrupted one."""
    study.sampler = optuna.samplers.TPESampler(seed=(seed + 1000 * number) % 2**32)


def get_objective_values(metrics: dict[str, Any], names: list[str]) -> list[float]:
    """Return the values of the metrics to optimize.

    Raises:
        ConfigError: If the training run did not log one of them.
    """
    for name in names:
        if name not in metrics:
            raise ConfigError(f"Metric '{name}' was not logged. Set sweeper.metric to one of: {', '.join(metrics)}.")
    return [float(metrics[name]) for name in names]


def format_trial_overrides(trial: FrozenTrial, fixed: dict[str, str]) -> list[str]:
    """Return the overrides of a trial."""
    return [f"{key}={value}" for key, value in {**fixed, **trial.params}.items()]


def print_best_trial_commands(sweep_dir: Path, metrics: list[str]) -> None:
    """Print the command that reproduces the best trial, or one per Pareto-optimal trial of a multi-objective search."""
    best = optuna.load_study(study_name=STUDY_NAME, storage=open_study_storage(sweep_dir)).best_trials
    # With a single metric, all best trials have the same value: print the first one only.
    for trial in best[:1] if len(metrics) == 1 else best:
        values = ", ".join(f"{name} {value:.4g}" for name, value in zip(metrics, trial.values, strict=True))
        overrides = read_json_or_empty(get_job_dir(sweep_dir, trial.number) / "run.json").get("overrides", [])
        command = format_command("make", "train", *overrides)
        print(f"Best trial: job {trial.number} ({values}). Reproduce with: {command}")
