"""A search for the best settings by Optuna, kept in the sweep's folder."""

import math
import shlex
import warnings
from pathlib import Path
from typing import Any

import optuna
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides
from omegaconf import DictConfig
from optuna.trial import FrozenTrial, TrialState

from firstlight.run.files import read_json_or_empty
from firstlight.sweep.jobs import get_job_dir
from firstlight.sweep.plan import as_list, resolve_directions

STUDY_FILE, STUDY_NAME = "study.db", "sweep"


# The sweeper of hydra-optuna-sweeper 1.3 ends the whole search when one trial fails.
class ResumableOptunaSweeper(Sweeper):
    """Hydra's sweeper by Optuna, which goes on after an interruption and does not mind a trial that fails.

    Args:
        n_trials: how many, those that fail included.
        metric: what is to become best; several are weighed against each other.
        direction: "maximize" or "minimize", of each.
        n_jobs: trials that are chosen together, and handed to the launcher.
        seed: of the choices.
        params: what a stored sweep varies.
    """

    package = "hydra-optuna-sweeper"
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
        """Keep where to search, and what runs the trials."""
        self.folder = Path(str(config.hydra.sweep.dir))
        self.runner = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> None:
        """Try settings until there are as many trials as asked for, beginning with those that were interrupted."""
        space, fixed = create_params_from_overrides([*(f"{k}={v}" for k, v in self.params.items()), *arguments])
        study = load_or_create_study(self.folder, self.directions, self.seed)
        self.report_finished_trials(study)
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.run_trials(study, [trial.number], fixed)
        while (left := self.num_trials - len(study.trials)) > 0:
            numbers = [study.ask(space).number for _ in range(min(self.n_jobs, left))]
            self.run_trials(study, numbers, fixed)

    def run_trials(self, study: optuna.Study, numbers: list[int], fixed: dict[str, Any]) -> None:
        """Run trials with consecutive numbers, and tell the study what came of them."""
        trials = study.get_trials(deepcopy=False)
        words = [format_trial_overrides(trials[number], fixed) for number in numbers]
        self.runner.launch(words, initial_job_idx=numbers[0])
        self.report_finished_trials(study)

    def report_finished_trials(self, study: optuna.Study) -> None:
        """Tell the study the values of trials that have ended; one that was interrupted stays open.

        Raises:
            ValueError: a training has no such metric.
        """
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            record = read_json_or_empty(get_job_dir(self.folder, trial.number) / "run.json")
            if record.get("status") == "finished":
                values = get_objective_values(record.get("metrics", {}), self.objective_metrics)
                whole = all(math.isfinite(value) for value in values)
                study.tell(trial.number, values if whole else None, TrialState.COMPLETE if whole else TrialState.FAIL)
            elif record.get("status") == "failed":
                study.tell(trial.number, state=TrialState.FAIL)


def load_or_create_study(folder: Path, goals: list[str], seed: int) -> optuna.Study:
    """Return the study in a sweep's folder; its further choices are not those that it made before."""
    study = optuna.create_study(
        storage=make_study_storage(folder), study_name=STUDY_NAME, directions=goals, load_if_exists=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of its ways are called experimental
        study.sampler = optuna.samplers.TPESampler(seed=(seed + 1000 * len(study.trials)) % 2**32)
    return study


def make_study_storage(folder: Path) -> optuna.storages.RDBStorage:
    """Return the database in a sweep's folder."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Optuna 2 leaves it to SQLAlchemy to commit, which its version 2 no longer does by itself.
    commits = {"isolation_level": "AUTOCOMMIT"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.storages.RDBStorage(f"sqlite:///{folder / STUDY_FILE}", engine_kwargs=commits)


def get_objective_values(metrics: dict[str, Any], wanted: list[str]) -> list[float]:
    """Return the metrics that are searched for.

    Raises:
        ValueError: the training has no such metric.
    """
    for name in wanted:
        if name not in metrics:
            raise ValueError(
                f"sweeper.metric is a metric of the training, but it has no {name}: give one of {', '.join(metrics)}"
            )
    return [float(metrics[name]) for name in wanted]


def format_trial_overrides(trial: FrozenTrial, fixed: dict[str, Any]) -> list[str]:
    """Return the settings of a trial."""
    return [f"{name}={value}" for name, value in {**fixed, **trial.params}.items()]


def print_best_trials(folder: Path, metrics: list[str]) -> None:
    """Print the command that trains with the best settings, or with those between which there is a choice."""
    best = optuna.load_study(study_name=STUDY_NAME, storage=make_study_storage(folder)).best_trials
    # Trials with the same value are equally good: the first one stands for them.
    for trial in best[:1] if len(metrics) == 1 else best:
        values = ", ".join(f"{name} {value:.4g}" for name, value in zip(metrics, trial.values, strict=True))
        words = read_json_or_empty(get_job_dir(folder, trial.number) / "run.json").get("overrides", [])
        print(f"best      job {trial.number}, {values}: {shlex.join(['make', 'train', *words])}")
